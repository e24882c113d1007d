"""`POST /v1/device/events`: the device's durable transitions, exactly once (semantics section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_EVENTS = 256


class EventKind(StrEnum):
    """What happened on the device. The controller derives device outcomes from these alone."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DOWNLOADED = "downloaded"
    SHADOWING = "shadowing"
    SWITCHED = "switched"
    COMMITTED = "committed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CRASH_LOOP = "crash_loop"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One transition.

    Attributes:
        sequence: 1, 2, ... within the outbox epoch.
        at: the device's (corrected) instant.
        operation, release, slot: what it is about.
        code, reason: of a refusal, failure or rollback; plain sentence.
        hard: a hard stop in the sense of semantics section 2 (crash-loop, load, verify or self-test failure,
            watchdog).
        numbers: counts worth keeping, for example `bytes_received`, `swap_gap_ms`.
    """

    sequence: int
    at: datetime
    kind: EventKind
    slot: str
    operation: str
    release: str
    code: str | None = None
    reason: str | None = None
    hard: bool = False
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """At most `MAX_EVENTS` events of one epoch, in order."""

    epoch: str
    events: tuple[DeviceEvent, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """All events of `epoch` up to and including `through` are durable at the controller."""

    epoch: str
    through: int
