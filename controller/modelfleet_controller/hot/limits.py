"""What devices may send: lengths and ranges of every field that is stored or shown, checked at the door."""

from __future__ import annotations

from typing import Final, NoReturn

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.wire.checkin import Checkin, SlotStatus
from modelfleet_core.wire.event import MAX_EVENTS, DeviceEvent, EventBatch
from modelfleet_core.wire.report import MAX_REPORTS, MAX_SKETCH, Report, ReportBatch

MAX_SLOTS: Final = 64
MAX_TEXT: Final = 256
MAX_REASON: Final = 4000
MAX_OPERATION: Final = 96
MAX_EPOCH: Final = 64
MAX_NUMBERS: Final = 64
MAX_SCORE_BINS: Final = 64
_LARGEST: Final = 1 << 53
"""Integers up to here are the same in every JSON reader."""


def check_checkin(said: Checkin) -> None:
    """Refuses a check-in that no agent of ours sends.

    Raises:
        CallerError: MF-1601.
    """
    if len(said.slots) > MAX_SLOTS:
        _refuse(f"the check-in names {len(said.slots)} slots", f"at most {MAX_SLOTS}")
    if not 0 <= said.revision < _LARGEST:
        _refuse(f"revision {said.revision} is out of range", "0 or more")
    _texts("the check-in", said.boot_id, said.agent_version, said.outbox_epoch)
    for slot in said.slots:
        _check_slot(slot)
    names = [slot.slot for slot in said.slots]
    if len(set(names)) != len(names):
        _refuse("a slot is named twice", "each slot once")


def check_events(batch: EventBatch) -> None:
    """Refuses a batch that no agent of ours sends.

    Raises:
        CallerError: MF-1601.
    """
    if len(batch.events) > MAX_EVENTS:
        _refuse(f"{len(batch.events)} events in one request", f"at most {MAX_EVENTS}")
    if not 0 < len(batch.epoch) <= MAX_EPOCH:
        _refuse(f"the outbox epoch has {len(batch.epoch)} characters", f"1 to {MAX_EPOCH}")
    for event in batch.events:
        _check_event(event)


def check_reports(batch: ReportBatch) -> None:
    """Refuses a batch that no agent of ours sends. Whether its numbers agree is the gates' business.

    Raises:
        CallerError: MF-1601.
    """
    if len(batch.reports) > MAX_REPORTS:
        _refuse(f"{len(batch.reports)} reports in one request", f"at most {MAX_REPORTS}")
    if batch.sent_unix_s is not None and not -1e12 < batch.sent_unix_s < 1e12:
        _refuse(f"sent_unix_s is {batch.sent_unix_s:g}", "a unix time")
    for report in batch.reports:
        _check_report(report)


def _check_slot(slot: SlotStatus) -> None:
    _texts(
        "a slot",
        slot.slot,
        slot.state,
        slot.incumbent,
        slot.incumbent_reference,
        slot.incumbent_variant,
        slot.candidate,
        slot.previous,
        slot.operation,
        slot.code,
    )
    if len(slot.reason or "") > MAX_REASON:
        _refuse("a slot's reason is too long", f"at most {MAX_REASON} characters")


def _check_event(event: DeviceEvent) -> None:
    if not 0 < event.sequence < _LARGEST:
        _refuse(f"sequence {event.sequence} is out of range", "1 or more")
    if event.at.tzinfo is None:
        _refuse(f"event {event.sequence} has an instant without a zone", "an instant in UTC")
    if len(event.operation) > MAX_OPERATION:
        _refuse("an operation's name is too long", f"at most {MAX_OPERATION} characters")
    _texts("an event", event.slot, event.release, event.code, *event.numbers)
    if len(event.numbers) > MAX_NUMBERS or len(event.reason or "") > MAX_REASON:
        _refuse("an event holds too much", f"at most {MAX_NUMBERS} numbers and {MAX_REASON} characters")


def _check_report(report: Report) -> None:
    if not 0 <= report.window < _LARGEST or not 1e-3 <= report.window_s <= 1e6:
        _refuse(
            f"window {report.window} of {report.window_s:g} s is out of range", "0 or more, 0.001 to 1e6 s"
        )
    if len(report.operation) > MAX_OPERATION:
        _refuse("an operation's name is too long", f"at most {MAX_OPERATION} characters")
    _texts("a report", report.slot, report.release, report.incumbent)
    latency, scores = report.latency, report.scores
    if latency is not None and max(len(latency.candidate), len(latency.incumbent)) > MAX_SKETCH:
        _refuse("a latency sketch is too long", f"at most {MAX_SKETCH} characters")
    if scores is not None and max(len(scores.candidate), len(scores.incumbent)) > MAX_SCORE_BINS:
        _refuse("a score histogram has too many bins", f"at most {MAX_SCORE_BINS}")


def _texts(what: str, *texts: str | None) -> None:
    if any(text is not None and len(text) > MAX_TEXT for text in texts):
        _refuse(f"{what} holds a text that is too long", f"at most {MAX_TEXT} characters")


def _refuse(happened: str, expected: str) -> NoReturn:
    raise CallerError(Code.BODY_INVALID, happened, expected=expected, todo="update the agent")
