"""What the tries of a search are measured in: the recipes of a class, each timed against the parent's."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from modelfleet_build import metrics, registry
from modelfleet_build.arrays import write_inputs
from modelfleet_build.cache import file_digest
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.datasets import Dataset, check_disjoint, read_dataset, set_digest
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.parent import PARENT_RUNTIME, Judgement, Parent, ParentFindings
from modelfleet_build.port import Recipe
from modelfleet_build.quality import scored
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.request import BuildRequest, Objective, check_request
from modelfleet_build.roles import Role
from modelfleet_build.search import Knobs, cost
from modelfleet_build.training.report import TryReport
from modelfleet_build.training.request import HookSearch, PruneRequest
from modelfleet_build.training.taken import PARENT, Taken, material_of, validation_of
from modelfleet_build.trials import Bench, Trial, attempt
from modelfleet_build.truth import rules_of
from modelfleet_build.variants import Answers, Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Task
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes.comparators import for_task

_TASK = Task.CLASSIFICATION


@dataclass(frozen=True, slots=True)
class Contest:
    """A class, and what is built for it.

    Attributes:
        order: The build that each try would be.
        device_class: The class.
        point: Makes its variants.
        recipes: Float first.
        objective: What "best" means.
    """

    order: BuildRequest
    device_class: DeviceClass
    point: OptimizerPoint
    recipes: tuple[Recipe, ...]
    objective: Objective


def contest_of(request: PruneRequest, wanted: HookSearch) -> Contest:
    """Find out what is asked for, before anything is trained.

    Raises:
        CallerError: MF-1420, there is no such class.
        WorldError: MF-1430, what makes its variants is not installed.
    """
    plain = DeviceClass(PARENT_RUNTIME, (platform.machine(),), PARENT_RUNTIME)  # its recipe is fp32
    order = BuildRequest(
        model=request.hook,
        name="pruned",
        version="0",
        classes=(wanted.device_class or plain.name,),
        validation=request.validation,
        output=request.output,
        calibration=wanted.calibration,
        max_drop_points=wanted.max_drop_points,
        known_classes=SHIPPED if wanted.device_class else (plain,),
    )
    (device_class,) = check_request(order)
    point = registry.for_class(device_class, registry.installed())
    recipes = registry.recipes_for(device_class, point.load(), None)
    objective = wanted.objective or Objective(device_class.objective or Objective.LATENCY.value)
    return Contest(order, device_class, point, recipes, objective)


@dataclass(slots=True)
class Judge:
    """Builds and measures the tries of a contest.

    Attributes:
        contest: See there.
        workshop: Runs converters and runtimes.
        taken: The parent.
        companion: The parent as torch.export program.
        in_bytes: All images are stored as bytes, so the input is 0 to 1.
        material: The data.
        judgement: How answers are judged.
        findings: What the parent is worth; found with `answers`.
        answers: Of the parent.
        reference, reference_recipe: The parent's variant that others are timed against, from `parent` on.
    """

    contest: Contest
    workshop: Workshop
    taken: Taken
    companion: Path
    in_bytes: bool
    material: Material
    judgement: Judgement
    findings: ParentFindings
    answers: Answers
    reference: Loadable | None = None
    reference_recipe: str = ""

    @classmethod
    def of(
        cls,
        request: PruneRequest,
        wanted: HookSearch,
        contest: Contest,
        workshop: Workshop,
        parent: Taken,
        folder: Path,
    ) -> Judge:
        """Read the data and measure the parent.

        Raises:
            CallerError: The data are refused.
        """
        data, calibration = _data(request, wanted, parent.facts)
        in_bytes = all(item.scale != 1.0 for item in (data, calibration) if item is not None)
        material = material_of(workshop.space, parent.facts, data)
        if calibration is not None:
            path = workshop.space.root / "calibration.npz"
            write_inputs(path, calibration.inputs)
            material = replace(material, calibration=path, calibration_digest=set_digest(calibration))
        metric = metrics.for_task(_TASK)
        golden = data.part(slice(0, material.counts[1]), Role.GOLDEN)
        judgement = Judgement(metric, data, golden, None, None)
        answers = workshop.measure(PARENT, parent.loadable, None, material)
        findings = ParentFindings(
            quality=metric.quality(answers.validation, data.truth),
            golden=scored(answers.golden, golden.truth, for_task(_TASK)),
            measured=answers.measured,
        )
        companion = folder / f"{PARENT}.pt2"
        return cls(contest, workshop, parent, companion, in_bytes, material, judgement, findings, answers)

    def parent(self) -> TryReport:
        """The parent's own variants; the first that runs becomes the reference."""
        bench = self._bench(self.taken, self.companion, lambda: self.answers)
        trials: list[Trial] = []
        for recipe in self.contest.recipes:
            trial = attempt(bench, Trial(f"{PARENT}.{recipe.name}", recipe), self.reference)
            trials.append(trial)
            made = trial.made if trial.assessment is not None else None
            if self.reference is None and made is not None and made.converted.stand_in is None:
                self.reference, self.reference_recipe = made.measurable, recipe.name
        return reported({}, trials, self.contest.objective)

    def judged(self, name: str, taken: Taken, companion: Path, knobs: Knobs) -> TryReport:
        """Build and measure a try."""
        bench = self._bench(
            taken,
            companion,
            lambda: self.workshop.measure(name, taken.loadable, None, bench.material, timed=False),
        )
        trials = [
            attempt(bench, Trial(f"{name}.{recipe.name}", recipe), self.reference)
            for recipe in self.contest.recipes
        ]
        return reported(knobs, trials, self.contest.objective)

    def _bench(self, taken: Taken, companion: Path, measure: Callable[[], Answers]) -> Bench:
        if self.in_bytes:
            taken = _ranged(taken)
        material = replace(
            self.material,
            model=taken.model,
            facts=taken.facts,
            companion=companion,
            companion_digest=file_digest(companion),
        )
        # A conversion has to be true to its own float model; what counts as lost is lost against the parent.
        own = Parent(taken.loadable, self.findings, measure)
        contest = self.contest
        return Bench(
            contest.order, contest.device_class, contest.point, self.workshop, material, own, self.judgement
        )


def reported(knobs: Knobs, trials: list[Trial], objective: Objective) -> TryReport:
    """The variant that costs least; where none is an answer, the one that loses least, and why not.

    Args:
        knobs: What was tried.
        trials: Its variants, at least one.
        objective: Says what they cost.
    """
    costs = [
        (value, index) for index, item in enumerate(trials) if (value := cost(item, objective)) is not None
    ]
    value = min(costs)[0] if costs else None
    best = trials[min(costs)[1]] if costs else min(trials, key=lambda item: item.loss)
    refusal, reason = best.refusal, ""
    if refusal is not None:
        reason = f"{best.recipe.name}: {refusal.reason}"
    elif value is None:
        reason = f"{objective.value} is not measured here"
    within = any(item.within_budget for item in trials)
    return TryReport(
        knobs=knobs,
        variant=best.recipe.name if best.measurements is not None else "",
        cost=value,
        within=within,
        reason=reason,
        seconds=0.0,
        measurements=best.measurements,
    )


def _data(request: PruneRequest, wanted: HookSearch, facts: ModelFacts) -> tuple[Dataset, Dataset | None]:
    validation = validation_of(request, facts)
    if wanted.calibration is None:
        return validation, None
    rules = rules_of(_TASK, facts, None)
    calibration = read_dataset(wanted.calibration, Role.CALIBRATION, facts.inputs[0], rules)
    check_disjoint([calibration, validation])
    return validation, calibration


def _ranged(taken: Taken) -> Taken:
    """With an input from 0 to 1."""
    facts = taken.facts.with_range(0.0, 1.0)
    contract = float_contract(facts, layout=Layout.NCHW, batch=onnx_batch(facts))
    return Taken(facts, replace(taken.loadable, contract=contract))
