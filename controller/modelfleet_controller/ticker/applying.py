"""A decision becomes rows: classes, stages, baselines, the rollout's end, and the log; in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelfleet_core.gates.evidence import ClassEvidence
from modelfleet_core.ids import sha256_hex
from modelfleet_core.rollout.decision import Action, ClassDecision, Decision
from modelfleet_core.rollout.engine import apply
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import ClassProgress, RolloutOutcome
from modelfleet_core.wire import codec

from ..audit.service import Entry, append
from ..db.database import Connection
from ..rollouts.repository import RolloutRepository
from ..rollouts.stored import StoredClass, StoredRollout
from .cutoffs import cutoff_of
from .evaluation import Evaluation
from .members import eligible

ENGINE: Final = "controller"
"""Who decided, where no person did."""
MAX_EVIDENCE_DEVICES: Final = 200
"""Above this the log keeps the evidence's digest instead of every device's sums."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Evidence of one link of the decision log: all that `decide` looked at for this class.

    `evidence` is None above `MAX_EVIDENCE_DEVICES` devices; `evidence_sha256` always identifies it.
    """

    plan: RolloutPlan
    progress: ClassProgress
    decision: ClassDecision
    evidence: ClassEvidence | None
    evidence_sha256: str
    at: datetime


async def apply_decision(
    connection: Connection, evaluation: Evaluation, decision: Decision, *, person: str = ENGINE
) -> None:
    """Stores what a decision changes; the caller raises the revision in the same transaction (`reassign`)."""
    rollouts = RolloutRepository(connection)
    rollout = evaluation.rollout
    after = apply(evaluation.progress, decision)
    for before, now_is, made in zip(
        evaluation.progress.classes, after.classes, decision.classes, strict=True
    ):
        if not made.changes:
            continue
        stored = evaluation.classes[made.device_class]
        changed = _changed(stored, now_is, made, rollout.plan)
        if made.action is Action.PROMOTE and made.to_stage is not None:
            changed = await _begin(rollouts, evaluation, changed, stored.stage, made.to_stage, decision.at)
        await rollouts.put_class(changed)
        if made.action is Action.COMPLETE:
            await rollouts.put_baseline(
                rollout.slot,
                rollout.plan.match_labels,
                made.device_class,
                rollout.release_id,
                rollout.id,
                decision.at,
            )
        await append(
            connection,
            Entry(
                at=decision.at,
                rollout=rollout.id,
                device_class=made.device_class,
                action=made.action.value,
                person=person,
                sentence=made.sentence,
                evidence=record_of(evaluation, before, made, decision.at),
            ),
        )
    await rollouts.put(_ended(evaluation, decision))


def record_of(
    evaluation: Evaluation, progress: ClassProgress, made: ClassDecision, at: datetime
) -> DecisionRecord:
    """What the log keeps of a decision."""
    evidence = evaluation.evidence[made.device_class]
    small = len(evidence.heartbeats) <= MAX_EVIDENCE_DEVICES
    return DecisionRecord(
        plan=evaluation.rollout.plan,
        progress=progress,
        decision=made,
        evidence=evidence if small else None,
        evidence_sha256=sha256_hex(codec.encode(evidence)),
        at=at,
    )


async def _begin(
    rollouts: RolloutRepository,
    evaluation: Evaluation,
    stored: StoredClass,
    current: int,
    to_stage: int,
    at: datetime,
) -> StoredClass:
    """Resolves the cutoff of the stage that begins (and of those that are skipped, so that cohorts nest)."""
    rollout = evaluation.rollout
    name = stored.device_class
    known = dict(evaluation.cutoffs.get(name, {}))
    free = eligible(evaluation.members.get(name, []), evaluation.rows, at)
    seats = 0
    for index in range(current + 1, to_stage + 1):
        known[index] = cutoff_of(rollout.plan, index, known, free, evaluation.rows, at)
        await rollouts.add_stage(rollout.id, name, index, known[index], at)
        below = sum(known[index].holds(member.place, member.subject.joined_at) for member in free)
        seats = known[index].seats(below)
    return replace(stored, cohort=seats)


def _changed(
    stored: StoredClass, now_is: ClassProgress, made: ClassDecision, plan: RolloutPlan
) -> StoredClass:
    line = f"{plan.stages[made.stage].name}: {made.action.value.replace('_', ' ')}"
    return replace(
        stored,
        state=now_is.state,
        stage=now_is.stage,
        stage_started_at=now_is.stage_started_at,
        extensions=now_is.extensions,
        promote=now_is.promote,
        reason=made.sentence,
        stopped_in=None if made.stopped_in is None else made.stopped_in.value,
        stopped_by=None if made.stopped_in is None else _stopper(made),
        evidence=made.evidence,
        verdicts=made.verdicts,
        history=(*stored.history, line),
    )


def _stopper(made: ClassDecision) -> str:
    return made.reason.value if made.gate is None else made.gate.value


def _ended(evaluation: Evaluation, decision: Decision) -> StoredRollout:
    rollout = evaluation.rollout
    outcome = decision.outcome
    over = outcome is not None and outcome is not RolloutOutcome.HELD
    changed = [made.sentence for made in decision.classes if made.changes]
    return replace(
        rollout,
        outcome=None if outcome is None else outcome.value,
        reason=" | ".join(changed) if changed else rollout.reason,
        finished_at=decision.at if over else None,
    )
