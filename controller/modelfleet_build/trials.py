"""One variant on trial: made by its recipe, measured in its real runtime, judged by the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfleet_build import registry
from modelfleet_build.arrays import AnswerWriter, read_answers
from modelfleet_build.budget import BudgetRefusal, drop_points, judge, judge_conversion, judge_limits
from modelfleet_build.cache import MeasurementKey, Runnable, file_digest, key_digest
from modelfleet_build.child.jobs import Loadable, Measured, Sensitivities
from modelfleet_build.parent import Judgement, Parent
from modelfleet_build.port import Recipe
from modelfleet_build.progress import Step
from modelfleet_build.quality import Quality, error_share, relative_error, worst_class_drop
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import VariantReport
from modelfleet_build.request import BuildRequest
from modelfleet_build.variants import Answers, Made, Material
from modelfleet_build.workshop import SEED, Workshop
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Measurements
from modelfleet_runtimes import registry as runtimes
from modelfleet_runtimes.comparators import Outputs


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is kept of a measurement: everything but the answers to the validation data.

    Attributes:
        quality: The metric on the validation data.
        agreement: Share of decisions that are the float parent's, 0 to 1.
        error_share: Largest difference to its answers, as a share of the largest; see `quality.error_share`.
        measured: Latency and memory.
    """

    quality: Quality
    agreement: float
    error_share: float
    measured: Measured


@dataclass(slots=True)
class Trial:
    """How far a variant came. `refusal` is set where it may not be shipped."""

    name: str
    recipe: Recipe
    made: Made | None = None
    assessment: Assessment | None = None
    golden: Outputs | None = None
    measurements: Measurements | None = None
    refusal: BudgetRefusal | None = None
    measure_s: float = 0.0
    known: bool = False
    control: str = ""

    @property
    def within_budget(self) -> bool:
        """See `accuracy_control.Judged`."""
        return self.refusal is None

    @property
    def loss(self) -> float:
        """See `accuracy_control.Judged`."""
        return self.measurements.drop_points if self.measurements is not None else math.inf

    @property
    def lost_accuracy(self) -> bool:
        """It runs, and was refused for what it lost: what accuracy control can mend."""
        codes = (Code.BUDGET_EXCEEDED, Code.VARIANT_NOT_FINITE)
        return self.measurements is not None and self.refusal is not None and self.refusal.code in codes

    def report(self) -> VariantReport:
        """Its line of the report."""
        made, found, refusal = self.made, self.assessment, self.refusal
        control = (self.control,) if self.control else ()
        return VariantReport(
            name=self.name,
            precision=self.recipe.precision,
            recipe=self.recipe.name,
            accepted=refusal is None,
            chosen=False,
            code=refusal.code.value if refusal is not None else "",
            reason=refusal.reason if refusal is not None else "",
            measurements=self.measurements,
            not_finite=found.quality.not_finite if found is not None else 0,
            control=found.measured.control if found is not None else None,
            pareto=False,
            convert_s=made.seconds if made is not None else 0.0,
            measure_s=self.measure_s,
            cached=made.cached if made is not None else False,
            tools=made.tools if made is not None else {},
            notes=(*(made.converted.notes if made is not None else ()), *control),
            measurement_known=self.known,
            parameters=lineage(self.recipe, {}),
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """Tries recipes of one class."""

    request: BuildRequest
    device_class: DeviceClass
    point: OptimizerPoint
    workshop: Workshop
    material: Material
    parent: Parent
    judgement: Judgement

    def make(self, name: str, recipe: Recipe) -> Made:
        """Convert by a recipe.

        Raises:
            ModelfleetError: It is refused or fails.
        """
        if recipe.needs_calibration and self.material.calibration is None:
            raise registry.no_calibration(recipe)
        return self.workshop.convert(name, self.point, recipe, self.device_class.options, self.material)

    def assess(self, trial: Trial, reference: Loadable | None, seed: int = SEED) -> None:
        """Measure and judge a trial that was made.

        Args:
            trial: Gets its findings.
            reference: The float variant of the class, to be timed against.
            seed: Of the measurement.

        Raises:
            ModelfleetError: It cannot be run.
        """
        assert trial.made is not None
        begun = self.workshop.clock.monotonic()
        made = trial.made
        # A stand-in's time says nothing of the variant's own, so it is not compared.
        compared = reference if made.converted.stand_in is None else None
        key = self._key(made, compared, seed)
        with self.workshop.locks.hold(key_digest(key)):
            kept = self.workshop.space.fresh(f"golden-{trial.name}")
            found = self.workshop.cache.fetch(key, Assessment, kept)
            trial.known = found.value is not None
            if found.value is not None:
                trial.assessment = found.value
            else:
                trial.assessment = self._measure(trial.name, made, compared, kept, seed)
                self.workshop.cache.store(key, trial.assessment, kept)
        outputs, count = self.material.facts.outputs, self.material.counts[1]
        trial.golden = read_answers(kept, "golden", outputs, count)
        trial.measure_s = self.workshop.clock.monotonic() - begun
        trial.measurements = self._measurements(made, trial.assessment)
        trial.refusal = self._judged(trial)

    def tuning_error(self, name: str, made: Made, expected: Outputs) -> float:
        """Relative RMS error on the tuning samples, against the float parent's answers.

        Raises:
            ModelfleetError: It cannot be run.
        """
        answers = self.answer_tuning(name, made.measurable)
        return float(np.mean([relative_error(answers[key], value) for key, value in expected.items()]))

    def answer_tuning(self, name: str, loadable: Loadable) -> Outputs:
        """What a model answers to the tuning samples.

        Raises:
            ModelfleetError: It cannot be run.
        """
        assert self.material.tuning is not None
        count = self.material.tuning_count
        return self.workshop.answer(name, loadable, self.material.tuning, count, self.material)

    def _measure(
        self, name: str, made: Made, reference: Loadable | None, kept: Path, seed: int
    ) -> Assessment:
        answers = self._answers(name, made, reference, seed)
        outputs, count = self.material.facts.outputs, self.material.counts[1]
        with AnswerWriter(kept, "golden", outputs, count) as writer:
            for row in range(count):
                writer.add({key: value[row : row + 1] for key, value in answers.golden.items()})
        metric, theirs = self.judgement.metric, self.parent.answers().validation
        return Assessment(
            quality=metric.quality(answers.validation, self.judgement.validation.truth),
            agreement=metric.agreement(answers.validation, theirs),
            error_share=error_share(answers.validation, theirs),
            measured=answers.measured,
        )

    def _answers(self, name: str, made: Made, reference: Loadable | None, seed: int) -> Answers:
        parent, own = self.parent.loadable, made.measurable
        same_way = (own.runtime, own.contract, own.options) == (
            parent.runtime,
            parent.contract,
            parent.options,
        )
        entry = Path(own.folder) / own.entry
        if reference is None and same_way and file_digest(entry) == self.material.facts.model_sha256:
            return self.parent.answers()  # the very file that was measured as the float parent
        timed = made.converted.stand_in is None
        return self.workshop.measure(name, own, reference, self.material, timed=timed, seed=seed)

    def _key(self, made: Made, reference: Loadable | None, seed: int) -> MeasurementKey:
        def runnable(loadable: Loadable) -> Runnable:
            elsewhere = Path(loadable.python) if loadable.python is not None else None
            return Runnable.of(loadable, runtimes.load(loadable.runtime, elsewhere).version() or "")

        timed = made.converted.stand_in is None
        return measurement_key(
            runnable(made.measurable),
            runnable(reference) if reference is not None else None,
            self.request,
            self.material,
            self.judgement,
            seed=seed if timed else None,
        )

    def _measurements(self, made: Made, found: Assessment) -> Measurements:
        quality, parent, measured = found.quality, self.parent.quality, found.measured
        stand_in = made.converted.stand_in
        worst = worst_class_drop(quality, parent)
        return Measurements(
            metric=quality.metric,
            value=quality.value,
            parent_value=parent.value,
            drop_points=drop_points(quality, parent),
            agreement=found.agreement,
            size_bytes=made.size_bytes,
            samples=quality.samples,
            latency_ratio=measured.ratio.median if measured.ratio else None,
            latency_ratio_low=measured.ratio.low if measured.ratio else None,
            latency_ratio_high=measured.ratio.high if measured.ratio else None,
            control_ratio=measured.control.median if measured.control is not None else None,
            latency_us=measured.latency_us,
            rss_bytes=measured.rss_bytes if stand_in is None else None,
            measured_with=stand_in.runtime if stand_in is not None else "",
            arena_bytes=made.converted.arena_bytes,
            accelerator=made.converted.accelerator,
            class_drop_points=worst.points if worst is not None else None,
            worst_class=worst.worst_class if worst is not None else None,
            raw_error=quality.raw_error,
        )

    def _judged(self, trial: Trial) -> BudgetRefusal | None:
        found, measurements = trial.assessment, trial.measurements
        assert found is not None
        assert measurements is not None
        device_class = self.device_class
        return (
            judge_conversion(found.error_share, trial.recipe.precision)
            or judge(found.quality, self.parent.quality, self.request.max_drop_points)
            or judge_limits(
                measurements, device_class.limits, device_class.architectures, self.request.machine
            )
        )


@dataclass(slots=True)
class TuningAttempts:
    """What accuracy control asks for (`accuracy_control.Attempts`), done on a bench."""

    bench: Bench
    name: str
    reference: Loadable | None
    expected: Outputs | None = None

    def error(self, recipe: Recipe) -> float | None:
        """See `accuracy_control.Attempts.error`."""
        try:
            if self.expected is None:
                self.expected = self.bench.answer_tuning("parent", self.bench.parent.loadable)
            made = self.bench.make(self.name, recipe)
            return self.bench.tuning_error(self.name, made, self.expected)
        except ModelfleetError as error:
            self.bench.workshop.meter.going_on(Step.TUNE, self.name, error.happened)
            return None

    def judge(self, recipe: Recipe) -> Trial:
        """See `accuracy_control.Attempts.judge`."""
        return attempt(self.bench, Trial(self.name, recipe), self.reference)

    def sensitivities(self, seconds: float) -> Sensitivities | None:
        """See `accuracy_control.Attempts.sensitivities`."""
        try:
            return self.bench.workshop.sensitivities(self.name, self.bench.material, seconds)
        except ModelfleetError as error:
            self.bench.workshop.meter.going_on(Step.TUNE, self.name, error.happened)
            return None


def attempt(bench: Bench, trial: Trial, reference: Loadable | None, seed: int = SEED) -> Trial:
    """Make, measure and judge; whatever is refused becomes the trial's refusal."""
    try:
        if trial.made is None:
            trial.made = bench.make(trial.name, trial.recipe)
        bench.assess(trial, reference, seed)
    except ModelfleetError as error:
        trial.refusal = BudgetRefusal(error.code, error.happened)
    return trial


def measurement_key(
    target: Runnable,
    reference: Runnable | None,
    request: BuildRequest,
    material: Material,
    judgement: Judgement,
    seed: int | None = SEED,
) -> MeasurementKey:
    """The key of a measurement of this build; without a seed time is not measured."""
    limits = request.limits
    effort = (limits.rounds, limits.calls_per_round, limits.latency_s, seed) if seed is not None else ()
    return MeasurementKey(
        target=target,
        reference=reference,
        parent_sha256=material.facts.model_sha256,
        validation=material.data_digests[0],
        golden=material.data_digests[1],
        task=request.task,
        decoder=judgement.decoder,
        scale=judgement.scale,
        effort=tuple(map(float, effort)),
        machine=request.processor,
        tool=registry.versions(())["modelfleet"],
    )


def lineage(recipe: Recipe, options: dict[str, str]) -> dict[str, str]:
    """Everything that was settled for a variant, for manifest and report."""
    kept = {"keep_float": " ".join(recipe.keep_float)} if recipe.keep_float else {}
    return {**recipe.parameters, **{f"option.{name}": value for name, value in options.items()}, **kept}
