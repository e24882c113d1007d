"""Builds one device class: its float variant first, then the others against it, then the choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from modelfleet_build import registry
from modelfleet_build.accuracy_control import control
from modelfleet_build.assemble import complete_variant
from modelfleet_build.budget import BudgetRefusal, Candidate, choose
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.parent import Judgement, Parent
from modelfleet_build.port import Optimizer, Recipe
from modelfleet_build.progress import Happening, Step
from modelfleet_build.quality import self_test_bounds
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import ClassReport, VariantReport, pareto_front
from modelfleet_build.request import MIB, BuildRequest, Objective
from modelfleet_build.search import cost, search, space
from modelfleet_build.trials import Bench, Trial, TuningAttempts, attempt, lineage
from modelfleet_build.variants import Made, Material, finished_how
from modelfleet_build.workshop import AGAIN, Workshop
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import FLOATS, Measurements, Refusal, RuntimeNeed, Variant
from modelfleet_runtimes.comparators import finite_rows
from modelfleet_runtimes.golden import record_count

# Room above the measured peak: requests, sockets and a second copy of the answers.
_MEMORY_FACTOR = 1.25


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
class _Refused:
    """A variant that is not shipped.

    Attributes:
        report: Its line of the report, with the reason.
        yardstick: A float variant that answers rightly and only takes more than the class allows: others are
            timed against it all the same. None for all others.
    """

    report: VariantReport
    yardstick: Loadable | None = None


@dataclass(frozen=True, slots=True)
class ClassBuilder:
    """Builds the variants of one class."""

    request: BuildRequest
    device_class: DeviceClass
    workshop: Workshop
    material: Material
    parent: Parent
    judgement: Judgement

    def build(self, points: tuple[OptimizerPoint, ...]) -> ClassResult:
        """Try every recipe; a class without a float variant to time others against is refused."""
        try:
            point = registry.for_class(self.device_class, points)
            optimizer = point.load()
            recipes = registry.recipes_for(self.device_class, optimizer, self.request.precisions)
            self.workshop.prepare(optimizer, self.device_class.name, self.material)
        except ModelfleetError as error:
            return self._impossible(error)
        accepted: list[_Accepted] = []
        refused = self._not_made(optimizer)
        bench = Bench(
            self.request, self.device_class, point, self.workshop, self.material, self.parent, self.judgement
        )
        reference: Loadable | None = None
        for index, recipe in enumerate(recipes):
            outcome = self._variant(bench, recipe, reference)
            if isinstance(outcome, _Accepted):
                accepted.append(outcome)
                reference = reference or outcome.loadable
                continue
            refused.append(outcome.report)
            reference = reference or outcome.yardstick
            floats_left = any(item.precision in FLOATS for item in recipes[index + 1 :])
            if optimizer.float_recipe is not None and reference is None and not floats_left:
                left = len(recipes) - index - 1
                if left:
                    detail = "not tried: the class has no float variant to compare with"
                    self.workshop.meter.finished(
                        Step.MEASURE, self.device_class.name, detail, Happening.REFUSED, steps=2 * left
                    )
                return self._none(refused)
        if reference is not None and self.request.search:
            found = self._searched(bench, recipes, reference)
            accepted += [found] if found is not None else []
        return self._chosen(accepted, refused) if accepted else self._none(refused)

    @property
    def objective(self) -> Objective:
        """What "best" means for this class: what the build says, else the class, else latency."""
        return self.request.objective or Objective(self.device_class.objective or Objective.LATENCY.value)

    def _not_made(self, optimizer: Optimizer) -> list[VariantReport]:
        lacking = registry.not_made(optimizer, self.request.precisions)
        reports: list[VariantReport] = []
        for precision, error in lacking.items():
            trial = Trial(f"{self.device_class.name}.{precision.value}", Recipe(precision.value, precision))
            trial.refusal = BudgetRefusal(error.code, error.happened)
            reports.append(trial.report())
            self.workshop.meter.finished(Step.CONVERT, trial.name, error.happened, Happening.REFUSED, 2)
        return reports

    def _variant(self, bench: Bench, recipe: Recipe, reference: Loadable | None) -> _Accepted | _Refused:
        name = f"{self.device_class.name}.{recipe.name}"
        meter = self.workshop.meter
        trial = Trial(name, recipe)
        meter.started(Step.CONVERT, name)
        try:
            trial.made = bench.make(name, recipe)
        except ModelfleetError as error:
            trial.refusal = BudgetRefusal(error.code, error.happened)
            meter.finished(Step.CONVERT, name, error.happened, Happening.REFUSED, 2)
            return _Refused(trial.report())
        meter.finished(Step.CONVERT, name, f"{trial.made.size_bytes} bytes", finished_how(trial.made))
        meter.started(Step.MEASURE, name)
        trial = attempt(bench, trial, reference)
        if trial.lost_accuracy:
            trial = self._controlled(bench, trial, reference)
        if trial.refusal is None:
            try:
                accepted = self._accepted(trial)
                meter.finished(
                    Step.MEASURE,
                    name,
                    _told(accepted.variant.measurements),
                    Happening.CACHED if trial.known else Happening.DONE,
                )
                return accepted
            except ModelfleetError as error:
                trial.refusal = BudgetRefusal(error.code, error.happened)
        meter.finished(Step.MEASURE, name, trial.refusal.reason, Happening.REFUSED)
        return _Refused(trial.report(), _yardstick(trial))

    def _searched(self, bench: Bench, recipes: tuple[Recipe, ...], reference: Loadable) -> _Accepted | None:
        """Let a search look beyond the recipes of the class; what it finds is a variant `searched`."""
        name, meter = f"{self.device_class.name}.searched", self.workshop.meter
        operators = sum(self.material.facts.operators.values())
        attempts = TuningAttempts(bench, name, reference)
        found = None
        if self.material.tuning is not None:
            found = attempts.sensitivities(self.request.limits.tuning_s)
        optimizer = bench.point.load()
        offered = {recipe.name: recipe for recipe in (*recipes, *optimizer.recipes)}
        points = space(optimizer, tuple(offered.values()), found, operators)

        def attempted(recipe: Recipe) -> Trial:
            trial = attempts.judge(recipe)
            trial.golden = None
            if trial.made is not None:
                self.workshop.discard(trial.made)
            value = cost(trial, self.objective)
            told = "no answer" if value is None else f"{self.objective.value} {value:.4g}"
            meter.going_on(Step.TUNE, name, f"{recipe.name}: {told}")
            return trial

        meter.started(Step.TUNE, name, f"at most {self.request.search} of {len(points)} variants")
        outcome = search(points, attempted, self.objective, self.request.search)
        sentence = outcome.sentence(self.objective)
        meter.finished(Step.TUNE, name, sentence)
        if outcome.best is None:
            return None
        best = attempt(bench, Trial(name, outcome.best.recipe), reference, AGAIN)
        best.control = sentence
        if best.refusal is None:
            try:
                return self._accepted(best)
            except ModelfleetError as error:
                best.refusal = BudgetRefusal(error.code, error.happened)
        meter.going_on(Step.TUNE, name, f"not kept: {best.refusal.reason}")
        return None

    def _controlled(self, bench: Bench, first: Trial, reference: Loadable | None) -> Trial:
        """Let accuracy control look for a variant within the budget; its findings go into the report."""
        limits = self.request.limits
        quantized = first.recipe.precision not in FLOATS
        if not quantized or self.material.tuning is None or limits.tuning_s <= 0:
            return first
        outcome = control(
            first,
            bench.point.load().alternatives(first.recipe),
            TuningAttempts(bench, first.name, reference),
            self.workshop.clock,
            limits.tuning_s,
            sum(self.material.facts.operators.values()),
            lambda text: self.workshop.meter.going_on(Step.TUNE, first.name, text),
        )
        best = outcome.best
        best.control = outcome.sentence
        if best.refusal is not None:
            best.refusal = replace(best.refusal, reason=f"{best.refusal.reason}; {outcome.sentence}")
        return best

    def _accepted(self, trial: Trial) -> _Accepted:
        made, golden, measurements = trial.made, trial.golden, trial.measurements
        assert made is not None
        assert golden is not None
        assert measurements is not None
        samples = self.judgement.golden
        kept = record_count(len(samples), sum(item[0].size for item in golden.values()))
        if not finite_rows(golden)[:kept].any():
            raise IntegrityError(
                Code.VARIANT_NOT_FINITE,
                "gives no finite answer on the golden set, so no device could test itself",
                expected="at least one finite answer",
                todo="check the model and the golden set",
            )
        folder = self.workshop.space.variant(trial.name, Path(made.loadable.folder))
        files = complete_variant(folder, made.loadable.contract, samples, golden)
        needed = int((measurements.rss_bytes or 0) * _MEMORY_FACTOR) // MIB * MIB
        device_class = self.device_class
        variant = Variant(
            name=trial.name,
            device_class=device_class.name,
            precision=trial.recipe.precision,
            recipe=made.recipe.name,
            rank=0,
            runtime=RuntimeNeed(
                device_class.runtime,
                device_class.runtime_minimum,
                device_class.runtime_below,
                made.loadable.options,
            ),
            entry=made.loadable.entry,
            files=files,
            bounds=self_test_bounds(golden, trial.recipe.precision, self.request.task),
            measurements=measurements,
            min_memory_bytes=max(device_class.min_memory_bytes, needed),
            tools=made.tools,
            parameters=lineage(made.recipe, device_class.options),
        )
        loadable = replace(_opened(made), folder=str(folder))
        return _Accepted(variant, _candidate(trial, measurements), trial.report(), loadable)

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

    def _impossible(self, error: ModelfleetError) -> ClassResult:
        name = self.device_class.name
        steps = 2 * len(self.device_class.recipes)
        self.workshop.meter.finished(Step.CONVERT, name, error.happened, Happening.REFUSED, steps)
        why = f"{error.happened}; to do: {error.todo}"
        report = ClassReport(name, False, "", why, error.code.value, ())
        return ClassResult(report, (), (Refusal(name, name, error.code.value, why),))

    def _none(self, refused: list[VariantReport]) -> ClassResult:
        last = refused[-1]
        why = f"{last.name}: {last.reason}"
        report = ClassReport(self.device_class.name, False, "", why, last.code, tuple(refused))
        return ClassResult(report, (), self._refusals(refused))

    def _refusals(self, refused: list[VariantReport]) -> tuple[Refusal, ...]:
        return tuple(Refusal(self.device_class.name, item.name, item.code, item.reason) for item in refused)


def _opened(made: Made) -> Loadable:
    return made.measurable if made.converted.stand_in is None else made.loadable


def _yardstick(trial: Trial) -> Loadable | None:
    limits = (Code.LIMIT_EXCEEDED, Code.LIMIT_UNCHECKED)
    over = trial.refusal is not None and trial.refusal.code in limits
    return _opened(trial.made) if over and trial.made and trial.recipe.precision in FLOATS else None


def _candidate(trial: Trial, measured: Measurements) -> Candidate:
    found = trial.assessment.measured if trial.assessment is not None else None
    return Candidate(
        name=trial.name,
        size_bytes=measured.size_bytes,
        ratio=found.ratio if found is not None else None,
        control=found.control if found is not None else None,
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
