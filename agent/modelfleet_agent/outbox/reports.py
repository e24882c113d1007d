"""Reports on their way to the controller: evidence may be lost oldest first, never grow without bound.

They are kept in a file so that serve may forget them and a restart does not lose them, but without fsync: a
power cut may cost the last ones. A report that is sent twice changes nothing, because it is keyed by
(device, release, slot, window)."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from modelfleet_agent.state.files import PRIVATE_FILE, write_all
from modelfleet_core.wire.report import MAX_REPORTS, Report, ReportBatch

MAX_KEPT: Final = 2048
_MAX_FILE: Final = 32 * 1024 * 1024


class ReportSpool:
    """Bounded queue of reports with a file behind it. Safe for several threads.

    Trouble with the file is not raised: evidence is worth less than the work of the device. It is counted
    in `dropped` once memory is full too.

    Args:
        path: of the file.
        kept: most reports that are kept.
    """

    def __init__(self, path: Path, kept: int = MAX_KEPT) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reports: deque[Report] = deque(maxlen=kept)
        self._lines = 0
        self._dropped = 0
        self._reports.extend(self._load())
        self._rewrite()

    def __len__(self) -> int:
        with self._lock:
            return len(self._reports)

    @property
    def dropped(self) -> int:
        """Reports that were given up since the start because there were too many."""
        with self._lock:
            return self._dropped

    def add(self, reports: Sequence[Report]) -> None:
        """Takes reports in; the oldest go where there are too many."""
        if not reports:
            return
        with self._lock:
            room = (self._reports.maxlen or 0) - len(self._reports)
            self._dropped += max(0, len(reports) - room)
            self._reports.extend(reports)
            self._append(b"".join(msgspec.json.encode(report) + b"\n" for report in reports), len(reports))

    def batch(self, limit: int = MAX_REPORTS) -> ReportBatch | None:
        """The oldest reports, or None."""
        with self._lock:
            return ReportBatch(tuple(islice(self._reports, limit))) if self._reports else None

    def sent(self, batch: ReportBatch) -> None:
        """The controller has these."""
        with self._lock:
            for report in batch.reports:
                # What was dropped in the meantime is not at the front any more.
                if self._reports and self._reports[0] is report:
                    self._reports.popleft()
            if not self._reports or self._lines > 2 * MAX_KEPT:
                self._rewrite()

    def _append(self, data: bytes, lines: int) -> None:
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE
            )
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError:
            return
        self._lines += lines

    def _rewrite(self) -> None:
        data = b"".join(msgspec.json.encode(report) + b"\n" for report in self._reports)
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            os.replace(partial, self._path)
        except OSError:
            partial.unlink(missing_ok=True)
            return
        self._lines = len(self._reports)

    def _load(self) -> list[Report]:
        try:
            with self._path.open("rb") as file:
                lines = file.read(_MAX_FILE).splitlines()
        except OSError:
            return []
        reports: list[Report] = []
        for line in lines:
            try:
                reports.append(msgspec.json.decode(line, type=Report))
            except msgspec.DecodeError:
                continue
        return reports
