"""`fleetctl build` with the real builder on the smallest request, and its report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.build.layers.plant import onnx_pad
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
    assert "class mystery not built: MF-1430: the optimizer for crystal-ball" in ended.out
    assert f"next: fleetctl release sign {to} --key FILE" in ended.out
    progress = ended.err.splitlines()
    assert progress[0].startswith("[  0 %] intake digits-1.0.onnx: started")
    assert progress[-1].startswith("[100 %] write release: done")
    again = cli("build", "report", to)
    assert (again.code, again.out) == (0, ended.out)
    body = json.loads(cli("build", "report", to, "-o", "json").out)
    assert (body["outcome"], body["schema"]) == ("some", 1)
    page = tmp_path / "report.html"
    assert cli("build", "report", to, "--html", page).code == 0
    assert "<title>digits:1.0 build report</title>" in page.read_text()
    assert "digits-1.0.onnx" in page.read_text(), "the lineage comes from the manifest"
    _explained(cli, to, tmp_path)
    key = tmp_path / "release.key"
    assert cli("release", "keygen", "--key", key).code == 0
    assert cli("release", "sign", to, "--key", key).code == 0
    assert cli("release", "verify", to, "--public-key", f"{key}.pub").code == 0

    taken = cli(*_arguments(to, "--class", "x86-onnxruntime"))
    assert (taken.code, "MF-1422" in taken.err) == (1, True), "a release is never overwritten"


def _explained(cli: Cli, to: Path, tmp_path: Path) -> None:
    """`build explain` finds the model where it lay, runs both, and refuses what it cannot compare."""
    name = "x86-onnxruntime.fp32"
    healthy = cli("build", "explain", to, name, "--samples", "4")
    assert healthy.code == 0, healthy.err
    assert healthy.out.splitlines()[-1].startswith("no layer diverges: the worst own error is ")
    assert "; its own runtime answers " in healthy.out

    broken = tmp_path / "broken"
    shutil.copytree(to, broken)
    onnx_pad(broken / "variants" / name / "model.onnx", "/features/features.5/body/body.2/Clip_output_0")
    found = cli("build", "explain", broken, name, "--samples", "4", "-o", "json")
    assert found.code == 3, found.err
    body = json.loads(found.out)
    assert body["layers"]["divergence"]["node"] == "/features/features.5/body/body.0/Conv"
    assert body["layers"]["divergence"]["kind"] == "displaced"
    assert "displaced by -1 rows and -1 columns" in body["layers"]["verdict"]
    shown = cli("build", "explain", broken, name, "--inputs", DIGITS / "live.npz", "--samples", "2")
    assert "to do: the converter changed the layer" in shown.out
    assert sum(line.startswith("> ") for line in shown.out.splitlines()) == 1

    with np.load(DIGITS / "golden.npz", allow_pickle=False) as arrays:
        images = (arrays["images"][:4] / 255).astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    np.savez(tmp_path / "nan.npz", images=images)
    for more, code, told in (
        (["x86-onnxruntime.fp23"], "MF-1452", "did you mean x86-onnxruntime.fp32?"),
        ([name, "--model", DIGITS / "digits-1.1.onnx"], "MF-1453", "is not the model of digits:1.0"),
        ([name, "--inputs", DIGITS / "digits-1.0.onnx"], "MF-1410", "cannot be read"),
        ([name, "--inputs", tmp_path / "nan.npz"], "MF-1413", "NaN or infinite"),
    ):
        refused = cli("build", "explain", to, *more)
        assert (refused.code, code in refused.err, told in refused.err) == (1, True, True), refused.err


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
