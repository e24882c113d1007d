"""What `undo` means: back to the baseline recorded per class when the rollout was made (semantics 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import ClassProgress, ClassState


@dataclass(frozen=True, slots=True)
class UndoTarget:
    """One new rollout that `undo` makes: the release to go back to, and for which classes."""

    release: str
    classes: tuple[str, ...]


def undo_targets(plan: RolloutPlan, classes: Sequence[ClassProgress]) -> tuple[UndoTarget, ...]:
    """The rollouts that take back a finished one: per recorded baseline, the classes that the release
    reached.

    Classes that were rolled back or aborted are where they were. Sorted by release.

    Raises:
        CallerError: MF-1040, the rollout still runs or there is nothing to go back to.
    """
    running = [item.device_class for item in classes if not item.state.ended]
    if running:
        raise CallerError(
            Code.NOTHING_TO_UNDO,
            f"the rollout has not ended in {', '.join(running)}",
            expected="a rollout that has ended in every class",
            todo="abort it: that takes switched devices back",
        )
    done = [item for item in classes if item.state is ClassState.COMPLETED]
    groups: dict[str, list[str]] = {}
    for item in done:
        if item.baseline is not None and item.baseline != plan.release:
            groups.setdefault(item.baseline, []).append(item.device_class)
    if not groups:
        why = "it completed in no class" if not done else "there was nothing in the slot before it"
        raise CallerError(
            Code.NOTHING_TO_UNDO,
            f"{plan.release} cannot be undone: {why}",
            expected="a rollout that replaced another release",
            todo="roll out the release that you want",
        )
    return tuple(UndoTarget(release, tuple(groups[release])) for release in sorted(groups))
