"""Closed windows, kept until the supervisor has them safe; the oldest is dropped when there are too many.
Pure."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from modelfleet_core import logs
from modelfleet_core.wire.report import MAX_REPORTS, Report

from ..control.protocol import WindowClosed

KEPT: Final = 2048
"""A week of windows of five minutes for one slot; about 2 MB at most."""

log = logging.getLogger(__name__)


class ClosedWindows:
    """A bounded queue with rising cursors.

    Args:
        first: the cursor before the first; a serve that starts later gives a higher one, so that
            acknowledgements of an earlier boot forget nothing.
    """

    def __init__(self, first: int = 0, kept: int = KEPT) -> None:
        self._kept = kept
        self._cursor = first
        self._waiting: deque[WindowClosed] = deque()
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, report: Report) -> None:
        """Keep one more."""
        self._cursor += 1
        self._waiting.append(WindowClosed(self._cursor, report))
        if len(self._waiting) > self._kept:
            self._waiting.popleft()
            self.lost += 1
            if self.lost == 1:
                logs.warning(log, "serve.evidence_lost", kept=self._kept)

    def take(self, acknowledged: int, limit: int = MAX_REPORTS) -> tuple[WindowClosed, ...]:
        """Forget all up to that cursor, and give the oldest of the rest. A cursor of the future forgets
        nothing: it belongs to another boot."""
        if acknowledged <= self._cursor:
            while self._waiting and self._waiting[0].cursor <= acknowledged:
                self._waiting.popleft()
        return tuple(self._waiting[index] for index in range(min(limit, len(self._waiting))))
