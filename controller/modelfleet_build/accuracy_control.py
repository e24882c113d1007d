"""Accuracy control: what to try when a quantized variant loses too much, and when to give up. Pure.

Rules:
1. Other settings of the recipe first (methods of calibration), each run in the variant's own runtime on the
   tuning samples, which took part in neither training, calibration nor the budget. The measure is label-free:
   how far the outputs are from the float parent's. The nearest settings are judged by the budget.
2. Then operators are left in float, those first that suffer most from int8: the one, two, four, eight, ...
   values whose protection brings the outputs nearest to the float parent. A step that brings them no nearer
   is not judged.
3. At most half of the operators may stay in float: beyond that it is no int8 variant.
4. It ends when a variant meets the budget, when there is nothing left to try, or when the time is up. The
   validation data are looked at only to judge, and the looks are counted: each one more is a small chance of
   passing by luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from modelfleet_build.child.jobs import Sensitivities, Sensitivity
from modelfleet_build.port import Recipe
from modelfleet_core.clock import Clock

# A value whose protection brings less than this share of the error is noise.
LEAST_GAIN = 0.02
MOST_KEPT = 0.5
# Of the time left, what the search for the guilty operators may take; the rest is for trying them.
_SEARCH_SHARE = 0.6


class Judged(Protocol):
    """A variant that was judged by the budget."""

    @property
    def recipe(self) -> Recipe:
        """How it was made."""
        ...

    @property
    def within_budget(self) -> bool:
        """It loses no more than the budget allows."""
        ...

    @property
    def loss(self) -> float:
        """Points lost against the float parent; infinite where it could not be run."""
        ...


J_co = TypeVar("J_co", bound=Judged, covariant=True)
J = TypeVar("J", bound=Judged)


class Attempts(Protocol[J_co]):
    """What accuracy control may ask for. None raises an error of ours: what cannot be made is told so."""

    def error(self, recipe: Recipe) -> float | None:
        """Relative RMS error of the outputs on the tuning samples, in its runtime; None = no answer."""
        ...

    def judge(self, recipe: Recipe) -> J_co:
        """Make, measure and judge a variant on the validation data."""
        ...

    def sensitivities(self, seconds: float) -> Sensitivities | None:
        """Which operators suffer, within about that time; None where it cannot be found out."""
        ...


@dataclass(frozen=True, slots=True)
class Controlled(Generic[J]):
    """How accuracy control ended.

    Attributes:
        best: The variant within the budget, else the one that came nearest.
        tried: Variants that were run on the tuning samples.
        looks: How often a variant was judged on the validation data, the first time included.
        sentence: What was done and found.
    """

    best: J
    tried: int
    looks: int
    sentence: str


def control(
    first: J,
    alternatives: tuple[Recipe, ...],
    attempts: Attempts[J],
    clock: Clock,
    seconds: float,
    operators: int,
    tell: Callable[[str], None],
) -> Controlled[J]:
    """Look for a variant within the budget.

    Args:
        first: The variant as its recipe makes it, which loses too much.
        alternatives: The same recipe with other settings.
        attempts: Makes and runs variants.
        clock: For the time budget.
        seconds: Nothing new is begun after these.
        operators: Nodes of the model.
        tell: Takes a sentence of progress.
    """
    begun = clock.monotonic()
    search = _Search(first, attempts, clock, begun + seconds, tell)
    settings = search.nearest((first.recipe, *alternatives))
    if settings != first.recipe:
        search.judge(settings)
    if not search.done:
        left = max(0.0, begun + seconds - clock.monotonic())
        found = attempts.sensitivities(_SEARCH_SHARE * left) if left > 0 else None
        if found is not None:
            tell(_measured(found))
            for recipe in protections(settings, found, operators):
                if search.late or search.try_nearer(recipe):
                    break
    return search.result(clock.monotonic() - begun, seconds)


def protections(settings: Recipe, found: Sensitivities, operators: int) -> Iterator[Recipe]:
    """The recipe with the worst one, two, four, ... values left in float (rules 2 and 3)."""
    worth = [item for item in found.found if item.error <= (1 - LEAST_GAIN) * found.baseline]
    count = 1
    while worth:
        kept = _operators_of(worth[:count])
        if len(kept) > MOST_KEPT * operators:
            return
        yield replace(settings, keep_float=kept)
        if count >= len(worth):
            return
        count *= 2


def _measured(found: Sensitivities) -> str:
    told = f"measured {len(found.found)} of {found.groups} values by what their protection gains"
    return f"{told}; {found.refused} cannot be left in float ({found.reason})" if found.refused else told


def _operators_of(values: list[Sensitivity]) -> tuple[str, ...]:
    return tuple(sorted({node for value in values for node in value.nodes}))


class _Search(Generic[J]):
    """Keeps count, and the best so far."""

    def __init__(
        self,
        first: J,
        attempts: Attempts[J],
        clock: Clock,
        deadline: float,
        tell: Callable[[str], None],
    ) -> None:
        self._attempts = attempts
        self._clock = clock
        self._deadline = deadline
        self._tell = tell
        self._best = first
        self._error = float("inf")
        self._tried = 0
        self._looks = 1

    @property
    def done(self) -> bool:
        return self._best.within_budget

    @property
    def late(self) -> bool:
        return self._clock.monotonic() >= self._deadline

    def nearest(self, recipes: tuple[Recipe, ...]) -> Recipe:
        """The settings whose outputs are nearest to the float parent's."""
        best = recipes[0]
        for recipe in recipes:
            if self._tried and self.late:
                break
            error = self._run(recipe)
            if error is not None and error < self._error:
                best, self._error = recipe, error
        return best

    def try_nearer(self, recipe: Recipe) -> bool:
        """Judge a variant whose outputs are nearer than any before; whether it met the budget."""
        error = self._run(recipe)
        if error is not None and error < self._error:
            self._error = error
            self.judge(recipe)
        return self.done

    def judge(self, recipe: Recipe) -> None:
        judged = self._attempts.judge(recipe)
        self._looks += 1
        self._tell(f"{_told(recipe)}: loses {judged.loss:.2f} points")
        if judged.within_budget or judged.loss < self._best.loss:
            self._best = judged

    def result(self, took: float, seconds: float) -> Controlled[J]:
        how = (
            f"{self._tried} settings tried in {took:.0f} s, the validation data looked at {self._looks} times"
        )
        best = self._best
        if best.within_budget:
            sentence = f"accuracy control met the budget: {_told(best.recipe)} ({how})"
        else:
            within = f"within {seconds:.0f} s" if self.late else "with anything there is to try"
            sentence = (
                f"not reachable {within}: best was {best.loss:.2f} points with {_told(best.recipe)} ({how})"
            )
        return Controlled(best, self._tried, self._looks, sentence)

    def _run(self, recipe: Recipe) -> float | None:
        error = self._attempts.error(recipe)
        self._tried += 1
        if error is not None:
            self._tell(f"{_told(recipe)}: outputs are {100 * error:.2f} % off on the tuning samples")
        return error


def _told(recipe: Recipe) -> str:
    """`calibration percentile, 2 operators in float (a, b)`."""
    parts = [f"calibration {recipe.parameters['calibration']}"] if "calibration" in recipe.parameters else []
    if recipe.keep_float:
        names = ", ".join(recipe.keep_float[:4]) + (", ..." if len(recipe.keep_float) > 4 else "")
        parts.append(f"{len(recipe.keep_float)} operators in float ({names})")
    return ", ".join(parts) or f"the recipe {recipe.name} as it is"
