"""What the builder relies on in every optimizer, as tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import write_inputs
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import ConvertJob, Job
from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import ConversionTask, Converted, Optimizer, Recipe
from modelfleet_build.registry import recipe_of
from modelfleet_core.clock import SystemClock
from modelfleet_core.ids import is_name
from modelfleet_core.release.manifest import FLOATS, Precision
from modelfleet_runtimes import registry
from modelfleet_runtimes.port import Session

FloatArray = npt.NDArray[np.float32]

_LIGHT_IMPORT = """
import importlib, json, sys
module, _, attribute = sys.argv[1].partition(":")
plugin = getattr(importlib.import_module(module), attribute)
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
        options: Options of the device class.
        companion: The model in another form, where the plug-in needs it.
        python: Interpreter of its isolated environment, where it has one.
        point: `module:attribute` where a process finds the plug-in; empty = `plugin` beside its class.
    """

    model: Path
    facts: ModelFacts
    calibration: FloatArray
    inputs: FloatArray
    expected: FloatArray
    tolerance: float
    agreement: float
    heavy: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    companion: Path | None = None
    python: Path | None = None
    point: str = ""

    def found_at(self, optimizer: Optimizer) -> str:
        """Where a process finds the plug-in."""
        return self.point or f"{type(optimizer).__module__}:plugin"


class OptimizerConformance:
    """Subclass it, name the subclass `Test...` and give it the fixtures `optimizer` and `case`."""

    def test_metadata_without_the_converter(self, optimizer: Optimizer, case: OptimizerCase) -> None:
        command = [sys.executable, "-c", _LIGHT_IMPORT, case.found_at(optimizer)]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        answer = subprocess.run(
            ["/usr/bin/env", f"PYTHONPATH={path}", *command], capture_output=True, check=True, timeout=60
        )
        assert not set(json.loads(answer.stdout)) & set(case.heavy)
        assert optimizer.name
        assert optimizer.runtime
        assert optimizer.packages

    def test_recipes_tell_precision_and_name(self, optimizer: Optimizer) -> None:
        names = [recipe.name for recipe in optimizer.recipes]
        assert names
        assert len(set(names)) == len(names)
        assert all(is_name(name) for name in names)
        assert all(not recipe.keep_float for recipe in optimizer.recipes)
        if optimizer.float_recipe is not None:
            assert recipe_of(optimizer, optimizer.float_recipe).precision in FLOATS

    def test_alternatives_are_the_same_recipe_otherwise(self, optimizer: Optimizer) -> None:
        for recipe in optimizer.recipes:
            others = optimizer.alternatives(recipe)
            assert all((item.name, item.precision) == (recipe.name, recipe.precision) for item in others)
            assert recipe not in others
            assert all(others.count(item) == 1 for item in others)

    def test_variants_answer_like_their_parent(
        self, optimizer: Optimizer, case: OptimizerCase, tmp_path: Path
    ) -> None:
        write_inputs(tmp_path / "calibration.npz", case.calibration)
        for recipe in optimizer.recipes:
            folder, beside = _folders(tmp_path / recipe.name)
            task = ConversionTask(
                model=case.model,
                facts=case.facts,
                recipe=recipe,
                calibration=tmp_path / "calibration.npz",
                folder=folder,
                beside=beside,
                options=case.options,
                companion=case.companion,
                python=case.python,
            )
            converted = optimizer.convert(task, lambda text: None)
            assert converted.contract.logical() == (case.facts.inputs, case.facts.outputs)
            assert (folder / converted.entry).is_file()
            assert all(path.is_file() for path in folder.iterdir()), "a variant folder is flat"
            session = _opened(optimizer, converted, task)
            answer = next(iter(session.run({case.facts.inputs[0].name: case.inputs}).values()))
            session.close()
            _check_answer(answer, case, recipe)

    def test_variants_are_reproducible_in_fresh_processes(
        self, optimizer: Optimizer, case: OptimizerCase, tmp_path: Path
    ) -> None:
        recipe = optimizer.recipes[-1]
        write_inputs(tmp_path / "calibration.npz", case.calibration)
        contents = []
        for name in ("one", "two"):
            files, beside = _folders(tmp_path / name)
            job = ConvertJob(
                optimizer=case.found_at(optimizer),
                model=str(case.model),
                facts=case.facts,
                recipe=recipe,
                calibration=str(tmp_path / "calibration.npz"),
                folder=str(files),
                beside=str(beside),
                options=dict(case.options),
                companion=str(case.companion) if case.companion is not None else None,
                python=str(case.python) if case.python is not None else None,
            )
            child = Job(folder=str(tmp_path / name), data_limit_bytes=0, convert=job)
            runner.run(child, runner.Allowance(120, 4 * 1024**3), SystemClock(), lambda text: None)
            contents.append({path.name: path.read_bytes() for path in sorted(files.iterdir())})
        assert contents[0] == contents[1]


def _folders(place: Path) -> tuple[Path, Path]:
    folders = place / "files", place / "beside"
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def _opened(optimizer: Optimizer, converted: Converted, task: ConversionTask) -> Session:
    """The session that the builder measures: of the variant itself or of its stand-in."""
    stand_in = converted.stand_in
    if stand_in is None:
        options = optimizer.runtime_options(task.options)
        runtime = registry.load(optimizer.runtime, task.python)
        return runtime.open(task.folder, converted.entry, converted.contract, options=options)
    assert stand_in.why
    assert stand_in.contract.logical() == converted.contract.logical()
    where = task.folder if stand_in.shipped else task.beside
    return registry.load(stand_in.runtime).open(where, stand_in.entry, stand_in.contract)


def _check_answer(answer: FloatArray, case: OptimizerCase, recipe: Recipe) -> None:
    if recipe.precision is Precision.INT8:
        equal = answer.argmax(axis=1) == case.expected.argmax(axis=1)
        assert float(equal.mean()) >= case.agreement, recipe.name
        return
    # Weights of half precision carry 11 significant bits.
    share = 2e-2 if recipe.precision is Precision.FP16 else case.tolerance
    bound = share * float(np.abs(case.expected).max())
    np.testing.assert_allclose(answer, case.expected, rtol=0, atol=bound, err_msg=recipe.name)
