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
            row = entry.row
            answers.append(await intake.take(device_id, row.device_class, row.enrolled_at, incumbents, batch))
        return answers

    def committed(self, device_id: str, batch: EventBatch, reached: int) -> None:
        """Puts the outcomes of a batch that is durable up to event `reached` into the snapshot; a repeated
        batch changes nothing.
        """
        epoch, through = self._published.get(device_id, ("", 0))
        if epoch != batch.epoch:
            through = 0
        board = self._controller.board
        standings = {standing.operation: standing for standing in board.standings}
        for event in batch.events:
            if not through < event.sequence <= reached:
                continue
            through = event.sequence
            outcome = OUTCOME_OF.get(event.kind)
            standing = standings.get(event.operation)
            if outcome is None or standing is None or event.slot != standing.plan.slot:
                continue
            if board.takes_part(device_id, standing):
                board.set_outcome(device_id, standing.id, outcome)
        self._published[device_id] = (batch.epoch, through)
