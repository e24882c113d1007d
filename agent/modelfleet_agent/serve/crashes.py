"""When a worker that died is started again, and when it has died too often. Pure: instants come as
arguments."""

from __future__ import annotations

from collections import deque
from typing import Final

LOOP_COUNT: Final = 3
LOOP_WITHIN_S: Final = 60.0
FIRST_DELAY_S: Final = 0.0
BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0


class CrashRecord:
    """Deaths of one model's worker; instants are monotonic seconds.

    A crash-loop is `LOOP_COUNT` deaths within `LOOP_WITHIN_S` seconds, ends included. The first death within
    that time is answered at once; then the delay doubles from `BACKOFF_S` to `MAX_BACKOFF_S`.
    """

    __slots__ = ("_recent", "total")

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=16)
        self.total = 0

    def looping(self, now: float) -> bool:
        """Whether it is in a crash-loop at `now`."""
        return self._within(now) >= LOOP_COUNT

    def died(self, now: float) -> float:
        """Records a death and returns the seconds to wait before the next start."""
        self.total += 1
        self._recent.append(now)
        count = self._within(now)
        if count == 1:
            return FIRST_DELAY_S
        return min(BACKOFF_S * 2.0 ** (count - 2), MAX_BACKOFF_S)

    def _within(self, now: float) -> int:
        while self._recent and now - self._recent[0] > LOOP_WITHIN_S:
            self._recent.popleft()
        return len(self._recent)
