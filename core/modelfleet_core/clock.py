"""The only place of the project that reads clocks and randomness; everything else gets them handed in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

Entropy = Callable[[int], bytes]
"""Gives that many random bytes."""


class Clock(Protocol):
    """Wall time and monotonic time; one reading per evaluation (no reading in mid-workflow)."""

    def now(self) -> datetime:
        """The instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def wait(self, seconds: float) -> None:
        """Blocks the calling thread for about that long (virtual clocks return at once)."""
        ...


class SystemClock:
    """The machine's clocks. Made in composition roots only."""

    def now(self) -> datetime:
        """The wall clock's instant, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """`time.monotonic`, in seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleeps for `seconds` (nothing for a negative number)."""
        time.sleep(max(0.0, seconds))


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to: for tests and simulations."""

    instant: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    elapsed: float = 0.0

    def now(self) -> datetime:
        """The instant that was set, plus all advances."""
        return self.instant

    def monotonic(self) -> float:
        """The sum of all advances, in seconds."""
        return self.elapsed

    def wait(self, seconds: float) -> None:
        """Advances by `seconds` instead of blocking."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Moves both clocks on by `seconds` (>= 0)."""
        if seconds < 0:
            raise ValueError("time does not go back; set `instant` to model a wrong wall clock")
        self.elapsed += seconds
        self.instant += timedelta(seconds=seconds)


def system_entropy(count: int) -> bytes:
    """`count` bytes from the operating system's generator."""
    return os.urandom(count)
