"""`--search N`: lets optuna try pruning ratios, and the knobs of a hook, against a measured objective.

Every try is trained once, taken in, built by the recipes of the class and measured like any variant of it,
timed against the parent's own float variant. One that loses more than the budget, against the float parent,
is no answer, however fast. A try has a seed that no run of the result has: what is reported of the winner
comes from other training runs than those it was chosen by, though from the same validation samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelfleet_build.progress import Happening, Step
from modelfleet_build.request import Objective
from modelfleet_build.search import Knobs, Space, explore
from modelfleet_build.training.contest import Contest, Judge
from modelfleet_build.training.report import SearchReport, TryReport
from modelfleet_build.training.request import HookSearch
from modelfleet_build.training.space import RATIO, space_of
from modelfleet_build.training.taken import PARENT, take_in
from modelfleet_build.training.trainer import Plan, Trainer
from modelfleet_build.workshop import Workshop
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

SEED = 1797
_FAILED = (Code.HOOK_FAILED, Code.CONVERSION_TIMEOUT, Code.CONVERSION_MEMORY, Code.CONVERSION_DIED)


def search(wanted: HookSearch, contest: Contest, trainer: Trainer, workshop: Workshop) -> SearchReport:
    """Search; the report says which knobs to train with.

    Raises:
        CallerError: MF-1440, no try is within the budget; MF-1477, the hook breaks its contract with some
            knobs; or the data are refused.
        WorldError: MF-1430, a package is not installed; MF-1478, every training failed.
    """
    meter, clock, objective = workshop.meter, workshop.clock, contest.objective
    begun = clock.monotonic()
    meter.started(Step.TUNE, PARENT)
    trained, folder = trainer.train(Plan(0.0, (), control=False, knobs={}))
    space = space_of(trained.space)
    judge = Judge.of(
        trainer.request, wanted, contest, workshop, take_in(workshop, folder, PARENT, None), folder
    )
    counted = trained.models[PARENT]
    parent = replace(
        judge.parent(), seconds=clock.monotonic() - begun, macs=counted.macs, parameters=counted.parameters
    )
    meter.finished(Step.TUNE, PARENT, sentence(parent, objective))
    done = 0

    def one(knobs: Knobs) -> TryReport:
        nonlocal done
        done += 1
        subject, since = f"try {done} of {wanted.tries}", clock.monotonic()
        meter.started(Step.TUNE, subject, told(knobs))
        try:
            found = _tried(knobs, done, trainer, judge)
        except WorldError as error:
            if error.code not in _FAILED:
                raise
            found = TryReport(knobs, "", None, within=False, reason=error.happened, seconds=0.0)
        found = replace(found, seconds=clock.monotonic() - since)
        how = Happening.DONE if found.cost is not None else Happening.REFUSED
        meter.finished(Step.TUNE, subject, sentence(found, objective), how)
        return found

    runs = trainer.request.seeds * (1 + trainer.request.control)
    tries = explored(space, one, wanted.tries, trainer.left, runs)
    chosen = best_of(tries, wanted.max_drop_points)
    meter.finished(Step.TUNE, "search", told(tries[chosen].knobs), steps=wanted.tries - len(tries))
    return SearchReport(
        objective=objective.value,
        device_class=wanted.device_class,
        reference=judge.reference_recipe,
        max_drop_points=wanted.max_drop_points,
        asked=wanted.tries,
        parent=parent,
        tries=tries,
        chosen=chosen,
        conclusion=conclusion(parent, tries, chosen, objective, wanted),
    )


def explored(
    space: Space, attempt: Callable[[Knobs], TryReport], tries: int, left: Callable[[], float], runs: int
) -> tuple[TryReport, ...]:
    """Make at most `tries`, as long as another one and the training of the result still fit.

    Args:
        space: See `search.explore`.
        attempt: Makes one.
        tries: At least 1; the first is made in any case.
        left: Seconds that are left.
        runs: Training runs that the result needs; each is taken to be as long as the longest try.
    """
    made: list[TryReport] = []

    def one(knobs: Knobs) -> float | None:
        made.append(attempt(knobs))
        return made[-1].cost

    def fits() -> bool:
        return not made or left() > (1 + runs) * max(item.seconds for item in made)

    explore(space, one, tries, fits)
    return tuple(made)


def best_of(tries: tuple[TryReport, ...], max_drop_points: float) -> int:
    """Index of the try that costs least; of equal ones the first.

    Raises:
        CallerError: MF-1440, none is an answer.
        WorldError: MF-1478, none could even be trained.
    """
    answers = [(item.cost, index) for index, item in enumerate(tries) if item.cost is not None]
    if answers:
        return min(answers)[1]
    measured = [item for item in tries if item.measurements is not None]
    nearest = min(
        measured or tries, key=lambda item: item.measurements.drop_points if item.measurements else 0.0
    )
    happened = (
        f"none of {len(tries)} tries is an answer; the nearest ({told(nearest.knobs)}): {nearest.reason}"
    )
    if all(item.macs is None for item in tries):
        raise WorldError(
            Code.HOOK_FAILED,
            happened,
            expected="a hook that trains and a model that torch can prune and export",
            todo="try the hook's functions alone; docs/guides/training-hooks.md says what each has to do",
        )
    raise CallerError(
        Code.BUDGET_EXCEEDED,
        happened,
        expected=f"a variant that loses {max_drop_points:g} points at most and that the objective can judge",
        todo="train longer (--epochs, --distil), try more (--search), or raise --max-drop",
    )


def conclusion(
    parent: TryReport, tries: tuple[TryReport, ...], chosen: int, objective: Objective, wanted: HookSearch
) -> str:
    """What was found, in one sentence, and no more."""
    best = tries[chosen]
    within = sum(item.within for item in tries)
    budget = f"{within} within the budget of {wanted.max_drop_points:g} points"
    made = f"{len(tries)} of {wanted.tries} tries made, {budget}"
    found = f"search for {objective.value}: {made}; best: {told(best.knobs)}, {best.variant}"
    if best.cost is not None and parent.cost is not None and best.cost >= parent.cost:
        return f"{found}; the parent's own {parent.variant} is no worse"
    high = best.measurements.latency_ratio_high if best.measurements is not None else None
    if objective is Objective.LATENCY and high is not None and high >= 1:
        return f"{found}; not faster than the parent beyond the noise"
    return found


def told(knobs: Knobs) -> str:
    """`ratio 0.35, width 0.75`."""
    shown = {
        name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in knobs.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def sentence(item: TryReport, objective: Objective) -> str:
    """How a try ended."""
    if item.cost is None or item.measurements is None:
        return item.reason
    return f"{item.variant}: {objective.value} {item.cost:.4g}, {100 * item.measurements.value:.2f} %"


def _tried(knobs: Knobs, number: int, trainer: Trainer, judge: Judge) -> TryReport:
    own = {name: value for name, value in knobs.items() if name != RATIO}
    plan = Plan(float(knobs[RATIO]), (SEED,), control=False, knobs=own, bare=True)
    trained, folder = trainer.train(plan)
    name = f"after-{SEED}"
    taken = take_in(judge.workshop, folder, name, judge.taken)
    counted = trained.models[name]
    found = judge.judged(f"try-{number}", taken, folder / f"{name}.pt2", knobs)
    return replace(found, macs=counted.macs, parameters=counted.parameters)
