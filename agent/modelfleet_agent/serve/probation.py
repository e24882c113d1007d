"""When serve takes a freshly switched model back by itself (semantics section 4, local rollback). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code

MAX_FAILURE_SHARE: Final = 0.01
LEAST_FAILURES: Final = 3
"""Fewer failures are an accident; the errors gate judges them."""


@dataclass(frozen=True, slots=True)
class Fall:
    """Why the active model is taken back: code and plain sentence."""

    code: Code
    reason: str


class Probation:
    """Counts the real requests of one model since its switch.

    Falls at once when the worker hangs; falls when at least `LEAST_FAILURES` requests failed and they are
    more than `MAX_FAILURE_SHARE` of all. Failed = exception, wrong shape, non-finite answer, death of the
    worker.
    """

    __slots__ = ("_failed", "_not_finite", "_tried")

    def __init__(self) -> None:
        self._tried = 0
        self._failed = 0
        self._not_finite = 0

    def answered(self) -> None:
        """One request was answered."""
        self._tried += 1

    def failed(self, code: Code) -> Fall | None:
        """One request failed; the fall, if this is enough."""
        self._tried += 1
        self._failed += 1
        self._not_finite += code is Code.OUTPUT_NOT_FINITE
        if code is Code.WORKER_HUNG:
            return Fall(code, "the model hung on a real request")
        if self._failed >= LEAST_FAILURES and self._failed > MAX_FAILURE_SHARE * self._tried:
            counts = f"{self._failed} of {self._tried} requests since the switch"
            if 2 * self._not_finite > self._failed:
                return Fall(Code.OUTPUT_NOT_FINITE, f"{counts} had no finite answer")
            return Fall(Code.TOO_MANY_FAILURES, f"{counts} failed")
        return None
