"""ExecuTorch variants: what is refused before anything is installed, and, with --isolated, the real thing."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from modelfleet_build.intake import take_in
from modelfleet_build.isolated.tools import TORCH
from modelfleet_build.optimizers.executorch import ExecuTorchOptimizer, plugin
from modelfleet_build.port import ConversionTask, Optimizer, Recipe
from modelfleet_build.registry import OptimizerPoint, isolated_tools, tools
from modelfleet_build.testing import OptimizerCase, OptimizerConformance
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.release.contract import (
    DType,
    InputContract,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes import registry as runtimes
from modelfleet_runtimes.port import Runtime
from modelfleet_runtimes.testing import ConformanceCase, RuntimeConformance

from ..conftest import DIGITS, Bench
from ..graphs import classifier
from .conftest import Torch

# As if no Python here were one that the locked packages run on.
FUTURE = ExecuTorchOptimizer(isolated=replace(TORCH, oldest=(3, 98), newest=(3, 99)))
POINTS = (
    OptimizerPoint("executorch", "modelfleet_build.optimizers.executorch:plugin"),
    OptimizerPoint("onnxruntime", "modelfleet_build.optimizers.onnxruntime:plugin"),
)
BOTH = ("executorch-xnnpack", "x86-onnxruntime")


def test_without_a_companion_the_class_is_refused_and_nothing_is_installed(bench: Bench) -> None:
    root = bench.folder / "isolated"
    result = bench.build(POINTS, classes=BOTH, environments=root)
    assert result.exit_code == 3
    refused, built = result.report.classes
    assert (refused.name, refused.code, built.built) == (
        "executorch-xnnpack",
        Code.COMPANION_MISSING.value,
        True,
    )
    assert not root.exists()


def test_an_environment_that_cannot_be_made_is_a_clear_skip_of_the_class(bench: Bench) -> None:
    (bench.folder / "m.pt2").write_bytes(b"a program")
    points = (OptimizerPoint("executorch", f"{__name__}:FUTURE"), POINTS[1])
    result = bench.build(
        points, classes=BOTH, environments=bench.folder / "isolated", companion=bench.folder / "m.pt2"
    )
    refused = result.report.classes[0]
    assert (result.exit_code, refused.code) == (3, Code.ISOLATED_NOT_MADE.value)
    assert refused.why.startswith(
        "the isolated environment of torch cannot be made here: there is no Python 3.98"
    )
    assert bench.leftovers() == ["release"]
    nowhere = bench.build(
        POINTS, classes=BOTH[:1], companion=bench.folder / "m.pt2", output=bench.folder / "out" / "second"
    )
    assert "was given no folder" in nowhere.report.classes[0].why


def test_nodes_cannot_stay_in_float(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "small.onnx")
    facts = take_in(tmp_path / "small.onnx", tmp_path / "model.onnx")
    recipe = Recipe("int8", Precision.INT8, keep_float=("x",))
    task = ConversionTask(tmp_path, facts, recipe, None, tmp_path, tmp_path, companion=tmp_path / "m.pt2")
    with pytest.raises(CallerError) as caught:
        plugin.convert(task, lambda text: None)
    assert caught.value.code is Code.KEEP_FLOAT_UNSUPPORTED


def test_locked_versions_are_part_of_what_is_recorded() -> None:
    recorded = tools(plugin)
    assert recorded["torch"].startswith("2.")
    assert recorded["isolated lock"] == TORCH.lock_sha256()[:16]
    assert TORCH in isolated_tools()


def test_a_runtime_that_does_not_move_is_not_driven_elsewhere() -> None:
    with pytest.raises(CallerError) as caught:
        runtimes.load("onnxruntime", Path("/bin/false"))
    assert caught.value.code is Code.RUNTIME_ELSEWHERE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x1c\0\0\0ET12" + bytes(100), "ended with status 1"),
        (b"nothing of the kind", "not an ExecuTorch program"),
    ],
)
def test_an_interpreter_that_dies_is_told(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "model.pte").write_bytes(data)
    onnx.save(classifier(), tmp_path / "small.onnx")
    facts = take_in(tmp_path / "small.onnx", tmp_path / "model.onnx")
    runtime = runtimes.load("executorch", Path("/bin/false"))
    with pytest.raises(WorldError, match=reason) as caught:
        runtime.open(tmp_path, "model.pte", contract_of(facts.inputs, facts.outputs))
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def contract_of(inputs: tuple[LogicalTensor, ...], outputs: tuple[LogicalTensor, ...]) -> InputContract:
    def bound(tensors: tuple[LogicalTensor, ...], name: str) -> tuple[TensorBinding, ...]:
        return tuple(
            TensorBinding(
                item, PhysicalTensor(f"{name}{i}", DType.FLOAT32, item.layout, (1, *item.shape[1:]))
            )
            for i, item in enumerate(tensors)
        )

    return InputContract(bound(inputs, "input"), bound(outputs, "output"))


# ------------------------------------------------------------------------------- with --isolated


@pytest.fixture(scope="module")
def digits(torch: Torch, companion: Path, tmp_path_factory: pytest.TempPathFactory) -> OptimizerCase:
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    facts = take_in(DIGITS / "digits-1.1.onnx", model).with_range(0.0, 1.0)
    images = []
    for name in ("calibration", "validation"):
        with np.load(DIGITS / f"{name}.npz", allow_pickle=False) as arrays:
            images.append(arrays["images"][:100].astype(np.float32) / np.float32(255))
    reference = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = np.asarray(reference.run(["logits"], {"image": images[1]})[0], np.float32)
    return OptimizerCase(
        model,
        facts,
        images[0],
        images[1],
        expected,
        1e-4,
        0.95,
        ("torch", "executorch", "torchao"),
        companion=companion,
        python=torch.python,
    )


@pytest.mark.slow
class TestExecuTorchOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return plugin

    @pytest.fixture
    def case(self, digits: OptimizerCase) -> OptimizerCase:
        return digits


@pytest.fixture(scope="module")
def program(digits: OptimizerCase, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
    place = tmp_path_factory.mktemp("program")
    for name in ("files", "beside"):
        (place / name).mkdir()
    task = ConversionTask(
        model=digits.model,
        facts=digits.facts,
        recipe=plugin.recipes[0],
        calibration=None,
        folder=place / "files",
        beside=place / "beside",
        companion=digits.companion,
        python=digits.python,
    )
    made = plugin.convert(task, lambda text: None)
    inputs, expected = {"image": digits.inputs[:4]}, {"logits": digits.expected[:4]}
    return ConformanceCase(
        place / "files", made.entry, made.contract, inputs, expected, 2e-4, ("torch", "executorch")
    )


@pytest.mark.slow
class TestExecuTorchElsewhere(RuntimeConformance):
    @pytest.fixture
    def runtime(self, torch: Torch) -> Runtime:
        return runtimes.load("executorch", torch.python)

    @pytest.fixture
    def case(self, program: ConformanceCase) -> ConformanceCase:
        return program

    def test_metadata_without_the_library(self, runtime: Runtime, case: ConformanceCase) -> None:
        # The version is that of a library beside us, and here there is none.
        assert (runtime.name, runtime.formats, runtime.version()) == ("executorch", (".pte",), None)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_inference(torch: Torch, program: ConformanceCase) -> None:
    session = runtimes.load("executorch", torch.python).open(program.folder, program.entry, program.contract)
    inputs = {name: value[:1] for name, value in program.inputs.items()}
    session.run(inputs)
    session._engine._process.kill()  # type: ignore[attr-defined]
    with pytest.raises(ModelfleetError) as caught:
        session.run(inputs)
    assert caught.value.code is Code.INFERENCE_FAILED
    session.close()


@pytest.mark.slow
def test_in_the_process_of_a_device_it_answers_the_same(
    torch: Torch, program: ConformanceCase, tmp_path: Path
) -> None:
    """The interpreter that has executorch runs the adapter itself, as an agent's worker would."""
    root = Path(__file__).parents[3]
    (tmp_path / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    np.save(tmp_path / "inputs.npy", next(iter(program.inputs.values())))
    (tmp_path / "contract.json").write_bytes(msgspec.json.encode(program.contract))
    code = """
import sys, numpy as np
from pathlib import Path
from modelfleet_core.release.contract import InputContract
from modelfleet_core.wire import codec
from modelfleet_runtimes.executorch import plugin
place, folder = Path(sys.argv[1]), Path(sys.argv[2])
contract = codec.decode((place / "contract.json").read_bytes(), InputContract, what="contract")
print(plugin.version())
session = plugin.open(folder, sys.argv[3], contract)
np.save(place / "answers.npy", session.run({"image": np.load(place / "inputs.npy")})["logits"])
"""
    path = f"{tmp_path}:{root / 'core'}:{root / 'agent'}"
    done = subprocess.run(
        [torch.python, "-c", code, str(tmp_path), str(program.folder), program.entry],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == TORCH.versions("executorch")["executorch"]
    answers = np.load(tmp_path / "answers.npy")
    np.testing.assert_allclose(answers, program.expected["logits"], rtol=0, atol=program.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"not a program", b""])
def test_a_companion_that_is_none_is_refused(
    torch: Torch, digits: OptimizerCase, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "m.pt2").write_bytes(data)
    for name in ("files", "beside"):
        (tmp_path / name).mkdir()
    task = ConversionTask(
        model=digits.model,
        facts=digits.facts,
        recipe=plugin.recipes[0],
        calibration=None,
        folder=tmp_path / "files",
        beside=tmp_path / "beside",
        companion=tmp_path / "m.pt2",
        python=torch.python,
    )
    with pytest.raises(CallerError, match=r"not a torch.export program") as caught:
        plugin.convert(task, lambda text: None)
    assert caught.value.code is Code.COMPANION_INVALID


@pytest.mark.slow
def test_a_companion_of_another_model_is_refused(torch: Torch, companion: Path, bench: Bench) -> None:
    """The right shapes, other weights: fp32 has to answer as its parent does."""
    result = bench.build(
        classes=("executorch-xnnpack",),
        model=DIGITS / "digits-1.0.onnx",
        companion=companion,
        validation=DIGITS / "validation.npz",
        golden=DIGITS / "golden.npz",
        calibration=DIGITS / "calibration.npz",
        environments=torch.root,
    )
    (refused,) = result.report.classes
    assert (result.exit_code, refused.code) == (4, Code.CONVERSION_FAILED.value)
    assert "answers otherwise than its float parent" in refused.why


@pytest.mark.slow
def test_a_build_measures_both_variants_in_executorch(torch: Torch, companion: Path, bench: Bench) -> None:
    result = bench.build(
        classes=("executorch-xnnpack",),
        model=DIGITS / "digits-1.1.onnx",
        companion=companion,
        validation=DIGITS / "validation.npz",
        golden=DIGITS / "golden.npz",
        calibration=DIGITS / "calibration.npz",
        environments=torch.root,
        precisions=None,
        cache=bench.folder / "cache",
    )
    assert result.exit_code == 0, result.report
    assert result.manifest is not None
    variants = {item.recipe: item for item in result.manifest.variants}
    assert set(variants) == {"fp32", "int8"}
    for item in variants.values():
        assert item.runtime.options == {}, "the builder's interpreter is no affair of a device"
        assert item.measurements.measured_with == ""
        assert item.measurements.value >= 0.98
        assert item.measurements.rss_bytes is None
        assert item.tools["executorch"] == TORCH.versions("executorch")["executorch"]
    assert variants["int8"].measurements.latency_ratio is not None
    assert variants["int8"].measurements.size_bytes < variants["fp32"].measurements.size_bytes / 2
    assert str(torch.python) not in (bench.folder / "out" / "release" / "release.json").read_text()
