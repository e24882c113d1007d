"""What the builder relies on in every optimizer, as tests."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import write_inputs
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import ConvertJob, Job
from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import ConversionTask, Optimizer, Recipe
from modelfleet_core.clock import SystemClock
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes import registry

FloatArray = npt.NDArray[np.float32]

_LIGHT_IMPORT = """
import importlib, json, sys
plugin = importlib.import_module(sys.argv[1]).plugin
plugin.name, plugin.runtime, plugin.packages
json.dump(sorted(name for name in sys.modules if "." not in name), sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class OptimizerCase:
    """A model and what it answers.

    Attributes:
        model: Single-file ONNX model.
        facts: Of the model.
        calibration: [n, ...] float32 samples.
        inputs: [m, ...] float32 samples.
        expected: [m, ...] its first output for them.
        tolerance: Largest error of a float variant, as a share of the largest expected value.
        agreement: Least share of equal top-1 decisions of an int8 variant.
        heavy: Top-level modules that must not be imported with the plug-in.
    """

    model: Path
    facts: ModelFacts
    calibration: FloatArray
    inputs: FloatArray
    expected: FloatArray
    tolerance: float
    agreement: float
    heavy: tuple[str, ...]


class OptimizerConformance:
    """Subclass it, name the subclass `Test...` and give it the fixtures `optimizer` and `case`."""

    def test_metadata_without_the_converter(self, optimizer: Optimizer, case: OptimizerCase) -> None:
        command = [sys.executable, "-c", _LIGHT_IMPORT, type(optimizer).__module__]
        answer = subprocess.run(command, capture_output=True, check=True, timeout=60)
        assert not set(json.loads(answer.stdout)) & set(case.heavy)
        assert optimizer.name
        assert optimizer.runtime
        assert optimizer.packages

    def test_recipes_tell_precision_and_name(self, optimizer: Optimizer) -> None:
        recipes = [recipe for p in Precision if (recipe := optimizer.recipe(p)) is not None]
        assert recipes
        for recipe in recipes:
            assert optimizer.recipe(recipe.precision) == recipe
        assert len({recipe.name for recipe in recipes}) == len(recipes)

    def test_variants_answer_like_their_parent(
        self, optimizer: Optimizer, case: OptimizerCase, tmp_path: Path
    ) -> None:
        for recipe in (item for p in Precision if (item := optimizer.recipe(p)) is not None):
            folder = tmp_path / recipe.name / "files"
            folder.mkdir(parents=True)
            write_inputs(tmp_path / "calibration.npz", case.calibration)
            task = ConversionTask(case.model, case.facts, recipe, tmp_path / "calibration.npz", folder)
            converted = optimizer.convert(task, lambda text: None)
            assert converted.contract.logical() == (case.facts.inputs, case.facts.outputs)
            assert all(path.is_file() for path in folder.iterdir()), "a variant folder is flat"
            session = registry.load(optimizer.runtime).open(folder, converted.entry, converted.contract)
            answer = next(iter(session.run({case.facts.inputs[0].name: case.inputs}).values()))
            session.close()
            _check_answer(answer, case, recipe)

    def test_variants_are_reproducible_in_fresh_processes(
        self, optimizer: Optimizer, case: OptimizerCase, tmp_path: Path
    ) -> None:
        recipe = next(item for p in Precision if (item := optimizer.recipe(p)) is not None)
        write_inputs(tmp_path / "calibration.npz", case.calibration)
        contents = []
        for name in ("one", "two"):
            files = tmp_path / name / "files"
            files.mkdir(parents=True)
            job = ConvertJob(
                optimizer=f"{type(optimizer).__module__}:plugin",
                model=str(case.model),
                facts=case.facts,
                recipe=recipe,
                calibration=str(tmp_path / "calibration.npz"),
                folder=str(files),
            )
            child = Job(folder=str(tmp_path / name), data_limit_bytes=0, convert=job)
            runner.run(child, runner.Allowance(120, 4 * 1024**3), SystemClock(), lambda text: None)
            contents.append({path.name: path.read_bytes() for path in sorted(files.iterdir())})
        assert contents[0] == contents[1]


def _check_answer(answer: FloatArray, case: OptimizerCase, recipe: Recipe) -> None:
    if recipe.precision is Precision.INT8:
        equal = answer.argmax(axis=1) == case.expected.argmax(axis=1)
        assert float(equal.mean()) >= case.agreement, recipe.name
        return
    # Weights of half precision carry 11 significant bits.
    share = 2e-2 if recipe.precision is Precision.FP16 else case.tolerance
    bound = share * float(np.abs(case.expected).max())
    np.testing.assert_allclose(answer, case.expected, rtol=0, atol=bound, err_msg=recipe.name)
