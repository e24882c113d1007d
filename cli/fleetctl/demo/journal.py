"""Looks at a device's journal from outside, read only, to place a kill by what is written there and not by
time."""

from __future__ import annotations

from pathlib import Path

from modelfleet_core.clock import Clock

LOOK_S = 0.0005


class Lookout:
    """Waits for a record of one slot in one state to appear after now.

    The agent writes a record before it acts (journal, then act), so whoever sees it sees an intent whose
    effect is not finished yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = {path: path.stat().st_size for path in self._files()}

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.log"))

    def seen(self, state: str) -> bool:
        """Whether a record with that state has been written since this lookout began."""
        wanted = f'"state":"{state}","operation":'.encode()
        for path in self._files():
            try:
                with path.open("rb") as file:
                    offset = self._offsets.get(path, 0)
                    file.seek(offset if offset <= path.stat().st_size else 0)  # it may have been compacted
                    if wanted in file.read():
                        return True
            except FileNotFoundError:
                continue
        return False

    def wait(self, state: str, limit_s: float, clock: Clock) -> bool:
        """Returns as soon as the record is there, or False after `limit_s`."""
        until = clock.monotonic() + limit_s
        while not self.seen(state):
            if clock.monotonic() > until:
                return False
            clock.wait(LOOK_S)
        return True
