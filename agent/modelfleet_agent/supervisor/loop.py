"""The control loop: one tick looks at orders, at serve and at every slot, and moves what can move.

Order within a tick: wishes of people, serve's truth, slots (each journals before it acts), the table that
follows, evidence. What a slot's new record wants of serve goes out in the same tick; what serve made of it
is looked at in the next one. Nothing here blocks but the control socket's time-out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from modelfleet_agent.board import Board, LastError
from modelfleet_agent.control.protocol import Actual, SlotDesired
from modelfleet_agent.lifecycle.desired import golden_of
from modelfleet_agent.lifecycle.journal import Journal
from modelfleet_agent.lifecycle.prepare import installed_of
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_agent.lifecycle.slot import Prepare, Scene, Slot
from modelfleet_agent.lifecycle.store import VariantStore
from modelfleet_agent.lifecycle.work import Worker
from modelfleet_agent.outbox.reports import ReportSpool
from modelfleet_agent.state.files import read_limited
from modelfleet_agent.uplink.client import CorrectedClock
from modelfleet_agent.uplink.director import Director
from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.ids import is_name
from modelfleet_core.lifecycle.machine import PREPARING, State
from modelfleet_core.release.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import SlotAssignment

from .heartbeat import Heartbeat
from .requests import Requests
from .serve_link import ServeLink

_log = logging.getLogger(__name__)

BUSY_S: Final = 0.05
IDLE_S: Final = 0.5
MAX_SLOTS: Final = 64
_PATIENCE_S: Final = {State.IDLE: IDLE_S, State.SHADOWING: IDLE_S, State.PROBATION: 0.2}


class ControlLoop:
    """Everything the supervisor does to slots and serve. Run by one thread.

    Args:
        journal: remembers the slots.
        store: holds their folders.
        prepare: does the work of the preparing states.
        worker: runs it beside the loop.
        director: what the controller wants.
        link: to serve.
        spool: takes evidence.
        board: is told where the slots stand.
        requests: of people at the device.
        clock: corrected.
        tell: called when there is something for the controller.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        store: VariantStore,
        prepare: Prepare,
        worker: Worker,
        director: Director,
        link: ServeLink,
        spool: ReportSpool,
        board: Board,
        requests: Requests,
        clock: CorrectedClock,
        tell: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._store = store
        self._prepare = prepare
        self._worker = worker
        self._director = director
        self._link = link
        self._spool = spool
        self._board = board
        self._requests = requests
        self._clock = clock
        self._tell = tell
        self._heartbeat = Heartbeat()
        self._floors: dict[str, float | None] = {}
        self._slots: dict[str, Slot] = {}
        self._actual: Actual | None = None
        self.trouble: LastError | None = None
        for name in sorted(journal.slots):
            self._slots[name] = self._open(name)

    @property
    def actual(self) -> Actual | None:
        """Serve's truth at the last look, None while it is away."""
        return self._actual

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots, by name."""
        return tuple(self._slots[name] for name in sorted(self._slots))

    def tick(self) -> float:
        """Looks and moves once; seconds until the next look is worth it."""
        orders = self._orders()
        for name in orders:
            if name not in self._slots and is_name(name) and len(self._slots) < MAX_SLOTS:
                self._slots[name] = self._open(name)
        self._beat()
        self._obey_people()
        actual = self._link.sync(self._rows())
        moved = False
        for name, slot in self._slots.items():
            moved = self._step(slot, orders.get(name), actual) or moved
        if moved:
            # What the new records want of serve begins now: they are durable.
            actual = self._link.sync(self._rows())
        self._actual = actual
        self._link.collect(self._spool.add)
        self._board.put_slots(tuple(slot.status() for slot in self.slots))
        if self._journal.pending or len(self._spool):
            self._tell()
        return BUSY_S if moved or actual is None else self._patience()

    def stop(self) -> None:
        """Ends the loop's work as it should; serve goes on."""
        for slot in self._slots.values():
            try:
                slot.stop()
            except ModelfleetError as error:
                self._note(error)
        self._link.collect(self._spool.add)
        self._link.close()

    def roll_back(self, name: str) -> None:
        """Takes a slot back, by hand.

        Raises:
            CallerError: MF-3037 there is no such slot, MF-3036 nothing to go back to.
            WorldError: the journal cannot be written.
        """
        slot = self._slots.get(name)
        if slot is None:
            raise CallerError(
                Code.SLOT_UNKNOWN,
                f"there is no slot {name!r} on this device",
                expected=f"one of: {', '.join(sorted(self._slots)) or 'none yet'}",
                todo="see `modelfleet-agent status`",
            )
        slot.roll_back()

    def _orders(self) -> dict[str, SlotAssignment]:
        statement = self._director.statement
        return {order.slot: order for order in statement.slots} if statement is not None else {}

    def _open(self, name: str) -> Slot:
        return Slot(
            name,
            journal=self._journal,
            clock=self._clock,
            worker=self._worker,
            prepare=self._prepare,
            clean=self._clean,
            folder=self._store.folder,
        )

    def _rows(self) -> tuple[SlotDesired, ...]:
        return tuple(slot.desired() for slot in self.slots)

    def _step(self, slot: Slot, order: SlotAssignment | None, actual: Actual | None) -> bool:
        name = slot.record.slot
        found = next((s for s in actual.slots if s.slot == name), None) if actual is not None else None
        try:
            floor = self._floor(slot.record, order)
            return slot.tick(Scene(order, self._director.holds(), found, floor))
        except ModelfleetError as error:
            self._note(error)
            return False

    def _obey_people(self) -> None:
        try:
            for name in self._requests.rollbacks():
                try:
                    self.roll_back(name)
                except CallerError as refused:
                    self._requests.done(name, refused)
                else:
                    logs.info(_log, "slot.rolled_back_by_hand", slot=name)
                    self._requests.done(name)
        except ModelfleetError as error:
            self._note(error)

    def _beat(self) -> None:
        now = self._clock.uncorrected().timestamp()  # as serve, so that all windows are cut alike
        reports = [self._heartbeat.beat(slot.record, now) for slot in self.slots]
        self._spool.add([report for report in reports if report is not None])

    def _clean(self) -> None:
        records = [slot.record for slot in self._slots.values()]
        held = [installed for record in records for installed in record.chain.held()]
        preparing = [
            installed_of(record.assignment)
            for record in records
            if record.state in PREPARING and record.assignment is not None
        ]
        self._store.collect(held, preparing)

    def _floor(self, record: SlotRecord, order: SlotAssignment | None) -> float | None:
        """The float parent's accuracy on the golden set that judges the candidate."""
        if record.state is not State.SHADOWING or record.chain.candidate is None:
            return None
        assignment = order if order is not None else record.assignment
        judge = golden_of(
            record.chain, record.chain.candidate, assignment.baseline if assignment is not None else None
        )
        if judge.release not in self._floors:
            self._floors[judge.release] = _golden_value(self._store.folder(judge) / MANIFEST_NAME)
        return self._floors[judge.release]

    def _patience(self) -> float:
        """Seconds to the next look: short while something is about to happen."""
        return min(
            (_PATIENCE_S.get(slot.record.state, BUSY_S) for slot in self._slots.values()), default=IDLE_S
        )

    def _note(self, error: ModelfleetError) -> None:
        if self.trouble is None or self.trouble.code != error.code.value:
            logs.error(_log, "agent.failed", code=error.code.value, reason=error.happened)
        self.trouble = LastError(error.code.value, error.happened, self._clock.now())


def _golden_value(path: Path) -> float | None:
    data = read_limited(path, MAX_MANIFEST_BYTES)
    if data is None:
        return None
    return codec.decode(data, Manifest, what=MANIFEST_NAME, limit=MAX_MANIFEST_BYTES).golden_value
