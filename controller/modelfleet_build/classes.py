"""Builds one device class: its float variant first, then the others against it, then the choice."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelfleet_build import registry
from modelfleet_build.assemble import complete_variant
from modelfleet_build.budget import (
    BudgetRefusal,
    Candidate,
    choose,
    drop_points,
    judge,
    judge_conversion,
    judge_limits,
)
from modelfleet_build.cache import file_digest
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.datasets import Dataset
from modelfleet_build.port import Optimizer, Recipe
from modelfleet_build.progress import Happening, Step
from modelfleet_build.quality import METRIC, Quality, agreement, error_share, quality, self_test_bounds
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import ClassReport, VariantReport, pareto_front
from modelfleet_build.request import MIB, BuildRequest, Objective
from modelfleet_build.variants import Answers, Made, Material, Workshop, finished_how
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import FLOATS, Measurements, Precision, Refusal, RuntimeNeed, Variant
from modelfleet_runtimes.comparators import for_task

# Room above the measured peak: requests, sockets and a second copy of the answers.
_MEMORY_FACTOR = 1.25


@dataclass(frozen=True, slots=True)
class ParentResult:
    """The float parent: its answers, and how good they are on validation and golden data."""

    loadable: Loadable
    answers: Answers
    quality: Quality
    golden: Quality


@dataclass(frozen=True, slots=True)
class ClassResult:
    """What one class adds to release and report."""

    report: ClassReport
    variants: tuple[Variant, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A variant within the budget, complete on disk."""

    variant: Variant
    candidate: Candidate
    report: VariantReport
    loadable: Loadable


@dataclass(frozen=True, slots=True)
class ClassBuilder:
    """Builds the variants of one class."""

    request: BuildRequest
    device_class: DeviceClass
    workshop: Workshop
    material: Material
    parent: ParentResult
    validation: Dataset
    golden: Dataset

    def build(self, points: tuple[OptimizerPoint, ...]) -> ClassResult:
        """Try every precision; a class without its float variant is refused as a whole."""
        try:
            point = registry.for_class(self.device_class, points)
            optimizer = point.load()
            recipes = registry.recipes_for(self.device_class, optimizer, self.request.precisions)
            self.workshop.prepare(optimizer, self.device_class.name, self.material)
        except ModelfleetError as error:
            return self._impossible(error)
        accepted: list[_Accepted] = []
        refused = self._not_made(optimizer)
        for index, recipe in enumerate(recipes):
            outcome = self._variant(recipe, point, accepted[0].loadable if accepted else None)
            if isinstance(outcome, _Accepted):
                accepted.append(outcome)
                continue
            refused.append(outcome)
            floats_left = any(item.precision in FLOATS for item in recipes[index + 1 :])
            if optimizer.float_recipe is not None and not accepted and not floats_left:
                left = len(recipes) - index - 1
                if left:
                    detail = "not tried: the class has no float variant to compare with"
                    self.workshop.meter.finished(
                        Step.MEASURE, self.device_class.name, detail, Happening.REFUSED, steps=2 * left
                    )
                return self._none(refused)
        return self._chosen(accepted, refused) if accepted else self._none(refused)

    def _not_made(self, optimizer: Optimizer) -> list[VariantReport]:
        lacking = registry.not_made(optimizer, self.request.precisions)
        reports: list[VariantReport] = []
        for precision, error in lacking.items():
            trial = _Trial(f"{self.device_class.name}.{precision.value}", Recipe(precision.value, precision))
            reports.append(trial.report(error.code.value, error.happened))
            self.workshop.meter.finished(Step.CONVERT, trial.name, error.happened, Happening.REFUSED, 2)
        return reports

    def _variant(
        self, recipe: Recipe, point: OptimizerPoint, reference: Loadable | None
    ) -> _Accepted | VariantReport:
        name = f"{self.device_class.name}.{recipe.name}"
        meter = self.workshop.meter
        folder = self.workshop.space.variant(name)
        trial = _Trial(name, recipe)
        try:
            meter.started(Step.CONVERT, name)
            trial.made = self._made(name, recipe, point, folder)
            meter.finished(Step.CONVERT, name, f"{trial.made.size_bytes} bytes", finished_how(trial.made))
            meter.started(Step.MEASURE, name)
            trial.answers = self._measured(name, trial.made, reference)
            trial.numbers = self._numbers(trial.made, trial.answers)
            refusal = self._judged(trial.numbers, trial.answers, recipe.precision)
            if refusal is not None:
                return self._refused(trial, refusal.code, refusal.reason, folder)
            accepted = self._accepted(trial, folder)
        except ModelfleetError as error:
            return self._refused(trial, error.code, error.happened, folder)
        meter.finished(Step.MEASURE, name, _told(accepted.variant.measurements))
        return accepted

    def _made(self, name: str, recipe: Recipe, point: OptimizerPoint, folder: Path) -> Made:
        if recipe.needs_calibration and self.material.calibration is None:
            raise registry.no_calibration(recipe)
        return self.workshop.convert(name, point, recipe, self.device_class.options, self.material, folder)

    def _measured(self, name: str, made: Made, reference: Loadable | None) -> Answers:
        parent, own = self.parent.loadable, made.measurable
        same_way = (own.runtime, own.contract) == (parent.runtime, parent.contract)
        entry = Path(own.folder) / own.entry
        if reference is None and same_way and file_digest(entry) == self.material.facts.model_sha256:
            # The very file that was measured as the float parent a moment ago.
            return replace(self.parent.answers, seconds=0.0)
        # A stand-in's time says nothing of the variant's own, so it is not compared.
        compared = reference if made.converted.stand_in is None else None
        return self.workshop.measure(name, own, compared, self.material)

    def _numbers(self, made: Made, answers: Answers) -> _Numbers:
        comparator = for_task(self.request.task)
        judged = quality(answers.validation, self.validation.labels, comparator)
        parent, measured = self.parent.quality, answers.measured
        stand_in = made.converted.stand_in
        measurements = Measurements(
            metric=METRIC,
            value=judged.value,
            parent_value=parent.value,
            drop_points=drop_points(judged, parent),
            agreement=agreement(answers.validation, self.parent.answers.validation, comparator),
            size_bytes=made.size_bytes,
            samples=judged.samples,
            latency_ratio=measured.ratio.median if measured.ratio else None,
            latency_ratio_low=measured.ratio.low if measured.ratio else None,
            latency_ratio_high=measured.ratio.high if measured.ratio else None,
            control_ratio=measured.control.median if stand_in is None else None,
            latency_us=measured.latency_us if stand_in is None else None,
            rss_bytes=measured.rss_bytes if stand_in is None else None,
            measured_with=stand_in.runtime if stand_in is not None else "",
            arena_bytes=made.converted.arena_bytes,
            accelerator=made.converted.accelerator,
        )
        return _Numbers(judged, measurements)

    def _judged(self, numbers: _Numbers, answers: Answers, precision: Precision) -> BudgetRefusal | None:
        share = error_share(answers.validation, self.parent.answers.validation)
        refusal = judge_conversion(share, precision)
        refusal = refusal or judge(numbers.quality, self.parent.quality, self.request.max_drop_points)
        device_class = self.device_class
        return refusal or judge_limits(
            numbers.measurements, device_class.limits, device_class.architectures, self.request.machine
        )

    def _accepted(self, trial: _Trial, folder: Path) -> _Accepted:
        made, answers, numbers = trial.made, trial.answers, trial.numbers
        assert made is not None
        assert answers is not None
        assert numbers is not None
        if not np.isfinite(answers.golden.reshape(len(answers.golden), -1)).all(axis=1).any():
            raise IntegrityError(
                Code.VARIANT_NOT_FINITE,
                "gives no finite answer on the golden set, so no device could test itself",
                expected="at least one finite answer",
                todo="check the model and the golden set",
            )
        files = complete_variant(folder, made.loadable.contract, self.golden, answers.golden)
        needed = int((numbers.measurements.rss_bytes or 0) * _MEMORY_FACTOR) // MIB * MIB
        variant = Variant(
            name=trial.name,
            device_class=self.device_class.name,
            precision=trial.recipe.precision,
            recipe=made.recipe.name,
            rank=0,
            runtime=RuntimeNeed(
                self.device_class.runtime,
                self.device_class.runtime_minimum,
                self.device_class.runtime_below,
                made.loadable.options,
            ),
            entry=made.loadable.entry,
            files=files,
            bounds=self_test_bounds(answers.golden, trial.recipe.precision),
            measurements=numbers.measurements,
            min_memory_bytes=max(self.device_class.min_memory_bytes, needed),
            tools=made.tools,
            parameters=lineage(made.recipe, self.device_class.options),
        )
        candidate = _candidate(trial, numbers.measurements, answers)
        return _Accepted(variant, candidate, trial.report("", ""), made.measurable)

    def _refused(self, trial: _Trial, code: Code, reason: str, folder: Path) -> VariantReport:
        shutil.rmtree(folder)
        step, steps = (Step.CONVERT, 2) if trial.made is None else (Step.MEASURE, 1)
        self.workshop.meter.finished(step, trial.name, reason, Happening.REFUSED, steps)
        return trial.report(code.value, reason)

    def _chosen(self, accepted: list[_Accepted], refused: list[VariantReport]) -> ClassResult:
        choice = choose([item.candidate for item in accepted], self.objective)
        ranks = {name: rank for rank, name in enumerate(choice.order)}
        front = pareto_front({item.variant.name: item.variant.measurements for item in accepted})
        variants = [replace(item.variant, rank=ranks[item.variant.name]) for item in accepted]
        reports = [
            replace(item.report, chosen=ranks[item.report.name] == 0, pareto=item.report.name in front)
            for item in accepted
        ]
        report = ClassReport(
            self.device_class.name, True, choice.order[0], choice.why, "", (*reports, *refused)
        )
        ranked = tuple(sorted(variants, key=lambda item: item.rank))
        return ClassResult(report, ranked, self._refusals(refused))

    @property
    def objective(self) -> Objective:
        """What "best" means for this class: what the build says, else the class, else latency."""
        return self.request.objective or Objective(self.device_class.objective or Objective.LATENCY.value)

    def _impossible(self, error: ModelfleetError) -> ClassResult:
        name = self.device_class.name
        steps = 2 * len(self.device_class.recipes)
        self.workshop.meter.finished(Step.CONVERT, name, error.happened, Happening.REFUSED, steps)
        report = ClassReport(name, False, "", error.happened, error.code.value, ())
        return ClassResult(report, (), (Refusal(name, name, error.code.value, error.happened),))

    def _none(self, refused: list[VariantReport]) -> ClassResult:
        last = refused[-1]
        why = f"{last.name}: {last.reason}"
        report = ClassReport(self.device_class.name, False, "", why, last.code, tuple(refused))
        return ClassResult(report, (), self._refusals(refused))

    def _refusals(self, refused: list[VariantReport]) -> tuple[Refusal, ...]:
        return tuple(Refusal(self.device_class.name, item.name, item.code, item.reason) for item in refused)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a measurement says."""

    quality: Quality
    measurements: Measurements


@dataclass(slots=True)
class _Trial:
    """How far a variant came."""

    name: str
    recipe: Recipe
    made: Made | None = None
    answers: Answers | None = None
    numbers: _Numbers | None = None

    def report(self, code: str, reason: str) -> VariantReport:
        """Its line of the report; refused when there is a code."""
        made, answers, numbers = self.made, self.answers, self.numbers
        return VariantReport(
            name=self.name,
            precision=self.recipe.precision,
            recipe=self.recipe.name,
            accepted=not code,
            chosen=False,
            code=code,
            reason=reason,
            measurements=numbers.measurements if numbers is not None else None,
            not_finite=numbers.quality.not_finite if numbers is not None else 0,
            control=answers.measured.control if answers is not None else None,
            pareto=False,
            convert_s=made.seconds if made is not None else 0.0,
            measure_s=answers.seconds if answers is not None else 0.0,
            cached=made.cached if made is not None else False,
            tools=made.tools if made is not None else {},
            notes=made.converted.notes if made is not None else (),
        )


def lineage(recipe: Recipe, options: dict[str, str]) -> dict[str, str]:
    """Everything that was settled for a variant, for the manifest."""
    kept = {"keep_float": " ".join(recipe.keep_float)} if recipe.keep_float else {}
    return {**recipe.parameters, **{f"option.{name}": value for name, value in options.items()}, **kept}


def _candidate(trial: _Trial, measured: Measurements, answers: Answers) -> Candidate:
    timed = not measured.measured_with
    return Candidate(
        name=trial.name,
        size_bytes=measured.size_bytes,
        ratio=answers.measured.ratio,
        control=answers.measured.control if timed else None,
        is_float=trial.recipe.precision in FLOATS,
        value=measured.value,
        memory_bytes=measured.arena_bytes or measured.rss_bytes,
        cycles=measured.accelerator.cycles if measured.accelerator is not None else None,
    )


def _told(item: Measurements) -> str:
    told = f"{item.metric} {100 * item.value:.2f} %, agreement {100 * item.agreement:.1f} %"
    if item.latency_ratio is None or item.latency_ratio_low is None or item.latency_ratio_high is None:
        return told
    spread = f"{item.latency_ratio_low:.2f} to {item.latency_ratio_high:.2f}"
    return f"{told}, {item.latency_ratio:.2f} of the float time [{spread}]"
