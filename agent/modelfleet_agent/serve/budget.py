"""How much computing the mirror may use: a token bucket of processor seconds. Pure: instants are
arguments."""

from __future__ import annotations

from typing import Final

BURST_S: Final = 2.0
"""The bucket holds what the budget allows in this time; it begins full."""


class ComputeBudget:
    """Processor seconds that may be spent; `share` of one processor (0-1) flows in.

    What a job costs is known afterwards, so a job may begin whenever anything is left, and the bucket may go
    below
    zero: then nothing begins until the debt is paid.
    """

    __slots__ = ("_at", "_level", "_share")

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._level = share * BURST_S
        self._at = now

    def may_begin(self, now: float) -> bool:
        """Whether anything is left at this monotonic instant."""
        self._level = min(self._share * BURST_S, self._level + self._share * max(0.0, now - self._at))
        self._at = now
        return self._level > 0.0

    def spend(self, seconds: float) -> None:
        """Take what a job has cost."""
        self._level -= seconds

    def resize(self, share: float) -> None:
        """Another share from now on."""
        self._share = share
        self._level = min(self._level, share * BURST_S)
