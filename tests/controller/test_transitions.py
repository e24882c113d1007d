"""Which hard stop a device's event is: what the decision will say in its sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelfleet_controller.telemetry.transitions import hard_kind
from modelfleet_core.error_codes import Code
from modelfleet_core.rollout.progress import HardStopKind
from modelfleet_core.wire.event import DeviceEvent, EventKind


def event(kind: EventKind, code: Code | None, *, hard: bool = True) -> DeviceEvent:
    return DeviceEvent(
        sequence=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        kind=kind,
        slot="digits",
        operation="ro_1/1",
        release="a" * 64,
        code=None if code is None else code.value,
        hard=hard,
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.WORKER_CRASH_LOOP, HardStopKind.CRASH_LOOP),
        (Code.STATE_CRASH_LOOP, HardStopKind.CRASH_LOOP),
        (Code.WORKER_HUNG, HardStopKind.WATCHDOG),
        (Code.OUTPUT_NOT_FINITE, HardStopKind.WATCHDOG),
        (Code.TOO_MANY_FAILURES, HardStopKind.WATCHDOG),
        (Code.SELF_TEST_FAILED, HardStopKind.SELF_TEST_FAILED),
        (Code.FILE_DIGEST, HardStopKind.VERIFY_FAILED),
        (Code.SIGNER_UNKNOWN, HardStopKind.VERIFY_FAILED),
        (Code.MODEL_LOAD_FAILED, HardStopKind.LOAD_FAILED),
        (None, HardStopKind.LOAD_FAILED),
    ],
)
def test_the_code_says_which_hard_stop_it_is(code: Code | None, kind: HardStopKind) -> None:
    assert hard_kind(event(EventKind.FAILED, code)) is kind


def test_a_crash_loop_is_one_whatever_its_code() -> None:
    assert hard_kind(event(EventKind.CRASH_LOOP, Code.FILE_DIGEST)) is HardStopKind.CRASH_LOOP


def test_an_event_that_is_not_hard_is_no_hard_stop() -> None:
    assert hard_kind(event(EventKind.FAILED, Code.FILE_DIGEST, hard=False)) is None
