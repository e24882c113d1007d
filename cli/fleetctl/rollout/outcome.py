"""How a rollout ended, and the exit code that says so (surfaces: exit codes)."""

from __future__ import annotations

from typing import Final

from modelfleet_core.wire.operator import RolloutView

TIMED_OUT: Final = 13
EXIT_CODES: Final[dict[str, int]] = {
    "completed": 0,
    "rolled_back": 10,
    "held": 11,
    "aborted": 12,
    "partial": 14,
    "superseded": 15,
}
_OVER: Final = frozenset({"finished", "held"})


def is_over(view: RolloutView) -> bool:
    """Whether nothing more happens by itself: it is finished, or held for a person."""
    return view.state in _OVER


def word(view: RolloutView) -> str:
    """The outcome where there is one, else the state."""
    return view.outcome or view.state


def exit_code(view: RolloutView) -> int:
    """The exit code of a rollout that is over; 13 for one that is not, 1 for an outcome that is not known."""
    if not is_over(view):
        return TIMED_OUT
    return EXIT_CODES.get(word(view), 1)
