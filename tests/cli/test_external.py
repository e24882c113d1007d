"""`fleetctl build` with a plug-in of another distribution, as the example's README shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli

ROOT = Path(__file__).parents[2]
DIGITS, EXAMPLE = ROOT / "examples" / "digits", ROOT / "examples" / "external-builder"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package and its metadata on the path: what installing it does."""
    info = tmp_path / "site" / "modelfleet_toy_fpga-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modelfleet-toy-fpga\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelfleet.optimizers]\ntoy-fpga = toy_fpga:plugin\n")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def _build(cli: Cli, to: Path, class_file: Path, *more: object) -> list[object]:
    return [
        "build", DIGITS / "digits-1.1.onnx", "--name", "digits", "--version", "1.1",
        "--class-file", class_file, "--class", "toy-fpga", "--validation", DIGITS / "validation.npz",
        "--golden", DIGITS / "golden.npz", "-O", to, *more,
    ]  # fmt: skip


def test_the_example_builds_measures_and_caches(cli: Cli, tmp_path: Path) -> None:
    to = tmp_path / "release"
    ended = cli(*_build(cli, to, EXAMPLE / "class.yaml"))
    assert ended.code == 0, ended.err
    assert "toy-fpga.int8  chosen" in ended.out
    (variant,) = json.loads((to / "release.json").read_text())["variants"]
    assert (variant["entry"], variant["runtime"]["name"]) == ("model.fpga", "toy-fpga")
    assert variant["runtime"]["options"] == {"lanes": "32"}
    assert variant["tools"]["toy-fpga command"] == "toy-fpga compiler 1.0"
    measured = variant["measurements"]
    assert (measured["measured_with"], measured["latency_ratio"]) == ("onnxruntime", None)
    assert measured["value"] > 0.97
    assert measured["accelerator"]["operators"] == 32
    assert sorted(path.name for path in (to / "variants" / "toy-fpga.int8").iterdir()) == [
        "contract.json", "golden.npz", "model.fpga", "release.json",
    ]  # fmt: skip
    assert (to / "variants" / "toy-fpga.int8" / "model.fpga").read_bytes().startswith(b"TOYFPGA1")
    again = cli(*_build(cli, tmp_path / "again", EXAMPLE / "class.yaml"))
    assert "convert toy-fpga.int8: cached" in again.err


def test_an_option_that_the_command_does_not_like_is_told(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "class.yaml"
    own.write_text((EXAMPLE / "class.yaml").read_text().replace('"32"', '"7"'))
    ended = cli(*_build(cli, tmp_path / "release", own))
    assert ended.code == 4
    assert "MF-1475" in ended.out
    assert "the option lanes is '7'; 16 or 32 are possible" in ended.out
