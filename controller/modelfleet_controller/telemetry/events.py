"""Events become device outcomes, each exactly once and in order (semantics section 4).

An event counts when it is the next of its epoch; what came before is acknowledged again, what follows a gap
is not yet, so the device sends it again with the missing one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.rollout.progress import DeviceOutcome
from modelfleet_core.wire.event import DeviceEvent, EventAnswer, EventBatch

from ..db.database import Connection
from ..rollouts.repository import RolloutRepository
from ..rollouts.stored import StoredDevice, StoredRollout
from .repository import TelemetryRepository
from .transitions import OUTCOME_OF, hard_kind

_REASON = 2000
MAX_BYTES: Final = 1 << 50


class EventIntake:
    """One transaction's worth of events."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._telemetry = TelemetryRepository(connection)
        self._rollouts = RolloutRepository(connection)
        self._now = now
        self._by_operation: dict[str, StoredRollout | None] = {}

    async def take(
        self,
        device_id: str,
        device_class: str | None,
        joined_at: datetime,
        has_incumbent: dict[str, bool],
        batch: EventBatch,
    ) -> EventAnswer:
        """Stores what is new of a batch.

        Args:
            device_id: who sent it.
            device_class: its class; without one its events change no rollout.
            joined_at: since when it is known.
            has_incumbent: slot -> whether the device said at its last check-in that something serves there.
            batch: as it came.
        """
        through = await self._telemetry.outbox(device_id, batch.epoch)
        reached = through
        for event in batch.events:
            if event.sequence <= reached:
                continue
            if event.sequence != reached + 1:
                break
            if device_class is not None:
                known = has_incumbent.get(event.slot, False)
                await self._apply(device_id, device_class, joined_at, known, event)
            reached = event.sequence
        if reached != through:
            await self._telemetry.set_outbox(device_id, batch.epoch, reached)
        return EventAnswer(epoch=batch.epoch, through=reached)

    async def _apply(
        self,
        device_id: str,
        device_class: str,
        joined_at: datetime,
        has_incumbent: bool,
        event: DeviceEvent,
    ) -> None:
        rollout = await self._rollout(event.operation)
        if rollout is None or event.slot != rollout.slot:
            return
        key = (rollout.id, device_id)
        # a device's clock may say anything: nothing of a rollout happened before it was made
        at = max(rollout.created_at, min(event.at, self._now))
        row = (await self._rollouts.devices_of([key])).get(key)
        if row is None:
            if not await self._rollouts.belongs(rollout, device_id, device_class, joined_at):
                return  # nobody asked this device: acknowledged, never counted
            row = StoredDevice(
                rollout_id=rollout.id,
                device_id=device_id,
                device_class=device_class,
                stratum=Stratum.WITH_INCUMBENT if has_incumbent else Stratum.WITHOUT_INCUMBENT,
                outcome=DeviceOutcome.DOWNLOADING,
                accepted_at=at,
                changed_at=at,
            )
        outcome = OUTCOME_OF.get(event.kind)
        if outcome is not None:
            row = replace(row, outcome=outcome, changed_at=at)
        hard = hard_kind(event)
        if hard is not None and row.hard is None:
            row = replace(row, hard=hard, hard_reason=_cut(event.reason))
        if event.code is not None or event.reason is not None:
            row = replace(row, code=event.code and event.code[:16], reason=_cut(event.reason))
        received = int(event.numbers.get("bytes_received", 0))
        if received > 0:
            row = replace(row, bytes_received=min(row.bytes_received + received, MAX_BYTES))
        await self._rollouts.put_devices([row])

    async def _rollout(self, operation: str) -> StoredRollout | None:
        if operation not in self._by_operation:
            self._by_operation[operation] = await self._telemetry.rollout_of(operation)
        return self._by_operation[operation]


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_REASON]
