"""A token bucket on the injected clock: keeps a download at or below the plan's rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from modelfleet_core.clock import Clock

BURST_S: Final = 0.25
SLICE_S: Final = 0.2
LARGEST_READ: Final = 64 * 1024
SMALLEST_READ: Final = 1024


class Bandwidth:
    """Spends bytes at a rate.

    Args:
        rate: bytes per second; None = unlimited.
        clock: monotonic time and waiting.
        stop: asked while waiting; true ends the wait early.
    """

    def __init__(self, rate: float | None, clock: Clock, stop: Callable[[], bool]) -> None:
        self._rate = rate
        self._clock = clock
        self._stop = stop
        self._level = 0.0
        self._at = clock.monotonic()

    @property
    def read_size(self) -> int:
        """How many bytes to read at once so that the rate stays even."""
        if self._rate is None:
            return LARGEST_READ
        return int(min(LARGEST_READ, max(SMALLEST_READ, self._rate * BURST_S / 2)))

    def spend(self, count: int) -> None:
        """Accounts for `count` bytes, and waits until the rate allows the next ones."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        self._level = min(self._rate * BURST_S, self._level + (now - self._at) * self._rate) - count
        self._at = now
        wait(-self._level / self._rate, self._clock, self._stop)


def wait(seconds: float, clock: Clock, stop: Callable[[], bool]) -> None:
    """Waits in slices, so that `stop` is heard."""
    until = clock.monotonic() + seconds
    while (left := until - clock.monotonic()) > 0 and not stop():
        clock.wait(min(left, SLICE_S))
