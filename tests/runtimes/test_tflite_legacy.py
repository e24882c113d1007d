"""tflite-runtime 2.14 for real, in a throw-away environment of its own; needs Python 3.11 and an index."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from modelfleet_build.optimizers.legacy_operators import NEWEST
from modelfleet_build.optimizers.litert import plugin as litert_optimizer
from modelfleet_build.optimizers.tflite_legacy import plugin as legacy_optimizer
from modelfleet_build.port import Optimizer
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.wire import codec
from modelfleet_runtimes import registry
from modelfleet_runtimes.tflite_legacy import plugin

from tests.build.edge import Material, converted, materials

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "legacy"
# Of the developer's lock: what the suite inside needs besides tflite-runtime and its numpy.
FROM_LOCK = ("iniconfig", "msgspec", "packaging", "pluggy", "pygments", "pytest", "pytest-timeout")
SAMPLES = 24

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


def locked() -> str:
    """Requirements with hashes, from both files."""
    blocks: list[str] = []
    keep = False
    for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines():
        if not line.startswith(" "):
            keep = line.partition("==")[0] in FROM_LOCK
        if keep:
            blocks.append(line)
    return "\n".join([*blocks, (HERE / "requirements.txt").read_text()])


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a throw-away environment with tflite-runtime; skips where none can be made."""
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if base is None:
        pytest.skip("tflite-runtime 2.14 has no wheel for this Python, and there is no python3.11 beside it")
    folder = tmp_path_factory.mktemp("legacy")
    (folder / "lock.txt").write_text(locked())
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
    flags = ["--require-hashes", "--only-binary=:all:", "--progress-bar=off", "--retries=1", "--timeout=10"]
    made = str(folder / "env" / "bin" / "python")
    for command in (
        [base, "-I", "-m", "venv", str(folder / "env")],
        [made, "-I", *pip, *flags, "-r", str(folder / "lock.txt")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode != 0:
            pytest.skip(f"no environment for tflite-runtime can be made here: {done.stderr.strip()[-200:]}")
    (site,) = (folder / "env").glob("lib/python3.*/site-packages")
    (site / "modelfleet.pth").write_text("".join(f"{ROOT / part}\n" for part in ("core", "agent")))
    return Path(made)


def minimal(code: int, version: int) -> bytes:
    """A file with one operator of that code and version."""
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), version
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in ("a", "b"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = (
        3,
        [entry],
        [graph],
        [schema.BufferT()],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_variant(folder: Path, optimizer: Optimizer, recipe: str, material: Material) -> None:
    """A variant with its contract, inputs, and what LiteRT answers."""
    made = converted(optimizer, recipe, material, folder)
    inputs = material.images[:SAMPLES]
    session = registry.load("litert").open(folder, made.entry, made.contract)
    answers = session.run({"image": inputs})
    session.close()
    (folder / "contract.json").write_bytes(codec.encode(made.contract))
    arrays: dict[str, Any] = {"in.image": inputs, **{f"out.{name}": value for name, value in answers.items()}}
    np.savez(folder / "answers.npz", **arrays)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    place = folder / "variants"
    for material in materials(tmp_path_factory.mktemp("materials")):
        for recipe in ("fp32", "int8"):
            write_variant(place / f"{material.name}.{recipe}", legacy_optimizer, recipe, material)
        if material.name == "digits":
            write_variant(place / "digits.dynamic", litert_optimizer, "int8-dynamic", material)
    codes = {name: getattr(schema.BuiltinOperator, name) for name in NEWEST}
    table = {
        name: [minimal(codes[name], version).hex() for version in (newest, newest + 1)]
        for name, newest in NEWEST.items()
    }
    (place / "operators.json").write_text(json.dumps(table))
    shutil.copy(HERE / "suite.py", folder / "test_suite.py")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return folder


@pytest.mark.timeout(600)
def test_the_suite_passes_in_its_own_environment(python: Path, variants: Path) -> None:
    command = [str(python), "-I", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(variants)]
    done = subprocess.run(command, cwd=variants, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_garbage_is_refused_where_the_library_is_missing_too(tmp_path: Path) -> None:
    digits = next(iter(materials(tmp_path)))
    made = converted(litert_optimizer, "int8-dynamic", digits, tmp_path / "v")
    with pytest.raises(WorldError) as caught:
        plugin.open(tmp_path / "v", made.entry, made.contract)
    assert caught.value.code is Code.VARIANT_GARBAGE


def test_without_the_library_a_good_file_names_the_extra(tmp_path: Path) -> None:
    if plugin.version() is not None:
        pytest.skip("tflite-runtime is installed here")
    digits = next(iter(materials(tmp_path)))
    made = converted(legacy_optimizer, "fp32", digits, tmp_path / "v")
    with pytest.raises(WorldError, match="tflite-legacy") as caught:
        plugin.open(tmp_path / "v", made.entry, replace(made.contract))
    assert caught.value.code is Code.RUNTIME_MISSING
