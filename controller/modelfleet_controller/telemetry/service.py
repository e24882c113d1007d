"""What the hot routes hand over for a group commit: reports and events of many devices in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from modelfleet_core.wire.event import EventAnswer, EventBatch
from modelfleet_core.wire.report import ReportAnswer, ReportBatch

from ..controller import Controller
from ..db.database import Connection
from .events import EventIntake
from .reports import ReportIntake
from .transitions import OUTCOME_OF


class Telemetry:
    """Evidence and transitions on their way into the database, and outcomes on to the snapshot."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._published: dict[str, tuple[str, int]] = {}

    async def reports(
        self, connection: Connection, items: Sequence[tuple[str, ReportBatch]]
    ) -> Sequence[ReportAnswer]:
        """One answer per (device id, batch), in order."""
        intake = ReportIntake(connection, self._controller.clock.now())
        answers: list[ReportAnswer] = []
        for device_id, batch in items:
            row = self._controller.board.devices[device_id].row
            answers.append(await intake.take(device_id, row.device_class, row.enrolled_at, batch))
        return answers

    async def events(
        self, connection: Connection, items: Sequence[tuple[str, EventBatch]]
    ) -> Sequence[EventAnswer]:
        """One answer per (device id, batch), in order."""
        intake = EventIntake(connection, self._controller.clock.now())
        answers: list[EventAnswer] = []
        for device_id, batch in items:
            entry = self._controller.board.devices[device_id]
            incumbents = {status.slot: status.incumbent is not None for status in entry.slots}
            answers.append(await intake.take(device_id, entry.row.device_class, incumbents, batch))
        return answers

    def committed(self, device_id: str, batch: EventBatch) -> None:
        """Puts the outcomes of a durable batch into the snapshot; a repeated batch changes nothing."""
        epoch, through = self._published.get(device_id, ("", 0))
        if epoch != batch.epoch:
            through = 0
        board = self._controller.board
        operations = {standing.operation: standing.id for standing in board.standings}
        for event in batch.events:
            if event.sequence <= through:
                continue
            through = event.sequence
            outcome = OUTCOME_OF.get(event.kind)
            rollout_id = operations.get(event.operation)
            if outcome is not None and rollout_id is not None:
                board.set_outcome(device_id, rollout_id, outcome)
        self._published[device_id] = (batch.epoch, through)
