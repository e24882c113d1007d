"""What the journal holds: one record per transition, with the whole truth of the slot and the events that
follow.

Slot and events stand in one record on purpose: a transition and what the controller is told of it become
durable together, so nothing is told that did not happen and nothing happens untold (semantics section 4,
"Exactly once")."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelfleet_core.lifecycle.chain import Chain, Position
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.director import SlotAssignment
from modelfleet_core.wire.event import DeviceEvent, EventKind


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an operation ends badly: decided when it happens, told when it has ended.

    `kind` is the event that the controller gets; `hard` as in `DeviceEvent`.
    """

    kind: EventKind
    code: str
    reason: str
    hard: bool = False


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """Everything that is remembered of one slot.

    Attributes:
        slot: its name.
        state: where it stands; what is done for this state may have been begun.
        chain: what it holds.
        assignment: the running or the last operation, as the director ordered it.
        trouble: why the running operation is being ended, or why the last one ended badly.
        restarts: short-lived starts of the agent with this operation under way.
        received: bytes downloaded for the operation.
    """

    slot: str
    state: State = State.IDLE
    chain: Chain = field(default_factory=Chain)
    assignment: SlotAssignment | None = None
    trouble: Trouble | None = None
    restarts: int = 0
    received: int = 0

    @property
    def position(self) -> Position:
        """State and chain, for `core.lifecycle.chain.move`."""
        return Position(self.state, self.chain)

    @property
    def operation(self) -> str | None:
        """Identity of the running or the last operation."""
        return self.assignment.operation if self.assignment is not None else None


class Kind(StrEnum):
    """Kinds of record.

    SLOT: a slot moved. DELIVERED: the controller has all events of `epoch` up to and including `through`.
    OUTBOX: written by compaction: epoch and last sequence given. EVENTS: after it, those that are not
    delivered."""

    SLOT = "slot"
    DELIVERED = "delivered"
    OUTBOX = "outbox"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal; documented in docs/guides/agent.md ("The journal").

    Attributes:
        seq: 1, 2, ...; rises by one with every record, also across compactions.
        at: the device's instant.
        kind: what it is.
        slot, state, operation: of a SLOT record, once more in plain sight for people and scripts.
        record: of a SLOT record, everything.
        events: of a SLOT record those that this transition caused.
        epoch: outbox epoch of DELIVERED and OUTBOX.
        through: last delivered sequence (DELIVERED), last given sequence (OUTBOX).
    """

    seq: int
    at: datetime
    kind: Kind
    slot: str = ""
    state: str = ""
    operation: str = ""
    record: SlotRecord | None = None
    events: tuple[DeviceEvent, ...] = ()
    epoch: str = ""
    through: int = 0
