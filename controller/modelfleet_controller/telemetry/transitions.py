"""What a device's event means for its outcome in a rollout. Pure tables; nothing else derives outcomes."""

from __future__ import annotations

from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.rollout.progress import DeviceOutcome, HardStopKind
from modelfleet_core.wire.event import DeviceEvent, EventKind

OUTCOME_OF: Final[dict[EventKind, DeviceOutcome]] = {
    EventKind.ACCEPTED: DeviceOutcome.DOWNLOADING,
    EventKind.DOWNLOADED: DeviceOutcome.DOWNLOADING,
    EventKind.SHADOWING: DeviceOutcome.SHADOWING,
    EventKind.SWITCHED: DeviceOutcome.PROBATION,
    EventKind.COMMITTED: DeviceOutcome.COMMITTED,
    EventKind.REFUSED: DeviceOutcome.REFUSED,
    EventKind.FAILED: DeviceOutcome.FAILED,
    EventKind.ROLLED_BACK: DeviceOutcome.ROLLED_BACK,
}
"""CRASH_LOOP and ALARM change no outcome by themselves; what follows from them is an event of its own."""

_HARD_BY_CODE: Final[dict[str, HardStopKind]] = {
    Code.WORKER_CRASH_LOOP.value: HardStopKind.CRASH_LOOP,
    Code.STATE_CRASH_LOOP.value: HardStopKind.CRASH_LOOP,
    Code.WORKER_HUNG.value: HardStopKind.WATCHDOG,
    Code.OUTPUT_NOT_FINITE.value: HardStopKind.WATCHDOG,
    Code.TOO_MANY_FAILURES.value: HardStopKind.WATCHDOG,
    Code.SELF_TEST_FAILED.value: HardStopKind.SELF_TEST_FAILED,
}
_VERIFY_PREFIXES: Final = ("MF-20", "MF-21")


def hard_kind(event: DeviceEvent) -> HardStopKind | None:
    """Which hard stop the event is (semantics section 2), or None when it is none."""
    if not event.hard:
        return None
    if event.kind is EventKind.CRASH_LOOP:
        return HardStopKind.CRASH_LOOP
    code = event.code or ""
    if code in _HARD_BY_CODE:
        return _HARD_BY_CODE[code]
    if code.startswith(_VERIFY_PREFIXES):
        return HardStopKind.VERIFY_FAILED
    return HardStopKind.LOAD_FAILED
