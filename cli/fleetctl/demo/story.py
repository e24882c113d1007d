"""The story: seven scenes in order, what each needs, and the verdict at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelfleet_core.errors import ModelfleetError

from . import scenes
from .counts import reconcile
from .kills import kills
from .places import MODELS
from .refusals import refusals
from .report import Inferences, Report, SceneRow
from .world import World

EVIDENCE = "small-fleet plan: weaker evidence"


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene: its title, the releases it needs, and its parts in order."""

    title: str
    needs: tuple[str, ...]
    parts: tuple[Callable[[World], None], ...]


SCENES: dict[int, Scene] = {
    1: Scene("A controller and six devices of three classes", (), (scenes.fleet_comes_up,)),
    2: Scene("digits:1.0 is built, signed and installed everywhere", ("1.0",), (scenes.first_release,)),
    3: Scene("digits:1.1 is better: shadow, canary, all", ("1.1",), (scenes.better_release,)),
    4: Scene("digits:1.2 was trained on wrong labels", ("1.2",), (scenes.mislabelled,)),
    5: Scene(
        "digits:1.3 is slow, digits:1.4 forgot the night", ("1.3", "1.4"), (scenes.slow, scenes.daylight)
    ),
    6: Scene("kill -9 where it hurts most", ("1.3",), (kills,)),
    7: Scene("what is not signed by us does not run", (), (refusals,)),
}
FIRST = (1, 2)
"""Scenes that every other one stands on."""


def chosen(numbers: Sequence[int]) -> tuple[int, ...]:
    """The scenes to run: those asked for and what they stand on, in order."""
    last = max(numbers)
    return tuple(number for number in SCENES if number in numbers or (number in FIRST and number <= last))


def needed(numbers: Sequence[int]) -> tuple[str, ...]:
    """Versions that are built behind the scenes, in the order in which they are needed (1.0 is built in
    view)."""
    versions = dict.fromkeys(version for number in numbers for version in SCENES[number].needs)
    return tuple(version for version in versions if version != next(iter(MODELS)))


def tell(world: World, numbers: Sequence[int]) -> Report:
    """Runs the scenes. One that breaks is written down as not as said; the next ones are still tried.

    Scenes 1 and 2 are the exception: without a fleet and an incumbent nothing else means anything.
    """
    begun = world.clock.monotonic()
    rows: list[SceneRow] = []
    for number in numbers:
        rows.append(_run(world, number))
        if number in FIRST and not rows[-1].ok:
            break
    inferences = Inferences(
        served=0, failed=0, dropped=0, worst_swap_gap_ms=0.0, swaps=0, asked=0, answered=0
    )
    if rows and world.baseline:
        world.record.scene = 0
        world.screen.scene(0, "The numbers agree")
        try:
            inferences = reconcile(world)
        except ModelfleetError as error:
            world.record.check("the numbers agree", False, str(error))
    checks = tuple(world.record.checks)
    complete = len(rows) == len(numbers)
    return Report(
        ok=complete and all(check.ok for check in checks) and all(row.ok for row in rows),
        seconds=world.clock.monotonic() - begun,
        evidence=EVIDENCE,
        scenes=tuple(rows),
        rollouts=tuple(world.rollouts.rows) if world.has_controller else (),
        inferences=inferences,
        kills=tuple(world.record.kills),
        refusals=tuple(world.record.refusals),
        checks=checks,
    )


def _run(world: World, number: int) -> SceneRow:
    scene = SCENES[number]
    world.record.scene = number
    world.screen.scene(number, scene.title)
    begun = world.clock.monotonic()
    for part in scene.parts:
        try:
            part(world)
        except ModelfleetError as error:
            world.record.check(f"{scene.title}: nothing unexpected happens", False, str(error))
    world.screen.done()
    held = all(check.ok for check in world.record.checks if check.scene == number)
    return SceneRow(number=number, title=scene.title, ok=held, seconds=world.clock.monotonic() - begun)
