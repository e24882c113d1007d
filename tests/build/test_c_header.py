"""C headers: what is in them, what is refused, and that compilers take them and find the model's bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.assemble import artifacts
from modelfleet_build.c_header import MAX_MODEL_BYTES, HeaderSource, c_header, identifier, quoted
from modelfleet_build.optimizers.litert import plugin
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import (
    Artifact,
    Lineage,
    Manifest,
    Measurements,
    Precision,
    RuntimeNeed,
    SelfTestBounds,
    Task,
    Variant,
)

from .edge import SOURCES, converted, materials

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

RELEASE = "ab" * 32
PROGRAM = r"""
#include <stdio.h>
#include <stdint.h>
#include "MODEL.h"
#include "MODEL.h"
int main(void) {
  printf("%s\n%s\n%s\n%s\n", NAME_NAME, NAME_VERSION, NAME_VARIANT, NAME_RELEASE);
  printf("%s\n%u\n%d\n%d\n", NAME_MODEL_SHA256, NAME_MODEL_BYTES, NAME_INPUTS, NAME_OUTPUTS);
  printf("%s\n%u\n", NAME_INPUT_0_NAME, NAME_INPUT_0_BYTES);
  printf("%.9g\n%d\n", (double)NAME_INPUT_0_SCALE, NAME_INPUT_0_ZERO_POINT);
  printf("%u\n%u\n", (unsigned)((uintptr_t)symbol_model % 16u), NAME_ARENA_BYTES);
  for (unsigned i = 0; i < sizeof symbol_model; i++) printf("%02x", symbol_model[i]);
  printf("\n");
  for (unsigned i = 0; i < sizeof symbol_model_sha256; i++) printf("%02x", symbol_model_sha256[i]);
  printf("\n");
  return 0;
}
"""


def source(folder: Path, name: str, recipe: str = "int8") -> HeaderSource:
    (material,) = materials(folder / "m", (name,))
    made = converted(plugin, recipe, material, folder / "v")
    variant = Variant(
        name=f"mcu-tflm.{recipe}",
        device_class="mcu-tflm",
        precision=Precision.INT8,
        recipe=recipe,
        rank=0,
        runtime=RuntimeNeed("tflm", "0"),
        entry=made.entry,
        files=artifacts(folder / "v"),
        bounds=SelfTestBounds(0.1, 0.1),
        measurements=Measurements("top1", 1.0, 1.0, 0.0, 1.0, 1000, 10, arena_bytes=32080),
    )
    manifest = Manifest(
        name=name,
        version="1.1",
        task=Task.CLASSIFICATION,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        inputs=material.facts.inputs,
        outputs=material.facts.outputs,
        lineage=Lineage("00" * 32, "m.onnx"),
        variants=(variant,),
    )
    return HeaderSource(manifest, RELEASE, variant, (folder / "v" / made.entry).read_bytes(), made.contract)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> HeaderSource:
    return source(tmp_path_factory.mktemp("digits"), "digits")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> HeaderSource:
    return source(tmp_path_factory.mktemp("scenes"), "scenes")


@pytest.mark.parametrize(
    ("compiler", "standard", "suffix"),
    [("gcc", "c99", "c"), ("gcc", "c11", "c"), ("g++", "c++11", "cc"), ("clang", "c11", "c")],
)
@pytest.mark.parametrize("name", ["digits", "scenes"])
def test_compilers_take_it_and_find_the_model(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, compiler: str, standard: str, suffix: str
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} here")
    given_source: HeaderSource = request.getfixturevalue(name)
    (tmp_path / "MODEL.h").write_text(c_header(given_source))
    program = PROGRAM.replace("NAME_", f"{name.upper()}_").replace("symbol_", f"{name}_")
    (tmp_path / f"main.{suffix}").write_text(program)
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror"]
    flags += [] if standard == "c99" else ["-Wpedantic"]
    command = [compiler, *flags, f"main.{suffix}", "-o", "program"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stderr[-2000:]
    said = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True, timeout=20)
    lines = said.stdout.splitlines()
    digest = hashlib.sha256(given_source.model).hexdigest()
    image = given_source.contract.inputs[0].physical
    outputs = {"digits": "1", "scenes": "3"}[name]
    assert lines[:4] == [name, "1.1", "mcu-tflm.int8", RELEASE]
    assert lines[4:8] == [digest, str(len(given_source.model)), "1", outputs]
    assert lines[8:10] == ["image", {"digits": "1024", "scenes": "9216"}[name]]
    assert image.scale is not None
    assert float(lines[10]) == pytest.approx(image.scale, rel=1e-7)
    assert lines[11] == str(image.zero_point)
    assert lines[12:14] == ["0", "32080"]
    assert lines[14] == given_source.model.hex()
    assert lines[15] == digest


def test_outputs_stand_in_the_interpreters_order(scenes: HeaderSource) -> None:
    turned = replace(scenes.contract, outputs=tuple(reversed(scenes.contract.outputs)))
    assert c_header(replace(scenes, contract=turned)) == c_header(scenes)
    names = [
        line.split('"')[1] for line in c_header(scenes).splitlines() if "_OUTPUT_" in line and "_NAME" in line
    ]
    assert names == ["heatmap", "size", "offset"]


def test_float_tensors_have_no_scale(tmp_path: Path) -> None:
    text = c_header(source(tmp_path, "digits", "fp32"))
    assert "_SCALE" not in text
    assert "#define DIGITS_INPUT_0_BYTES 4096u" in text


def test_an_unknown_arena_is_left_out(digits: HeaderSource) -> None:
    measurements = replace(digits.variant.measurements, arena_bytes=None)
    variant = replace(digits.variant, measurements=measurements)
    assert "ARENA" not in c_header(replace(digits, variant=variant))


def test_what_cannot_be_a_header_is_refused(digits: HeaderSource) -> None:
    onnx = replace(digits.variant, entry="model.onnx", files=(Artifact("model.onnx", "00" * 32, 5),))
    huge = replace(digits.variant, files=(Artifact("model.tflite", "00" * 32, MAX_MODEL_BYTES + 1),))
    other = replace(digits.contract, inputs=digits.contract.outputs)
    for bad in (
        replace(digits, variant=onnx),
        replace(digits, variant=huge),
        replace(digits, model=digits.model[:-1000]),
        replace(digits, contract=other),
    ):
        with pytest.raises(CallerError) as caught:
            c_header(bad)
        assert caught.value.code is Code.HEADER_NOT_POSSIBLE


@given(st.text(max_size=40))
def test_any_name_is_a_sound_literal(text: str) -> None:
    literal = quoted(text)
    assert literal.isascii()
    inner = literal[1:-1]
    assert "?" not in inner
    assert '"' not in inner
    assert inner.replace("\\", "").isprintable() or inner == ""
    parts = inner.split("\\")
    octal = bytes(int(part[:3], 8) for part in parts[1:])
    rebuilt = parts[0].encode() + b"".join(
        bytes([byte]) + part[3:].encode() for byte, part in zip(octal, parts[1:], strict=True)
    )
    assert rebuilt.decode() == text


@given(st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True))
def test_any_release_name_is_an_identifier(name: str) -> None:
    assert identifier(name).isidentifier()


@pytest.mark.parametrize("name", SOURCES)
def test_it_ends_with_a_newline_and_keeps_lines_short(tmp_path: Path, name: str) -> None:
    text = c_header(source(tmp_path, name))
    assert text.endswith("_H */\n")
    assert max(map(len, text.splitlines())) <= 110
