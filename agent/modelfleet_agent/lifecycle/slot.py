"""One slot under the lifecycle: journal first, then act; every effect idempotent (semantics section 4).

`tick` is called again and again with what is known; it makes at most a few transitions and never blocks.
Each transition is one durable record that carries the slot's whole truth and the events that follow from
it. What is done for a state begins after its record; what serve shall make true follows from the record
alone (`desired`), so a crash between record and effect is repaired by doing the effect again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from modelfleet_agent.control.protocol import SlotActual, SlotDesired
from modelfleet_core import logs
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.lifecycle.chain import Installed, move
from modelfleet_core.lifecycle.machine import PREPARING, RESUME_AT, Event, State
from modelfleet_core.release.engine_spec import BUILD_LIMIT_S, ENGINE_SPEC_NAME
from modelfleet_core.wire.checkin import SlotStatus
from modelfleet_core.wire.director import SlotAssignment
from modelfleet_core.wire.event import DeviceEvent, EventKind

from .desired import Folder, desired_of
from .journal import Journal
from .observe import LOAD_LIMIT_S, Look, fell_back, look
from .order import Intent, Step, judge
from .prepare import installed_of
from .record import SlotRecord, Trouble
from .work import Job, Worker

_log = logging.getLogger(__name__)

MAX_RESTARTS: Final = 5
SETTLED_S: Final = 60.0
"""A start that lasts this long was none of a crash-loop."""
MAX_REASON: Final = 500
_MUST_END: Final = frozenset({State.ROLLING_BACK, State.CLEANING})
_REFUSED: Final = frozenset({Code.NO_FITTING_VARIANT, Code.SLOT_OF_OTHER_RELEASE})

Prepare = Callable[[State, SlotAssignment, tuple[Installed, ...], Callable[[], bool]], int]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the world looks like at a tick.

    Attributes:
        order: what the last statement says of the slot, or None.
        holds: the statement has not expired.
        serve: serve's truth of this slot under the present table; None while serve is away or behind.
        golden_floor: float parent's accuracy (0-1) on the golden set that judges; None = no labels.
    """

    order: SlotAssignment | None
    holds: bool
    serve: SlotActual | None
    golden_floor: float | None = None


class Slot:
    """Drives one slot.

    Args:
        name: of the slot.
        journal: remembers it.
        clock: corrected; for events and waiting times.
        worker: runs what blocks.
        prepare: does the work of the preparing states (`Preparer.run`).
        clean: deletes what nothing refers to.
        folder: where a variant's folder lies.
    """

    def __init__(
        self,
        name: str,
        *,
        journal: Journal,
        clock: Clock,
        worker: Worker,
        prepare: Prepare,
        clean: Callable[[], None],
        folder: Folder,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._prepare = prepare
        self._clean = clean
        self._folder = folder
        self._record = journal.slot(name)
        self._job: Job | None = None
        self._order: SlotAssignment | None = None
        self._waiting: Trouble | None = None
        self._ending: Job | None = None
        self._waited_s = 0.0
        self._looked: float | None = None
        self._started = clock.monotonic()
        self._resume()

    @property
    def record(self) -> SlotRecord:
        """Where it stands."""
        return self._record

    def desired(self) -> SlotDesired:
        """What serve shall make true."""
        return desired_of(self._record, self._order, self._folder)

    def status(self) -> SlotStatus:
        """Where it stands, for the controller."""
        chain = self._record.chain
        trouble = self._waiting or self._record.trouble
        incumbent = chain.incumbent
        return SlotStatus(
            slot=self._record.slot,
            state=self._record.state,
            incumbent=incumbent.release if incumbent is not None else None,
            incumbent_reference=incumbent.reference if incumbent is not None else None,
            incumbent_variant=incumbent.variant if incumbent is not None else None,
            candidate=chain.candidate.release if chain.candidate is not None else None,
            previous=chain.previous.release if chain.previous is not None else None,
            operation=self._record.operation,
            code=trouble.code if trouble is not None else None,
            reason=trouble.reason if trouble is not None else None,
        )

    def tick(self, scene: Scene) -> bool:
        """Looks at everything once and moves on as far as it goes; whether anything has moved.

        Raises:
            WorldError: the journal cannot be written (MF-5001, MF-3004); nothing has moved then.
        """
        before = self._record
        self._order = scene.order
        self._settle()
        intent = judge(self._record, scene.order, holds=scene.holds)
        if intent.step is not Step.NOTHING and scene.order is not None:
            self._obey(intent, scene.order)
        self._act(scene)
        return self._record is not before

    def roll_back(self) -> None:
        """Somebody at the device wants the slot to go back, now; needs no controller.

        Raises:
            CallerError: MF-3036, there is nothing to go back to.
            WorldError: the journal cannot be written.
        """
        trouble = Trouble(
            EventKind.ROLLED_BACK, Code.ROLLED_BACK_BY_HAND.value, "rolled back by hand at the device"
        )
        idle = self._record.state is State.IDLE
        if self._record.state in _MUST_END:
            return
        if idle and not self._record.chain.can_reopen():
            raise CallerError(
                Code.NOTHING_TO_ROLL_BACK,
                f"slot {self._record.slot} has nothing to go back to",
                expected="a release that was committed before the present one",
                todo="see `modelfleet-agent status`; roll out another release from the controller",
            )
        self._take_back(trouble, "")

    def stop(self) -> None:
        """The agent ends as it should: this start was none of a crash-loop."""
        if self._job is not None:
            self._job.give_up()
        if self._record.restarts:
            self._write(replace(self._record, restarts=0))

    # Starting and settling

    def _resume(self) -> None:
        """After a start: go on where the table says, and break a loop of crashes."""
        state = self._record.state
        if state is State.IDLE:
            return
        restarts = self._record.restarts + 1
        self._write(replace(self._record, state=RESUME_AT[state], restarts=restarts))
        logs.info(_log, "slot.resumed", slot=self._record.slot, state=state, restarts=restarts)
        if restarts > MAX_RESTARTS and state not in _MUST_END:
            reason = f"the agent was restarted {restarts} times in a row in state {state}"
            kind = EventKind.FAILED if self._record.state in PREPARING else EventKind.ROLLED_BACK
            self._fail(Trouble(kind, Code.STATE_CRASH_LOOP.value, reason, hard=True))

    def _settle(self) -> None:
        if self._record.restarts and self._clock.monotonic() - self._started > SETTLED_S:
            self._write(replace(self._record, restarts=0))

    # Orders

    def _obey(self, intent: Intent, order: SlotAssignment) -> None:
        if intent.step is Step.BEGIN:
            self._begin(order)
        elif intent.step is Step.TAKE_BACK and intent.trouble is not None:
            self._take_back(intent.trouble, order.operation)
        elif intent.step is Step.TELL:
            self._tell(intent, order)

    def _begin(self, order: SlotAssignment) -> None:
        position = move(
            self._record.position,
            Event.ASSIGNED,
            operation=order.operation,
            candidate=installed_of(order),
        )
        record = replace(
            self._record,
            state=position.state,
            chain=position.chain,
            assignment=order,
            trouble=None,
            restarts=0,
            received=0,
        )
        self._enter(record, self._event(EventKind.ACCEPTED, record))

    def _take_back(self, trouble: Trouble, operation: str) -> None:
        """Of the running operation, or of the committed one when none runs."""
        if self._job is not None:
            self._job.give_up()
            self._ending, self._job = self._job, None
        idle = self._record.state is State.IDLE
        self._go(Event.WITHDRAWN, trouble, operation if idle else "")

    def _tell(self, intent: Intent, order: SlotAssignment) -> None:
        chain = self._record.chain.bar(order.operation) if intent.closes else self._record.chain
        record = replace(self._record, chain=chain, assignment=order, trouble=intent.trouble)
        if intent.trouble is not None:
            self._enter(record, self._trouble_event(intent.trouble, record))
        elif intent.kind is not None:
            self._enter(record, self._event(intent.kind, record))

    # States

    def _act(self, scene: Scene) -> None:
        state = self._record.state
        if state in PREPARING:
            self._prepare_on()
        elif state is State.IDLE:
            self._watch(scene)
        elif state is State.COMMITTING:
            self._commit(scene)
        elif state is State.CLEANING:
            self._clean_up(scene)
        else:
            self._wait(scene)

    def _prepare_on(self) -> None:
        """Starts the state's work, or takes its outcome and goes on to the next state."""
        while self._record.state in PREPARING and self._record.assignment is not None:
            if self._job is None:
                state = self._record.state
                task = partial(self._prepare, state, self._record.assignment, self._kept())
                self._job = self._worker.start(f"{self._record.slot} {state}", task)
            if not self._job.done:
                return
            job, self._job = self._job, None
            self._record = replace(self._record, received=self._record.received + job.value)
            if job.error is not None:
                self._fail(_trouble(job.error))
            elif self._record.state is State.CHECKING:
                numbers = {"bytes_received": float(self._record.received)}
                self._go(Event.DONE, events=(self._event(EventKind.DOWNLOADED, self._record, numbers),))
            else:
                self._go(Event.DONE)

    def _kept(self) -> tuple[Installed, ...]:
        """What the slot serves or may go back to."""
        return replace(self._record.chain, candidate=None).held()

    def _watch(self, scene: Scene) -> None:
        """IDLE: the committed release broke and serve went back by itself?"""
        trouble = fell_back(self._record, scene.serve) if scene.serve is not None else None
        if trouble is not None:
            self._go(Event.FAILED, trouble)

    def _wait(self, scene: Scene) -> None:
        # Time counts only while serve is there and follows the present table.
        now, before = self._clock.monotonic(), self._looked
        self._looked = now if scene.serve is not None else None
        if scene.serve is None:
            return
        self._waited_s += now - before if before is not None else 0.0
        seen = Look(
            slot=scene.serve,
            waited_s=self._waited_s,
            order=scene.order,
            holds=scene.holds,
            golden_floor=scene.golden_floor,
            load_limit_s=self._load_limit_s(),
        )
        verdict = look(self._record, seen)
        if verdict.trouble is not None:
            self._fail(verdict.trouble)
        elif verdict.done:
            self._waited(scene.serve)
        else:
            self._blocked(verdict.waiting)

    def _load_limit_s(self) -> float:
        """Longer where serve has to build an engine first."""
        candidate = self._record.chain.candidate
        builds = candidate is not None and (self._folder(candidate) / ENGINE_SPEC_NAME).is_file()
        return BUILD_LIMIT_S if builds else LOAD_LIMIT_S

    def _waited(self, serve: SlotActual) -> None:
        """What was waited for has come."""
        state = self._record.state
        if state is State.LOADING:
            self._go(Event.DONE, events=(self._event(EventKind.SHADOWING, self._record),))
        elif state is State.SWITCHING:
            self._go(Event.DONE, events=(self._event(EventKind.SWITCHED, self._record),))
        elif state is State.ROLLING_BACK:
            # Only now: what is told has happened (serve answers from the restored incumbent).
            trouble = self._record.trouble
            gap = {"swap_gap_ms": serve.worst_swap_gap_ms} if serve.swaps else {}
            events = (self._trouble_event(trouble, self._record, gap),) if trouble is not None else ()
            self._go(Event.DONE, trouble, events=events)
        else:
            self._go(Event.DONE)

    def _blocked(self, waiting: Trouble | None) -> None:
        """Tells once what keeps it from going on."""
        if waiting is not None and self._waiting != waiting:
            self._waiting = waiting
            self._write(self._record, self._trouble_event(waiting, self._record))

    def _commit(self, scene: Scene) -> None:
        gap = {"swap_gap_ms": scene.serve.worst_swap_gap_ms} if scene.serve is not None else {}
        self._go(Event.DONE, events=(self._event(EventKind.COMMITTED, self._record, gap),))

    def _clean_up(self, scene: Scene) -> None:
        # Not before serve follows the table that names nothing of what is deleted, and nobody writes there.
        if scene.serve is None or (self._ending is not None and not self._ending.done):
            return
        self._ending = None
        try:
            self._clean()
        except ModelfleetError as error:
            logs.warning(_log, "store.not_cleaned", slot=self._record.slot, reason=error.happened)
            self._go(Event.FAILED, self._record.trouble)
            return
        self._go(Event.DONE, self._record.trouble)

    # Transitions

    def _fail(self, trouble: Trouble) -> None:
        self._go(Event.FAILED, trouble)

    def _go(
        self,
        event: Event,
        trouble: Trouble | None = None,
        operation: str = "",
        *,
        events: tuple[DeviceEvent, ...] = (),
    ) -> None:
        """One transition: its record becomes durable, then it is so."""
        position = move(self._record.position, event, operation=operation)
        record = replace(self._record, state=position.state, chain=position.chain, trouble=trouble)
        ended_early = self._record.state in PREPARING and position.state is State.CLEANING
        if ended_early and trouble is not None:
            received = {"bytes_received": float(record.received)} if record.received else {}
            events = (*events, self._trouble_event(trouble, record, received))
        self._enter(record, *events)

    def _enter(self, record: SlotRecord, *events: DeviceEvent) -> None:
        before = self._record.state
        self._write(record, *events)
        self._waiting = None
        if record.state is not before:
            self._waited_s, self._looked = 0.0, None
            logs.info(
                _log,
                "slot.state",
                slot=record.slot,
                state=record.state,
                before=before,
                operation=record.operation,
                code=record.trouble.code if record.trouble is not None else None,
                reason=record.trouble.reason if record.trouble is not None else None,
            )

    def _write(self, record: SlotRecord, *events: DeviceEvent) -> None:
        self._journal.record(record, events)
        self._record = record

    def _event(
        self, kind: EventKind, record: SlotRecord, numbers: dict[str, float] | None = None
    ) -> DeviceEvent:
        chain, assignment = record.chain, record.assignment
        told = assignment.operation if assignment is not None else ""
        release = assignment.release if assignment is not None else ""
        return DeviceEvent(
            sequence=0,
            at=self._clock.now(),
            kind=kind,
            slot=record.slot,
            operation=chain.operation or told,
            release=chain.candidate.release if chain.candidate is not None else release,
            numbers=numbers or {},
        )

    def _trouble_event(
        self, trouble: Trouble, record: SlotRecord, numbers: dict[str, float] | None = None
    ) -> DeviceEvent:
        return replace(
            self._event(trouble.kind, record, numbers),
            code=trouble.code,
            reason=trouble.reason[:MAX_REASON],
            hard=trouble.hard,
        )


def _trouble(error: ModelfleetError) -> Trouble:
    """What an error of the preparing states means for the operation.

    Broken integrity is a refusal and a hard stop (semantics section 2, "verify failure"); what does not fit
    is a refusal; disk and network are a failure that says nothing of the release."""
    reason = error.happened[:MAX_REASON]
    if isinstance(error, IntegrityError):
        return Trouble(EventKind.REFUSED, error.code.value, reason, hard=True)
    if error.code in _REFUSED:
        return Trouble(EventKind.REFUSED, error.code.value, reason)
    return Trouble(EventKind.FAILED, error.code.value, reason)
