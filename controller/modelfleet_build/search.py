"""`--search N`: lets optuna try recipes and settings of a class against its measured objective.

What may be varied: the recipe, its settings (`Optimizer.alternatives`), and how many of the values that
suffer most from int8 are protected. A try is made, run and judged like any other variant; one that is over
the budget is no answer, however fast. The sampler is seeded; where the objective is time, the machine's noise
still makes two searches differ. The best of many measurements is the luckiest one too: the builder measures
it again. `explore` does the same for the knobs of a training hook (`modelfleet_build.training.search`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from modelfleet_build.accuracy_control import protections
from modelfleet_build.child.jobs import Sensitivities
from modelfleet_build.port import Optimizer, Recipe
from modelfleet_build.request import Objective
from modelfleet_build.trials import Trial
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.manifest import FLOATS

if TYPE_CHECKING:
    import optuna

SEED = 1797
# A sampler may ask for the same point again; that costs nothing and counts for nothing, but not without end.
_ASKED_FOR_EACH = 8

Try = Callable[[Recipe], Trial]
Value = int | float | str


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included: whole ones where both are; `step` apart, if any."""

    low: int | float
    high: int | float
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    values: tuple[Value, ...]


Space = Mapping[str, Range | Choice]
Knobs = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Searched:
    """How a search ended.

    Attributes:
        best: The best variant within the budget, None where no try was.
        tries: How many different variants were run.
        within: How many of them were within the budget.
    """

    best: Trial | None
    tries: int
    within: int

    def sentence(self, objective: Objective) -> str:
        """What was found, for the report."""
        found = "none within the budget" if self.best is None else f"best: {self.best.recipe.name}"
        tried = f"{self.tries} variants tried, {self.within} within the budget"
        return f"search for {objective.value}: {tried}; {found}"


def space(
    optimizer: Optimizer, recipes: Sequence[Recipe], found: Sensitivities | None, operators: int
) -> tuple[Recipe, ...]:
    """Every variant that a search may try: recipe x settings x protection (of int8 alone)."""
    points: list[Recipe] = []
    for recipe in recipes:
        for settings in (recipe, *optimizer.alternatives(recipe)):
            points.append(settings)
            if settings.precision not in FLOATS and found is not None:
                points += protections(settings, found, operators)
    return tuple(points)


def cost(trial: Trial, objective: Objective) -> float | None:
    """What the objective says of a variant, less is better; None where it is no answer to it."""
    measured = trial.measurements
    if trial.refusal is not None or measured is None:
        return None
    if objective is Objective.SIZE:
        return float(measured.size_bytes)
    if objective is Objective.ACCURACY:
        return -measured.value
    if objective is Objective.MEMORY:
        memory = measured.arena_bytes or measured.rss_bytes
        return float(memory) if memory is not None else None
    if measured.latency_ratio is not None:
        return measured.latency_ratio
    use = measured.accelerator
    if use is not None and use.cycles is not None:
        return float(use.cycles)
    return 1.0 if measured.latency_us is not None else None


def check_search() -> None:
    """Refuse a search that cannot be.

    Raises:
        WorldError: MF-1430, optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise WorldError(
            Code.OPTIMIZER_MISSING,
            "optuna is not installed, so there can be no search",
            expected="the extra `search`",
            todo="pip install 'modelfleet[search]', or build without --search",
        )


def search(points: Sequence[Recipe], attempt: Try, objective: Objective, tries: int) -> Searched:
    """Try at most `tries` of the points, guided by what the earlier ones cost.

    Args:
        points: From `space`, at least one.
        attempt: Makes, measures and judges a variant.
        objective: Of the class.
        tries: At least 1.

    Raises:
        WorldError: See `check_search`.
    """
    names = list(dict.fromkeys(point.name for point in points))
    most = max(sum(point.name == name for point in points) for name in names)
    known: dict[int, Trial] = {}
    order: list[tuple[float, int, Trial]] = []

    def one(asked: optuna.Trial) -> float | None:
        name = asked.suggest_categorical("recipe", names)
        own = [index for index, point in enumerate(points) if point.name == name]
        index = own[asked.suggest_int("settings", 0, most - 1) % len(own)]
        trial = known.get(index)
        if trial is None:
            trial = known[index] = attempt(points[index])
        value = cost(trial, objective)
        if value is not None:
            order.append((value, len(order), trial))
        return value

    _guided(one, lambda: len(known) >= min(tries, len(points)), _ASKED_FOR_EACH * tries)
    best = min(order, default=None)
    within = sum(trial.refusal is None for trial in known.values())
    return Searched(best[2] if best is not None else None, len(known), within)


def explore(
    space: Space, attempt: Callable[[Knobs], float | None], tries: int, go_on: Callable[[], bool]
) -> None:
    """Try at most `tries` different settings of some knobs, guided by what the earlier ones cost.

    Args:
        space: What each knob may be, at least one.
        attempt: Returns what the settings cost, less is better; None where they are no answer.
        tries: At least 1.
        go_on: Asked before every try.

    Raises:
        WorldError: MF-1430, optuna is not installed.
    """
    known: dict[tuple[Value, ...], float | None] = {}

    def one(asked: optuna.Trial) -> float | None:
        knobs = {name: _suggested(asked, name, knob) for name, knob in space.items()}
        point = tuple(knobs.values())
        if point not in known:
            known[point] = attempt(knobs)
        return known[point]

    _guided(one, lambda: len(known) >= tries or not go_on(), _ASKED_FOR_EACH * tries)


def _suggested(asked: optuna.Trial, name: str, knob: Range | Choice) -> Value:
    if isinstance(knob, Choice):
        return knob.values[asked.suggest_categorical(name, range(len(knob.values)))]
    if isinstance(knob.low, int) and isinstance(knob.high, int):
        return asked.suggest_int(name, knob.low, knob.high)
    value = asked.suggest_float(name, knob.low, knob.high, step=knob.step)
    return round(value, 9) if knob.step is not None else value


def _guided(one: Callable[[optuna.Trial], float | None], enough: Callable[[], bool], most: int) -> None:
    """Ask the sampler for points and tell it what they cost, until there are enough or `most` were asked."""
    check_search()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=4))
    for _ in range(most):
        if enough():
            return
        asked = study.ask()
        value = one(asked)
        if value is None:
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(asked, value)
