"""What the slots of one serve share, and the small records that they keep."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from modelfleet_core.clock import Clock

from .pair_lock import PairLock
from .windows import ClosedWindows


@dataclass(frozen=True, slots=True)
class FellBack:
    """Serve went back by itself from `release` in `operation` to `to` (None: to nothing)."""

    release: str
    operation: str | None
    to: str | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shared:
    """What all slots share.

    Attributes:
        threads, watchdog_s: of every model.
        engines: folder for engines that runtimes build on this device.
        busy: number of real requests under way in the process.
        fell_back: called when a slot fell back, to have it saved.
    """

    clock: Clock
    lock: PairLock
    chance: random.Random
    windows: ClosedWindows
    threads: int
    watchdog_s: float
    engines: str
    busy: Callable[[], int]
    fell_back: Callable[[], None]


@dataclass(slots=True)
class Tally:
    """Real requests since serve started."""

    served: int = 0
    failed: int = 0
    dropped: int = 0
    refused: int = 0
    by_fallback: int = 0
    compute_s: float = 0.0
