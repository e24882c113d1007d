"""`fleetctl build` with the real builder on the smallest request, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
NO_RUNTIME = """
apiVersion: modelfleet.dev/v1alpha1
kind: DeviceClass
metadata: {name: mystery}
spec: {architectures: [x86_64], runtime: crystal-ball}
"""


@pytest.fixture
def mystery(tmp_path: Path) -> Path:
    path = tmp_path / "mystery.yaml"
    path.write_text(NO_RUNTIME)
    return path


def _arguments(to: Path, *more: object) -> list[object]:
    return [
        "build", DIGITS / "digits-1.0.onnx", "--name", "digits", "--version", "1.0", "--precision", "fp32",
        "--validation", DIGITS / "validation.npz", "--golden", DIGITS / "golden.npz", "--no-cache",
        "-O", to, *more,
    ]  # fmt: skip


def test_some_classes_is_3_and_the_report_can_be_read_again(cli: Cli, tmp_path: Path, mystery: Path) -> None:
    to = tmp_path / "release"
    ended = cli(*_arguments(to, "--class-file", mystery, "--class", "x86-onnxruntime", "--class", "mystery"))
    assert ended.code == 3, ended.err
    assert "x86-onnxruntime.fp32  chosen" in ended.out
    assert "class mystery: " in ended.out
    assert f"next: fleetctl release sign {to} --key FILE" in ended.out
    progress = ended.err.splitlines()
    assert progress[0].startswith("[  0 %] intake digits-1.0.onnx: started")
    assert progress[-1].startswith("[100 %] write release: done")
    again = cli("build", "report", to)
    assert (again.code, again.out) == (0, ended.out)
    body = json.loads(cli("build", "report", to, "-o", "json").out)
    assert (body["outcome"], body["schema"]) == ("some", 1)
    key = tmp_path / "release.key"
    assert cli("release", "keygen", "--key", key).code == 0
    assert cli("release", "sign", to, "--key", key).code == 0
    assert cli("release", "verify", to, "--public-key", f"{key}.pub").code == 0

    taken = cli(*_arguments(to, "--class", "x86-onnxruntime"))
    assert (taken.code, "MF-1422" in taken.err) == (1, True), "a release is never overwritten"


def test_no_class_is_4(cli: Cli, tmp_path: Path, mystery: Path) -> None:
    ended = cli(
        *_arguments(tmp_path / "release", "--class-file", mystery, "--class", "mystery", "-o", "json")
    )
    assert ended.code == 4, ended.err
    body = json.loads(ended.out)
    assert (body["outcome"], body["release"]) == ("none", None)
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--class", "x86-onnx"], "MF-1420"),
        (["--max-drop", "101pt"], "MF-1423"),
    ],
)
def test_what_the_builder_refuses(cli: Cli, tmp_path: Path, more: list[str], code: str) -> None:
    ended = cli(*_arguments(tmp_path / "release", *more))
    assert (ended.code, code in ended.err) == (1, True), ended.err
    assert not (tmp_path / "release").exists()


def test_wrong_options(cli: Cli, tmp_path: Path) -> None:
    assert cli(*_arguments(tmp_path / "r", "--max-drop", "much")).code == 2
    assert cli(*_arguments(tmp_path / "r", "--objective", "beauty")).code == 2
    ended = cli("build", "report", tmp_path)
    assert (ended.code, "MF-1450" in ended.err) == (1, True)
