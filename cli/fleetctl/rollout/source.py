"""Looks at a rollout again and again until it is over: the source behind `watch` and `--wait`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fleetctl.rollout.outcome import is_over
from modelfleet_core.clock import Clock
from modelfleet_core.errors import WorldError
from modelfleet_core.wire.operator import RolloutView

LOST_S: Final = 300.0
"""How long an unreachable controller is waited for."""
LEAST_INTERVAL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """One look: the rollout, or why it could not be seen. `timed_out` stands in the last one alone."""

    view: RolloutView | None
    problem: str | None = None
    timed_out: bool = False


def follow(
    look: Callable[[], RolloutView], clock: Clock, *, interval_s: float, timeout_s: float | None = None
) -> Iterator[Look]:
    """Looks until the rollout is over, the time is, or the controller stays away.

    Raises:
        WorldError: the first look failed, or none came through for `LOST_S` seconds.
        CallerError: the controller refuses (no such rollout, no right to see it).
    """
    begun = clock.monotonic()
    seen_at: float | None = None
    while True:
        now = clock.monotonic()
        try:
            view: RolloutView | None = look()
            problem = None
            seen_at = now
        except WorldError as error:
            if seen_at is None or now - seen_at > LOST_S:
                raise
            view, problem = None, error.happened
        left = None if timeout_s is None else begun + timeout_s - clock.monotonic()
        over = view is not None and is_over(view)
        timed_out = not over and left is not None and left <= 0
        yield Look(view, problem, timed_out)
        if over or timed_out:
            return
        pause = max(LEAST_INTERVAL_S, interval_s)
        clock.wait(pause if left is None else min(pause, left))
