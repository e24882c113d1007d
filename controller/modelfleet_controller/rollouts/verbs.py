"""What people can do to a rollout (semantics section 3). Each verb runs in one transaction and is logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelfleet_core.files.resource import FleetRollout, from_json, read_rollout
from modelfleet_core.rollout.baseline import undo_targets
from modelfleet_core.rollout.progress import ClassState, Ending, OutcomeCounts, PromoteRequest, RolloutOutcome
from modelfleet_core.wire.operator import Operation, OperationAnswer, Scope, Verb

from ..audit.service import Entry, append
from ..auth.actor import Actor
from ..controller import Controller
from ..ticker.service import advance
from ..unit import Unit
from . import refusals
from .creating import begin
from .repository import RolloutRepository
from .stored import StoredClass, StoredRollout, progress_of


@dataclass(frozen=True, slots=True)
class Call:
    """A verb on its way: who asks for what, on which rollout, in which transaction."""

    controller: Controller
    unit: Unit
    rollout: StoredRollout
    operation: Operation
    actor: Actor
    now: datetime

    @property
    def rollouts(self) -> RolloutRepository:
        """Rollouts in this transaction."""
        return RolloutRepository(self.unit.connection)

    def must_be_active(self) -> None:
        """Refuses a rollout that has ended.

        Raises:
            CallerError: MF-1653.
        """
        if self.rollout.finished_at is not None:
            raise refusals.not_now(self.operation.verb.value, state_of(self.rollout), "not ended")

    def must_be_whole(self) -> None:
        """Refuses a restriction to some classes.

        Raises:
            CallerError: MF-1005.
        """
        if self.operation.classes:
            raise refusals.all_classes_only(self.operation.verb.value)

    async def log(self, sentence: str) -> None:
        """One link of the decision log."""
        why = f" ({self.operation.reason})" if self.operation.reason else ""
        entry = Entry(
            at=self.now,
            rollout=self.rollout.id,
            device_class=",".join(self.operation.classes),
            action=self.operation.verb.value,
            person=self.actor.person,
            sentence=f"{sentence} by {self.actor.person}{why}",
            evidence=self.operation,
        )
        await append(self.unit.connection, entry)


async def run(call: Call) -> OperationAnswer:
    """Does what the verb says.

    Raises:
        CallerError: MF-1653 not in this state, MF-1655 no reason, MF-1607 scope too small; others by verb.
    """
    return await _VERBS[call.operation.verb](call)


def state_of(rollout: StoredRollout) -> str:
    """`running`, `paused`, `held` or `finished`."""
    if rollout.finished_at is not None:
        return "finished"
    if rollout.paused:
        return "paused"
    return "held" if rollout.outcome == RolloutOutcome.HELD.value else "running"


async def _pause(call: Call) -> OperationAnswer:
    call.must_be_active()
    call.must_be_whole()
    if call.rollout.paused:
        raise refusals.not_now("pause", "paused already", "not paused")
    await call.rollouts.put(replace(call.rollout, paused=True))
    await call.log(f"PAUSED {call.rollout.name}: no device is added, rollbacks go on;")
    call.unit.reassign()
    return OperationAnswer(call.rollout.id, "paused; gates and rollbacks go on")


async def _resume(call: Call) -> OperationAnswer:
    call.must_be_active()
    call.must_be_whole()
    if not call.rollout.paused:
        raise refusals.not_now("resume", state_of(call.rollout), "paused")
    await call.rollouts.put(replace(call.rollout, paused=False))
    await call.log(f"RESUMED {call.rollout.name}")
    call.unit.reassign()
    return OperationAnswer(call.rollout.id, "resumed")


async def _promote(call: Call) -> OperationAnswer:
    """Ends the bake or the hold of the current stage; `worse` and hard stops win over it (engine, rule 2)."""
    call.must_be_active()
    operation = call.operation
    if operation.full:
        call.actor.must(Scope.ADMIN, "promote --full")
        if not operation.reason.strip():
            raise refusals.reason_missing("promote --full")
    if call.rollout.paused:
        raise refusals.not_now("promote", "paused", "running or held; resume it first")
    classes = {stored.device_class: stored for stored in await call.rollouts.classes(call.rollout.id)}
    unknown = sorted(set(operation.classes) - set(classes))
    if unknown:
        raise refusals.unknown_classes(unknown, sorted(classes))
    wanted = operation.classes or tuple(classes)
    running = [classes[name] for name in wanted if not classes[name].state.ended]
    if not running:
        raise refusals.not_now("promote", "ended in these classes", "running or held in them")
    for stored in running:
        await call.rollouts.put_class(_asked(stored, operation, call.actor))
    await call.log(f"PROMOTE {call.rollout.name}{' --full' if operation.full else ''} asked for")
    decision = await advance(call.controller, call.unit, call.rollout.id, call.now, person=call.actor.person)
    done = "" if decision is None else decision.sentence
    return OperationAnswer(call.rollout.id, done or "asked for")


async def _abort(call: Call) -> OperationAnswer:
    call.must_be_active()
    call.must_be_whole()
    reason = f"by {call.actor.person}" + (f" ({call.operation.reason})" if call.operation.reason else "")
    if call.operation.leave:
        for stored in await call.rollouts.classes(call.rollout.id):
            if not stored.state.ended:
                await call.rollouts.put_class(replace(stored, leave=True))
    await call.rollouts.put(replace(call.rollout, ending=Ending.ABORT.value, ending_reason=reason))
    await call.log(f"ABORT {call.rollout.name}{' --leave' if call.operation.leave else ''}")
    await advance(call.controller, call.unit, call.rollout.id, call.now, person=call.actor.person)
    kept = "switched devices keep the release" if call.operation.leave else "devices go back to what they had"
    return OperationAnswer(call.rollout.id, f"aborted; {kept}")


async def _retry(call: Call) -> OperationAnswer:
    """A new attempt with the same plan: new salt, new wealth."""
    call.must_be_whole()
    ended = {RolloutOutcome.ROLLED_BACK, RolloutOutcome.ABORTED, RolloutOutcome.HELD, RolloutOutcome.PARTIAL}
    if call.rollout.outcome not in {outcome.value for outcome in ended}:
        state = call.rollout.outcome or state_of(call.rollout)
        raise refusals.not_now("retry", state, "rolled back, aborted, partial or held")
    resource = read_rollout(from_json(call.rollout.resource))
    made = await begin(
        call.controller,
        call.unit,
        resource,
        call.actor.person,
        supersede=call.rollout.finished_at is None,
        only_classes=await _not_completed(call),
    )
    await call.log(f"RETRY {call.rollout.name} as {made.id}")
    return OperationAnswer(made.id, f"a new attempt: {made.id}")


async def _undo(call: Call) -> OperationAnswer:
    """Semantics section 3: a new rollout, per class, to the baseline recorded when this one was made."""
    call.must_be_whole()
    if call.rollout.finished_at is None:
        raise refusals.not_now("undo", state_of(call.rollout), "ended; abort takes an active one back")
    known = call.controller.board.releases
    classes = [
        progress_of(
            replace(stored, baseline=stored.baseline and known[stored.baseline].manifest.reference()),
            OutcomeCounts(),
            reporting=0,
            hard_stops=(),
        )
        for stored in await call.rollouts.classes(call.rollout.id)
    ]
    made: list[StoredRollout] = []
    for target in undo_targets(call.rollout.plan, classes):
        plan = replace(call.rollout.plan, release=target.release)
        resource = FleetRollout(f"{call.rollout.name[:50]}-undo", plan)
        made.append(
            await begin(call.controller, call.unit, resource, call.actor.person, only_classes=target.classes)
        )
    await call.log(f"UNDO {call.rollout.name} by {', '.join(rollout.id for rollout in made)}")
    back = ", ".join(f"{rollout.id} ({rollout.plan.release})" for rollout in made)
    return OperationAnswer(made[0].id, f"a rollout back to what was there before: {back}")


async def _not_completed(call: Call) -> tuple[str, ...]:
    classes = await call.rollouts.classes(call.rollout.id)
    again = [stored.device_class for stored in classes if stored.state is not ClassState.COMPLETED]
    # as restricted as the attempt before: the retry of an undo for one class stays with it
    return call.rollout.only_classes if len(again) == len(classes) else tuple(again)


def _asked(stored: StoredClass, operation: Operation, actor: Actor) -> StoredClass:
    request = PromoteRequest(
        stage=stored.stage, person=actor.person, reason=operation.reason, full=operation.full
    )
    return replace(stored, promote=request)


_VERBS: Final[dict[Verb, Callable[[Call], Awaitable[OperationAnswer]]]] = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.PROMOTE: _promote,
    Verb.ABORT: _abort,
    Verb.RETRY: _retry,
    Verb.UNDO: _undo,
}
