"""Windows without evidence while a release is being prepared: "alive, nothing to say yet" (semantics
section 2).

Serve forms the windows from LOADING on; before that the candidate is unknown to it, and a long download
would look like silence."""

from __future__ import annotations

import math

from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_core.lifecycle.machine import PREPARING
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import Report


class Heartbeat:
    """Remembers each slot's open window. Call `beat` before the slot moves on, so that no window is told
    twice.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int]] = {}

    def beat(self, record: SlotRecord, now_unix_s: float) -> Report | None:
        """The report of a window that has ended while the slot was preparing."""
        assignment = record.assignment
        if record.state not in PREPARING or assignment is None or assignment.rollout is None:
            self._open.pop(record.slot, None)
            return None
        window = math.floor(now_unix_s / assignment.window_s)
        before = self._open.get(record.slot)
        self._open[record.slot] = (assignment.operation, window)
        if before is None or before[0] != assignment.operation or window <= before[1]:
            return None
        incumbent = record.chain.incumbent
        return Report(
            window=before[1],
            window_s=assignment.window_s,
            slot=record.slot,
            operation=assignment.operation,
            release=assignment.release,
            incumbent=incumbent.release if incumbent is not None else None,
            mode=Mode.SHADOW,
        )
