"""`status.json`: where everything stands, for `modelfleet-agent status` and for scripts. Stable keys,
snake_case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from modelfleet_agent.board import LastError
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_agent.state.files import read_limited, write_atomic
from modelfleet_core.clock import Clock
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.lifecycle.chain import Installed
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import SlotStatus

LEAST_S: Final = 0.2
"""The file is rewritten at most five times a second."""
_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot: state, operation, rollout, what answers (None = unknown), the chain, the last trouble."""

    slot: str
    state: str
    operation: str | None
    rollout: str | None
    active: str | None
    incumbent: Installed | None
    previous: Installed | None
    candidate: Installed | None
    rejected: tuple[str, ...]
    code: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ServeView:
    """Serve: process id (None = it does not answer), its addresses, and what is wrong with it."""

    pid: int | None
    boot_id: str
    http: str | None
    socket: str
    control: str
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxView:
    """What waits for the controller."""

    epoch: str
    events: int
    reports: int
    reports_dropped: int


@dataclass(frozen=True, slots=True)
class StatusView:
    """Content of `status.json` and of `status -o json`.

    Attributes:
        at: instant of the device when it was written, not corrected.
        pid: of the supervisor that wrote it.
        revision: highest director revision seen.
        statement_holds: the last statement has not expired.
        clock_offset_s: seconds that the controller's signed time is ahead of the device's clock.
        last_contact, last_error: of the conversation with the controller.
        journal_damaged: damaged records found at the start.
    """

    at: datetime
    pid: int
    device: str
    name: str
    controller: str
    device_class: str | None
    agent_version: str
    state_dir: str
    revision: int
    statement_expires_at: datetime | None
    statement_holds: bool
    clock_offset_s: float
    poll_s: float
    last_contact: datetime | None
    failures: int
    last_error: LastError | None
    slots: tuple[SlotView, ...]
    serve: ServeView
    outbox: OutboxView
    facts: DeviceFacts
    journal_damaged: int = 0
    schema: int = 1


class StatusFile:
    """Writes the status when it changed, not too often. Never raises: it is for people.

    Args:
        path: of the file.
        clock: for the least time between two writes.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._written: bytes = b""
        self._at: float | None = None

    def put(self, view: StatusView) -> None:
        """Writes `view` if it says anything new."""
        now = self._clock.monotonic()
        if self._at is not None and now - self._at < LEAST_S:
            return
        same = codec.encode(_without_instant(view))
        if same == self._written:
            return
        try:
            write_atomic(self._path, codec.pretty(view), durable=False)
        except ModelfleetError:
            return
        self._written, self._at = same, now


def read_status(path: Path) -> StatusView | None:
    """The last status that was written, or None.

    Raises:
        WorldError: MF-3004. CallerError: MF-1601, it is from another version.
    """
    data = read_limited(path, _MAX)
    return None if data is None else codec.decode(data, StatusView, what=str(path))


def slot_view(record: SlotRecord, status: SlotStatus, active: str | None) -> SlotView:
    """One slot for people."""
    chain = record.chain
    return SlotView(
        slot=record.slot,
        state=record.state,
        operation=record.operation,
        rollout=record.assignment.rollout if record.assignment is not None else None,
        active=active,
        incumbent=chain.incumbent,
        previous=chain.previous,
        candidate=chain.candidate,
        rejected=chain.rejected,
        code=status.code,
        reason=status.reason,
    )


def _without_instant(view: StatusView) -> dict[str, object]:
    return {name: getattr(view, name) for name in view.__slots__ if name != "at"}
