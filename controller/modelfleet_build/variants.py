"""Makes and measures one variant: cache or converter, then the real runtime, each in a child process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build import registry
from modelfleet_build.arrays import read_answers
from modelfleet_build.assemble import Workspace
from modelfleet_build.cache import Cache, Key
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import ConvertJob, Job, Loadable, Measured, MeasureJob
from modelfleet_build.facts import ModelFacts
from modelfleet_build.isolated.environments import Environments, cannot
from modelfleet_build.port import Converted, Isolated, Optimizer, Recipe
from modelfleet_build.progress import Happening, Meter, Step
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.request import Limits
from modelfleet_core.clock import Clock

FloatArray = npt.NDArray[np.float32]

_SEED = 1797


@dataclass(frozen=True, slots=True)
class Material:
    """What every variant of a build is made from.

    Attributes:
        model: The single-file model.
        facts: Of the model.
        calibration: File of the calibration samples, None where there are none.
        calibration_digest: Identity of those samples.
        validation, golden: Files of the samples to answer.
        companion: The model in another form, None without; and its digest.
    """

    model: Path
    facts: ModelFacts
    calibration: Path | None
    calibration_digest: str | None
    validation: Path
    golden: Path
    companion: Path | None = None
    companion_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A converted variant on disk.

    Attributes:
        loadable: How its own runtime opens it.
        measurable: How it is opened to be measured: the same, or a stand-in.
        recipe: How it was made.
        tools: With what.
        size_bytes: Size of the runtime's files.
        converted: What the converter said.
        seconds: Time the conversion took.
        cached: It came from the cache.
    """

    loadable: Loadable
    measurable: Loadable
    recipe: Recipe
    tools: dict[str, str]
    size_bytes: int
    converted: Converted
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """What a variant answered and how it ran.

    Attributes:
        validation, golden: First output for every sample.
        measured: Latency and memory.
        seconds: Time the measurement took.
    """

    validation: FloatArray
    golden: FloatArray
    measured: Measured
    seconds: float


@dataclass(frozen=True, slots=True)
class Workshop:
    """Runs the child processes of one build."""

    space: Workspace
    limits: Limits
    nice: int
    cache: Cache | None
    clock: Clock
    meter: Meter
    environments: Environments | None = None

    def prepare(self, optimizer: Optimizer, name: str, material: Material) -> Path | None:
        """Interpreter of the isolated environment that an optimizer needs, made now if need be; else None.

        Raises:
            CallerError: What the optimizer refuses before that (`port.Isolated.check`).
            WorldError: MF-1470, it cannot be made here.
        """
        if not isinstance(optimizer, Isolated):
            return None
        optimizer.check(material.companion)
        if self.environments is None:
            raise cannot(
                optimizer.isolated, "the build was given no folder for it", "such a folder", "give one"
            )
        return self.environments.make(
            optimizer.isolated, lambda text: self.meter.going_on(Step.CONVERT, name, text)
        )

    def convert(
        self,
        name: str,
        point: OptimizerPoint,
        recipe: Recipe,
        options: dict[str, str],
        material: Material,
        folder: Path,
    ) -> Made:
        """Fill `folder` with the runtime's files of a variant.

        Raises:
            ModelfleetError: The conversion was refused, failed, or was killed.
        """
        begun = self.clock.monotonic()
        optimizer = point.load()
        python = self.prepare(optimizer, name, material)
        tools = registry.tools(optimizer)
        key = Key(
            material.facts.model_sha256,
            material.facts,
            recipe,
            material.calibration_digest if recipe.needs_calibration else None,
            point.value,
            tools,
            options,
            material.companion_digest,
        )
        beside = self.space.folder(f"beside-{name}")
        converted = self._from_cache(name, key, folder, beside)
        cached = converted is not None
        if converted is None:
            converted = self._convert(name, point, recipe, options, material, (folder, beside), python)
            if self.cache is not None:
                self.cache.store(key, converted, folder, beside)
        loadable = Loadable(
            optimizer.runtime,
            str(folder),
            converted.entry,
            converted.contract,
            optimizer.runtime_options(options),
        )
        measurable = replace(loadable, python=str(python)) if python is not None else loadable
        if (stand_in := converted.stand_in) is not None:
            where = str(folder if stand_in.shipped else beside)
            measurable = Loadable(stand_in.runtime, where, stand_in.entry, stand_in.contract)
        size = sum(path.stat().st_size for path in folder.iterdir())
        seconds = self.clock.monotonic() - begun
        return Made(loadable, measurable, recipe, tools, size, converted, seconds, cached)

    def measure(self, name: str, target: Loadable, reference: Loadable | None, material: Material) -> Answers:
        """Run a variant in its runtime, beside the float variant of its class.

        Raises:
            ModelfleetError: It cannot be loaded, fails, or was killed.
        """
        begun = self.clock.monotonic()
        folder = self.space.folder(f"measure-{name}")
        answers = folder / "answers.npz"
        job = MeasureJob(
            target=target,
            reference=reference,
            validation=str(material.validation),
            golden=str(material.golden),
            answers=str(answers),
            rounds=self.limits.rounds,
            calls_per_round=self.limits.calls_per_round,
            latency_s=self.limits.latency_s,
            seed=_SEED,
        )
        allowance = runner.Allowance(self.limits.measure_s, self.limits.memory_bytes)
        result = runner.run(
            Job(folder=str(folder), data_limit_bytes=0, nice=self.nice, measure=job),
            allowance,
            self.clock,
            lambda text: self.meter.going_on(Step.MEASURE, name, text),
        )
        assert result.measure is not None
        validation, golden = read_answers(answers)
        shutil.rmtree(folder)
        return Answers(validation, golden, result.measure, self.clock.monotonic() - begun)

    def _from_cache(self, name: str, key: Key, folder: Path, beside: Path) -> Converted | None:
        if self.cache is None:
            return None
        found = self.cache.fetch(key, folder, beside)
        if found.damaged:
            self.meter.going_on(Step.CONVERT, name, found.damaged)
        return found.converted

    def _convert(
        self,
        name: str,
        point: OptimizerPoint,
        recipe: Recipe,
        options: dict[str, str],
        material: Material,
        targets: tuple[Path, Path],
        python: Path | None,
    ) -> Converted:
        work = self.space.folder(f"convert-{name}")
        made = (work / "files", work / "beside")
        for folder in made:
            folder.mkdir()
        calibration = material.calibration if recipe.needs_calibration else None
        job = ConvertJob(
            optimizer=point.value,
            model=str(material.model),
            facts=material.facts,
            recipe=recipe,
            calibration=str(calibration) if calibration is not None else None,
            folder=str(made[0]),
            beside=str(made[1]),
            options=options,
            companion=str(material.companion) if material.companion is not None else None,
            python=str(python) if python is not None else None,
        )
        result = runner.run(
            Job(folder=str(work), data_limit_bytes=0, nice=self.nice, convert=job),
            runner.Allowance(self.limits.convert_s, self.limits.memory_bytes),
            self.clock,
            lambda text: self.meter.going_on(Step.CONVERT, name, text),
        )
        assert result.convert is not None
        for folder, target in zip(made, targets, strict=True):
            for path in sorted(folder.iterdir()):
                path.rename(target / path.name)
        shutil.rmtree(work)
        return result.convert


def finished_how(made: Made) -> Happening:
    """How the progress calls a conversion that ended well."""
    return Happening.CACHED if made.cached else Happening.DONE
