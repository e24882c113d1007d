"""External builders: the example's through the conformance suite, and commands that break the contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from modelfleet_build import registry
from modelfleet_build.intake import take_in
from modelfleet_build.optimizers.external import ExternalBuilder
from modelfleet_build.port import ConversionTask, Converted, Optimizer, Recipe
from modelfleet_build.testing import OptimizerCase, OptimizerConformance
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.release.manifest import Precision

from .conftest import DIGITS
from .graphs import classifier

EXAMPLE = DIGITS.parent / "external-builder"


@pytest.fixture(scope="module", autouse=True)
def _example_on_the_path() -> Iterator[None]:
    """What `pip install ./examples/external-builder` brings about, for this process and its children."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        yield


class TestToyFpga(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return registry.OptimizerPoint("toy-fpga", "toy_fpga:plugin").load()

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> OptimizerCase:
        model = tmp_path_factory.mktemp("model") / "model.onnx"
        facts = take_in(DIGITS / "digits-1.1.onnx", model)
        with np.load(DIGITS / "validation.npz", allow_pickle=False) as arrays:
            images = arrays["images"][:100].astype(np.float32) / np.float32(255)
        reference = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        expected = np.asarray(reference.run(["logits"], {"image": images})[0], np.float32)
        heavy = ("onnx", "numpy")
        return OptimizerCase(model, facts, images, images, expected, 0, 0.95, heavy, point="toy_fpga:plugin")


@dataclass(frozen=True, slots=True)
class Workbench:
    """A small model, and a command whose code a test gives."""

    task: ConversionTask
    folder: Path
    said: list[str]

    def builder(self, code: str) -> ExternalBuilder:
        script = self.folder / "command.py"
        script.write_text(f"import json, os, sys\njob = json.load(open(sys.argv[1]))\n{code}\n")
        recipe = Recipe("int8", Precision.INT8)
        command = (sys.executable, str(script))
        return ExternalBuilder("odd", "odd", command, (sys.executable, "--version"), ("numpy",), (recipe,))

    def convert(self, code: str) -> Converted:
        return self.builder(code).convert(self.task, self.said.append)

    def refusal(self, code: str) -> ModelfleetError:
        with pytest.raises(ModelfleetError) as caught:
            self.convert(code)
        return caught.value


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    source = tmp_path / "small.onnx"
    onnx.save(classifier(), source)
    facts = take_in(source, tmp_path / "model.onnx")
    for name in ("files", "beside"):
        (tmp_path / name).mkdir()
    task = ConversionTask(
        model=tmp_path / "model.onnx",
        facts=facts,
        recipe=Recipe("int8", Precision.INT8),
        calibration=None,
        folder=tmp_path / "files",
        beside=tmp_path / "beside",
        options={"lanes": "8"},
    )
    return Workbench(task, tmp_path, [])


GOOD = """
open(os.path.join(job["output"], "model.bin"), "wb").write(b"blob")
def tensors(side):
    return [{"name": t["name"], "dtype": "float32", "layout": t["layout"], "shape": [1, *t["shape"][1:]]} for t in job[side]]
answer = {"schema": 1, "entry": "model.bin", "inputs": tensors("inputs"), "outputs": tensors("outputs")}
def done():
    json.dump(answer, open(job["result"], "w"))
"""  # noqa: E501


def test_a_good_command(workbench: Workbench) -> None:
    converted = workbench.convert(
        GOOD + "print('half way', flush=True)\nprint(json.dumps(job['options']))\n"
        "answer['notes'] = ['all is well']; answer['tools'] = {'cc': '9'}\n"
        "answer['arena_bytes'] = 4096\ndone()"
    )
    assert converted.entry == "model.bin"
    assert converted.contract.logical() == (workbench.task.facts.inputs, workbench.task.facts.outputs)
    assert converted.notes == ("all is well", "made with cc 9")
    assert converted.arena_bytes == 4096
    assert workbench.said == ["half way", '{"lanes": "8"}']


BREACHES: dict[str, tuple[str, str]] = {
    "no result": ("", "there is no result.json"),
    "no JSON": ("open(job['result'], 'w').write('{')", "cannot be read"),
    "huge": ("open(job['result'], 'w').write(' ' * 2_000_000)", "2000000 bytes, more than"),
    "schema": ("answer['schema'] = 2; done()", "its schema is 2, not 1"),
    "no schema": ("del answer['schema']; done()", "missing required field `schema`"),
    "type": ("answer['arena_bytes'] = '1'; done()", "Expected `int | null`, got `str`"),
    "entry": ("answer['entry'] = '../model.onnx'; done()", "the entry '../model.onnx' is not in `output`"),
    "link": (
        "os.symlink('/etc/passwd', os.path.join(job['output'], 'x')); done()",
        "'x' in `output` is not a plain",
    ),
    "folder": ("os.mkdir(os.path.join(job['output'], 'x')); done()", "'x' in `output` is not a plain file"),
    "name": ("open(os.path.join(job['output'], '.x'), 'w').write('1'); done()", "may not be called '.x'"),
    "ours": (
        "open(os.path.join(job['output'], 'release.json'), 'w').write('1'); done()",
        "may not be called 'release.json'",
    ),
    "empty": ("open(os.path.join(job['output'], 'x'), 'w'); done()", "'x' has 0 bytes"),
    "many": (
        "[open(os.path.join(job['output'], f'x{i}'), 'w').write('1') for i in range(99)]; done()",
        "100 files in `output`",
    ),
    "inputs": ("answer['inputs'] = []; done()", "the entry has 0 inputs, the model 1"),
    "shape": (
        "answer['inputs'][0]['shape'] = [1, 1, 8, 9]; done()",
        "has shape [1, 1, 8, 9], which does not hold",
    ),
    "batch": ("answer['inputs'][0]['shape'][0] = 4; done()", "has shape [4, 1, 8, 8], which does not hold"),
    "layout": ("answer['outputs'][0]['layout'] = 'NHWC'; done()", "has the layout NHWC"),
    "scale": ("answer['inputs'][0]['dtype'] = 'int8'; done()", "scale > 0 and zero_point are needed"),
    "notes": ("answer['notes'] = ['x' * 2000]; done()", "notes and tools are empty"),
    "arena": ("answer['arena_bytes'] = 0; done()", "arena_bytes is 0"),
    "coverage": (
        "answer['accelerator'] = {'operators': 2, 'operators_on': 3}; done()",
        "runs 3 of 2 operators",
    ),
    "why": (
        "answer['stand_in'] = {**answer, 'runtime': 'onnxruntime', 'why': '', 'shipped': True}; done()",
        "does not say why",
    ),
    "stand-in": (
        "answer['stand_in'] = {**answer, 'runtime': 'onnxruntime', 'why': 'because'}; done()",
        "the entry 'model.bin' is not in `beside`",
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_results_that_break_the_contract(workbench: Workbench, breach: str) -> None:
    code, reason = BREACHES[breach]
    error = workbench.refusal(GOOD + code)
    assert isinstance(error, WorldError)
    assert error.code is Code.EXTERNAL_RESULT
    assert error.happened.startswith("the result of the external builder odd breaks its contract: ")
    assert reason in error.happened


def test_a_command_that_fails_is_quoted(workbench: Workbench) -> None:
    error = workbench.refusal("sys.exit('no licence for this device')")
    assert error.code is Code.EXTERNAL_FAILED
    assert error.happened == (
        "the external builder odd ended with status 1; its last line was: no licence for this device"
    )


def test_a_command_may_refuse_a_model(workbench: Workbench) -> None:
    error = workbench.refusal(GOOD + "answer['refused'] = 'there is no Gemm'; done()")
    assert isinstance(error, CallerError)
    assert (error.code, error.happened) == (
        Code.OPERATOR_UNSUPPORTED,
        "odd cannot convert the model: there is no Gemm",
    )


def test_a_command_that_is_not_there(workbench: Workbench) -> None:
    builder = replace(
        workbench.builder(""), command=("no-such-program",), version_command=("no-such-program",)
    )
    for call in (lambda: builder.convert(workbench.task, workbench.said.append), builder.versions):
        with pytest.raises(WorldError, match="the external builder odd") as caught:
            call()
        assert caught.value.code is Code.EXTERNAL_FAILED


def test_nodes_that_stay_in_float_are_refused_unless_the_command_can(workbench: Workbench) -> None:
    wanted = replace(workbench.task, recipe=replace(workbench.task.recipe, keep_float=("x",)))
    builder = workbench.builder(GOOD + "answer['notes'] = job['recipe']['keep_float']; done()")
    with pytest.raises(CallerError) as caught:
        builder.convert(wanted, workbench.said.append)
    assert caught.value.code is Code.KEEP_FLOAT_UNSUPPORTED
    assert replace(builder, keeps_float=True).convert(wanted, workbench.said.append).notes == ("x",)


def test_versions_of_the_tools_are_part_of_what_is_recorded(workbench: Workbench) -> None:
    builder = workbench.builder("")
    said = f"Python {sys.version.split()[0]}"
    assert registry.tools(builder)["odd command"] == said
    silent = replace(builder, version_command=(sys.executable, "-c", ""))
    with pytest.raises(WorldError, match="does not tell its version"):
        silent.versions()


def test_the_command_sees_nothing_of_the_caller(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFLEET_TOKEN", "secret")
    converted = workbench.convert(GOOD + "answer['notes'] = sorted(os.environ); done()")
    assert not {"MODELFLEET_TOKEN", "PYTHONPATH"} & set(converted.notes), "nor of ours"


def test_the_job_is_the_documented_one(workbench: Workbench) -> None:
    """The guide shows these fields; a field that is added has to be added there."""
    keep = workbench.folder / "job-copy.json"
    workbench.convert(GOOD + f"json.dump(job, open({str(keep)!r}, 'w')); done()")
    job = json.loads(keep.read_text())
    guide = (DIGITS.parents[1] / "docs" / "guides" / "isolated-builders.md").read_text()
    assert [field for field in job if f"`{field}`" not in guide] == []
    assert job["schema"] == 1
