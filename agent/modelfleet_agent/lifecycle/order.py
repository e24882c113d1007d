"""What the director's order means for a slot that stands where it stands. Pure; the whole truth each time.

Semantics section 4. An operation that ended here is not begun again; a release that was taken back here
comes again only by a rollout's new operation, never as a baseline; what disappears from the statement stays
as it is; an expired statement starts nothing. Going back needs no statement that holds: the committed
release is always allowed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.director import Mode, SlotAssignment
from modelfleet_core.wire.event import EventKind

from .record import SlotRecord, Trouble

BASELINE: Final = "baseline:"
_TOO_LATE: Final = frozenset({State.COMMITTING, State.ROLLING_BACK, State.CLEANING})


class Step(StrEnum):
    """What to do about an order.

    NOTHING: it is so already, or may not be done now. BEGIN: a new operation. TAKE_BACK: the running one,
    or the last committed one. TELL: nothing on the device changes, but the controller waits for an answer.
    """

    NOTHING = "nothing"
    BEGIN = "begin"
    TAKE_BACK = "take_back"
    TELL = "tell"


@dataclass(frozen=True, slots=True)
class Intent:
    """A step; `trouble` of TAKE_BACK (why) and of TELL (what), `kind` of a TELL without trouble.

    `closes`: after a TELL the operation is not looked at again.
    """

    step: Step
    trouble: Trouble | None = None
    kind: EventKind | None = None
    closes: bool = False


NOTHING: Final = Intent(Step.NOTHING)
_WITHDRAWN: Final = Trouble(
    EventKind.ROLLED_BACK, Code.OPERATION_WITHDRAWN.value, "the controller took the operation back"
)
_REPLACED: Final = Trouble(
    EventKind.FAILED, Code.OPERATION_REPLACED.value, "a newer operation of this slot replaced it"
)
_NOTHING_HERE: Final = Trouble(
    EventKind.ROLLED_BACK, Code.OPERATION_WITHDRAWN.value, "nothing of the operation runs on this device"
)
_NO_WAY_BACK: Final = Trouble(
    EventKind.FAILED,
    Code.NOTHING_TO_ROLL_BACK.value,
    "the release was withdrawn, but there is nothing to go back to; it goes on serving",
)
_REJECTED: Final = Trouble(
    EventKind.REFUSED,
    Code.REJECTED_BEFORE.value,
    "the release was taken back on this device before; only a new rollout can bring it again",
)


def judge(record: SlotRecord, order: SlotAssignment | None, *, holds: bool) -> Intent:
    """What the order asks of the slot now.

    Args:
        record: where the slot stands.
        order: what the last statement says of it, or None.
        holds: the statement has not expired.
    """
    if order is None or order.operation in record.chain.closed:
        return NOTHING
    if record.state is State.IDLE:
        return _idle(record, order, holds=holds)
    if record.state in _TOO_LATE:
        return NOTHING
    if order.operation != record.chain.operation:
        # The running operation is taken back first; the new one begins from IDLE.
        return Intent(Step.TAKE_BACK, _REPLACED) if holds and order.mode is not Mode.WITHDRAWN else NOTHING
    return Intent(Step.TAKE_BACK, _WITHDRAWN) if order.mode is Mode.WITHDRAWN else NOTHING


def _idle(record: SlotRecord, order: SlotAssignment, *, holds: bool) -> Intent:
    chain = record.chain
    runs_it = chain.incumbent is not None and chain.incumbent.release == order.release
    committed_here = chain.before is not None and chain.before.operation == order.operation
    if order.mode is Mode.WITHDRAWN:
        if not committed_here and not runs_it:
            return Intent(Step.TELL, _NOTHING_HERE, closes=True)
        if not chain.can_reopen():
            return Intent(Step.TELL, _NO_WAY_BACK, closes=True)
        return Intent(Step.TAKE_BACK, _WITHDRAWN)
    if runs_it:
        return _already(record, order, committed_here=committed_here)
    if not holds:
        return NOTHING
    if order.operation.startswith(BASELINE) and order.release in chain.rejected:
        return Intent(Step.TELL, _REJECTED, closes=True)
    return Intent(Step.BEGIN)


def _already(record: SlotRecord, order: SlotAssignment, *, committed_here: bool) -> Intent:
    """The incumbent is what is ordered. A rollout must hear so, once for each mode."""
    told = record.assignment is not None and (record.assignment.operation, record.assignment.mode) == (
        order.operation,
        order.mode,
    )
    if committed_here or told or order.operation.startswith(BASELINE):
        return NOTHING
    kind = EventKind.COMMITTED if order.mode is Mode.LIVE else EventKind.ACCEPTED
    return Intent(Step.TELL, kind=kind)
