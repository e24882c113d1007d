"""Runs the child processes of one build: converters, runtimes and analyses, each once for the same input.

Several classes are built at the same time. Each works on cores of its own; what two of them want alike is
done by the first and taken from the cache by the other.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelfleet_build import registry
from modelfleet_build.arrays import read_answers
from modelfleet_build.assemble import Workspace
from modelfleet_build.cache import Cache, ConversionKey, IntakeKey, SensitivityKey, file_digest, key_digest
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import (
    ConvertJob,
    IntakeJob,
    Job,
    Loadable,
    MeasureJob,
    Result,
    Sensitivities,
    SensitivityJob,
)
from modelfleet_build.facts import ModelFacts
from modelfleet_build.isolated.environments import Environments, cannot
from modelfleet_build.port import Converted, Isolated, Optimizer, Recipe
from modelfleet_build.progress import Meter, Step
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.request import Limits
from modelfleet_build.variants import Answers, Made, Material
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_runtimes.comparators import Outputs

SEED, AGAIN = 1797, 1798
"""Seeds of a measurement, and of a second one of the same variant."""
_INTAKE_TOOLS = ("onnx", "protobuf")
_SENSITIVITY_TOOLS = ("onnx", "onnxruntime")


class KeyLocks:
    """One lock for each key, so that the second of two equal jobs waits for the first."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Wait until nobody else works on `key`."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield


@dataclass(frozen=True, slots=True)
class Workshop:
    """The tools of one build.

    Attributes:
        space: Where files go.
        limits: Of each child.
        nice: Added to the children's niceness.
        cache: What earlier builds, and other classes of this one, found out.
        clock: For deadlines.
        meter: Takes progress.
        environments: Isolated environments of tools that cannot share ours; None = refuse what needs one.
        cores: Processors for the children, empty = all.
        stop: Set when the build ends early: every child is killed then.
        locks: Shared by the classes of a build.
    """

    space: Workspace
    limits: Limits
    nice: int
    cache: Cache
    clock: Clock
    meter: Meter
    environments: Environments | None = None
    cores: tuple[int, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    locks: KeyLocks = field(default_factory=KeyLocks)

    def on(self, cores: tuple[int, ...]) -> Workshop:
        """The same workshop on some of the processors."""
        return replace(self, cores=cores)

    def take_in(self, source: Path, target: Path) -> ModelFacts:
        """Check the model `source` and write it as one file `target`.

        Raises:
            ModelfleetError: It is refused, or its child was killed.
        """
        key = IntakeKey(file_digest(source), registry.versions(_INTAKE_TOOLS)) if source.is_file() else None
        if key is not None and (facts := self.cache.fetch(key, ModelFacts).value) is not None:
            shutil.copyfile(source, target)
            if file_digest(target) == facts.model_sha256:  # it may have changed since it was looked at
                return facts
        work = self.space.fresh("intake")
        job = IntakeJob(str(source.absolute()), str(target))
        result = self._run(Job(folder=str(work), data_limit_bytes=0, intake=job), Step.INTAKE, source.name)
        shutil.rmtree(work)
        assert result.intake is not None
        # A model with external data consists of more than the file that the key names.
        if key is not None and result.intake.model_sha256 == key.source_sha256:
            self.cache.store(key, result.intake)
        return result.intake

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
            optimizer.isolated, lambda text: self.meter.going_on(Step.CONVERT, name, text), self.stop
        )

    def convert(
        self,
        name: str,
        point: OptimizerPoint,
        recipe: Recipe,
        options: dict[str, str],
        material: Material,
    ) -> Made:
        """Make a variant in a folder of its own.

        Raises:
            ModelfleetError: The conversion was refused, failed, or was killed.
        """
        begun = self.clock.monotonic()
        optimizer = point.load()
        python = self.prepare(optimizer, name, material)
        tools = registry.tools(optimizer)
        key = ConversionKey(
            material.facts.model_sha256,
            material.facts,
            recipe,
            material.calibration_digest if recipe.needs_calibration else None,
            point.value,
            tools,
            options,
            material.companion_digest,
        )
        folder, beside = self.space.fresh(f"files-{name}"), self.space.fresh(f"beside-{name}")
        with self.locks.hold(key_digest(key)):
            found = self.cache.fetch(key, Converted, folder, beside)
            if found.damaged:
                self.meter.going_on(Step.CONVERT, name, found.damaged)
            converted = found.value
            if converted is None:
                converted = self._convert(name, point, recipe, options, material, (folder, beside), python)
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
        return Made(
            loadable=loadable,
            measurable=measurable,
            recipe=recipe,
            tools=tools,
            size_bytes=sum(path.stat().st_size for path in folder.iterdir()),
            converted=converted,
            seconds=self.clock.monotonic() - begun,
            cached=found.value is not None,
        )

    def discard(self, made: Made) -> None:
        """Remove the files of a variant that was only tried; a build may try hundreds."""
        for folder in {made.loadable.folder, made.measurable.folder}:
            shutil.rmtree(folder, ignore_errors=True)

    def measure(
        self,
        name: str,
        target: Loadable,
        reference: Loadable | None,
        material: Material,
        *,
        timed: bool = True,
        seed: int = SEED,
    ) -> Answers:
        """Run a variant in its runtime on all data, beside the float variant of its class.

        Raises:
            ModelfleetError: It cannot be loaded, fails, or was killed.
        """
        begun = self.clock.monotonic()
        work, job = self._measuring(name, target, material.validation, material.golden)
        rounds = self.limits.rounds if timed else 0
        job = replace(job, reference=reference, rounds=rounds, seed=seed)
        result = self._run(Job(folder=str(work), data_limit_bytes=0, measure=job), Step.MEASURE, name)
        assert result.measure is not None
        validation, golden = (
            read_answers(Path(job.answers), data, material.facts.outputs, count)
            for data, count in zip(("validation", "golden"), material.counts, strict=True)
        )
        shutil.rmtree(work)
        return Answers(validation, golden, result.measure, self.clock.monotonic() - begun)

    def answer(self, name: str, target: Loadable, inputs: Path, count: int, material: Material) -> Outputs:
        """What a variant answers to `count` other samples, untimed.

        Raises:
            ModelfleetError: It cannot be loaded, or was killed.
        """
        work, job = self._measuring(name, target, inputs, None)
        self._run(Job(folder=str(work), data_limit_bytes=0, measure=job), Step.TUNE, name)
        answers = read_answers(Path(job.answers), "validation", material.facts.outputs, count)
        shutil.rmtree(work)
        return answers

    def sensitivities(self, name: str, material: Material, seconds: float) -> Sensitivities:
        """Which operators of the model suffer from int8; the same for every variant of a build.

        Raises:
            ModelfleetError: It cannot be quantized, or the child was killed.
        """
        assert material.calibration_digest is not None
        tools = registry.versions(_SENSITIVITY_TOOLS)
        key = SensitivityKey(
            material.facts.model_sha256, material.calibration_digest, material.tuning_digest, tools
        )
        with self.locks.hold(key_digest(key)):
            found = self.cache.fetch(key, Sensitivities).value
            if found is None:
                found = self._sensitivities(name, material, seconds)
                if len(found.found) == found.groups:  # not what the clock cut short
                    self.cache.store(key, found)
        return found

    def _sensitivities(self, name: str, material: Material, seconds: float) -> Sensitivities:
        assert material.calibration is not None
        assert material.tuning is not None
        work = self.space.fresh(f"sensitivity-{name}")
        job = SensitivityJob(
            model=str(material.model),
            calibration=str(material.calibration),
            tuning=str(material.tuning),
            folder=str(work),
            seconds=seconds,
        )
        result = self._run(Job(folder=str(work), data_limit_bytes=0, sensitivity=job), Step.TUNE, name)
        shutil.rmtree(work)
        assert result.sensitivity is not None
        return result.sensitivity

    def _measuring(
        self, name: str, target: Loadable, validation: Path, golden: Path | None
    ) -> tuple[Path, MeasureJob]:
        work = self.space.fresh(f"measure-{name}")
        answers = work / "answers"
        answers.mkdir()
        return work, MeasureJob(
            target=target,
            reference=None,
            validation=str(validation),
            golden=str(golden) if golden is not None else None,
            answers=str(answers),
            turn=str(self.space.root / "turn.lock"),
            rounds=0,
            calls_per_round=self.limits.calls_per_round,
            latency_s=self.limits.latency_s,
            seed=SEED,
        )

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
        work = self.space.fresh(f"convert-{name}")
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
        result = self._run(Job(folder=str(work), data_limit_bytes=0, convert=job), Step.CONVERT, name)
        assert result.convert is not None
        for folder, target in zip(made, targets, strict=True):
            for path in sorted(folder.iterdir()):
                path.rename(target / path.name)
        shutil.rmtree(work)
        return result.convert

    def _run(self, job: Job, step: Step, name: str) -> Result:
        seconds = self.limits.convert_s if step in (Step.INTAKE, Step.CONVERT) else self.limits.measure_s
        try:
            return runner.run(
                replace(job, nice=self.nice, cores=self.cores),
                runner.Allowance(seconds, self.limits.memory_bytes),
                self.clock,
                lambda text: self.meter.going_on(step, name, text),
                self.stop,
            )
        except WorldError as error:
            if error.code is not Code.DISK_FULL:
                raise
            # Says nothing of the variant, so it must not become its refusal: it ends the build.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
