"""What the threads of the supervisor know of one another: small immutable values behind one lock.

The control loop writes where the slots stand, the courier writes how it went with the controller; both and
the status file read. Nobody waits for anybody."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime

from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.wire.checkin import SlotStatus


@dataclass(frozen=True, slots=True)
class LastError:
    """The last thing that went wrong, for people."""

    code: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Uplink:
    """How it stands with the controller.

    Attributes:
        last_contact: corrected instant of the last answer, None before the first.
        poll_s: seconds between check-ins as the controller wants them.
        failures: failed attempts in a row.
        error: what the last attempt met; None after a success.
    """

    last_contact: datetime | None = None
    poll_s: float = 0.0
    failures: int = 0
    error: LastError | None = None


class Board:
    """Shared by the supervisor's threads."""

    def __init__(self, facts: DeviceFacts) -> None:
        self._lock = threading.Lock()
        self._slots: tuple[SlotStatus, ...] = ()
        self._facts = facts
        self._uplink = Uplink()

    @property
    def slots(self) -> tuple[SlotStatus, ...]:
        """Where every slot stands."""
        with self._lock:
            return self._slots

    @property
    def facts(self) -> DeviceFacts:
        """What the device is."""
        with self._lock:
            return self._facts

    @property
    def uplink(self) -> Uplink:
        """How it stands with the controller."""
        with self._lock:
            return self._uplink

    def put_slots(self, slots: tuple[SlotStatus, ...]) -> None:
        """Replaces where the slots stand."""
        with self._lock:
            self._slots = slots

    def put_facts(self, facts: DeviceFacts) -> None:
        """Replaces what the device is."""
        with self._lock:
            self._facts = facts

    def answered(self, at: datetime, poll_s: float | None = None) -> None:
        """The controller answered."""
        with self._lock:
            poll = self._uplink.poll_s if poll_s is None else poll_s
            self._uplink = Uplink(last_contact=at, poll_s=poll)

    def not_answered(self, at: datetime, error: ModelfleetError, failures: int) -> None:
        """An attempt failed."""
        with self._lock:
            last = LastError(error.code.value, error.happened, at)
            self._uplink = replace(self._uplink, failures=failures, error=last)
