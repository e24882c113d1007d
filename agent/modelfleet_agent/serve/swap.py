"""How long a swap made anybody wait. Pure: instants are arguments, monotonic seconds."""

from __future__ import annotations

from typing import Final

OBSERVED_S: Final = 1.0
"""Requests that arrive within this time after the flip are still looked at."""


class SwapGaps:
    """The longest time in which a request that met a swap waited without being worked on.

    A request meets a swap when it was under way at the flip or arrives within `OBSERVED_S` after it. Its gap
    is the time from arrival to answer less the computing time of every model that worked on it, so queueing,
    dispatch and the way there and back all count.
    """

    __slots__ = ("_flipped_at", "count", "worst_s")

    def __init__(self) -> None:
        self._flipped_at: float | None = None
        self.count = 0
        self.worst_s = 0.0

    def flipped(self, now: float) -> None:
        """The active model has changed while there was one before."""
        self._flipped_at = now
        self.count += 1

    def answered(self, arrived: float, now: float, computed_s: float) -> None:
        """A request was answered now."""
        flipped = self._flipped_at
        if flipped is None or now < flipped:
            return
        if arrived > flipped + OBSERVED_S:
            self._flipped_at = None
            return
        self.worst_s = max(self.worst_s, now - arrived - computed_s)
