"""`fleetctl release export-header` on a release that was really built."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.build.edge import EXAMPLES, tflm
from tests.cli.kit import Cli

pytestmark = [tflm, pytest.mark.slow]

VARIANT = "mcu-tflm.int8"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "digits-1.1"
    from modelfleet_build.pipeline import build
    from modelfleet_build.request import BuildRequest
    from modelfleet_core.clock import SystemClock

    request = BuildRequest(
        model=EXAMPLES / "digits-1.1.onnx",
        name="digits",
        version="1.1",
        classes=("mcu-tflm", "x86-onnxruntime"),
        validation=EXAMPLES / "validation.npz",
        calibration=EXAMPLES / "calibration.npz",
        golden=EXAMPLES / "golden.npz",
        output=folder,
    )
    build(request, lambda event: None, SystemClock())
    return folder


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "release")
    return tmp_path / "release"


def test_the_header_is_the_variant(cli: Cli, release: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.h"
    ended = cli("release", "export-header", release, VARIANT, "-O", target, "-o", "json")
    assert ended.code == 0, ended.err
    view = json.loads(ended.out)
    model = (release / "variants" / VARIANT / "model.tflite").read_bytes()
    manifest = json.loads((release / "release.json").read_text())
    (variant,) = [item for item in manifest["variants"] if item["name"] == VARIANT]
    assert view["model_sha256"] == hashlib.sha256(model).hexdigest()
    assert view["model_bytes"] == len(model)
    assert view["arena_bytes"] == variant["measurements"]["arena_bytes"]
    assert view["signed_by"] == ""
    text = target.read_text()
    assert f'#define DIGITS_RELEASE "{view["id"]}"' in text
    assert f"#define DIGITS_ARENA_BYTES {view['arena_bytes']}u" in text


def test_people_are_told_that_no_signature_was_checked(cli: Cli, release: Path, tmp_path: Path) -> None:
    ended = cli("release", "export-header", release, VARIANT, "-O", tmp_path / "model.h")
    assert ended.code == 0
    assert "signature not checked" in ended.out


def test_a_signature_is_checked_where_keys_are_given(cli: Cli, release: Path, tmp_path: Path) -> None:
    for name in ("release.key", "other.key"):
        assert cli("release", "keygen", "--key", tmp_path / name).code == 0
    arguments = ("release", "export-header", release, VARIANT, "-O")
    unsigned = cli(*arguments, tmp_path / "1.h", "--public-key", tmp_path / "release.key.pub")
    assert (unsigned.code, "MF-2023" in unsigned.err) == (1, True)
    assert cli("release", "sign", release, "--key", tmp_path / "release.key").code == 0
    foreign = cli(*arguments, tmp_path / "2.h", "--public-key", tmp_path / "other.key.pub")
    assert foreign.code == 1
    good = cli(*arguments, tmp_path / "3.h", "--public-key", tmp_path / "release.key.pub", "-o", "json")
    assert good.code == 0
    assert json.loads(good.out)["signed_by"]
    assert sorted(path.name for path in tmp_path.glob("*.h")) == ["3.h"]


@pytest.mark.parametrize("victim", ["model.tflite", "contract.json", "golden.npz"])
def test_a_folder_that_is_not_what_the_release_says_is_refused(
    cli: Cli, release: Path, tmp_path: Path, victim: str
) -> None:
    file = release / "variants" / VARIANT / victim
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    ended = cli("release", "export-header", release, VARIANT, "-O", tmp_path / "model.h")
    assert ended.code == 1
    assert "MF-2036" in ended.err
    assert victim in ended.err
    assert not (tmp_path / "model.h").exists()


def test_a_foreign_file_in_the_folder_is_refused(cli: Cli, release: Path, tmp_path: Path) -> None:
    (release / "variants" / VARIANT / "extra.bin").write_bytes(b"x")
    ended = cli("release", "export-header", release, VARIANT, "-O", tmp_path / "model.h")
    assert ended.code == 1
    assert not (tmp_path / "model.h").exists()


def test_an_existing_file_stays(cli: Cli, release: Path, tmp_path: Path) -> None:
    (tmp_path / "model.h").write_text("precious")
    ended = cli("release", "export-header", release, VARIANT, "-O", tmp_path / "model.h")
    assert (ended.code, "MF-6005" in ended.err) == (1, True)
    assert (tmp_path / "model.h").read_text() == "precious"


@pytest.mark.parametrize(
    ("variant", "code", "told"),
    [("mcu-tflm.int9", "MF-6011", "mcu-tflm.int8"), ("x86-onnxruntime.fp32", "MF-1466", "model.onnx")],
)
def test_variants_that_cannot_be_exported(
    cli: Cli, release: Path, tmp_path: Path, variant: str, code: str, told: str
) -> None:
    ended = cli("release", "export-header", release, variant, "-O", tmp_path / "model.h")
    assert ended.code == 1
    assert code in ended.err
    assert told in ended.err
