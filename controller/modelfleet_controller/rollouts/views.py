"""Rollouts as people see them, from an evaluation."""

from __future__ import annotations

from typing import Final

from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.release.matching import match_variant
from modelfleet_core.rollout.progress import ClassProgress, ClassState, OutcomeCounts
from modelfleet_core.wire.operator import ClassView, GateView, RolloutDevice, RolloutView

from ..ticker.evaluation import Evaluation
from ..ticker.members import Member, standing_of
from .verbs import state_of

MAX_DEVICES: Final = 1000
"""Devices that one view lists; the counts in `classes` are always complete."""


def view(evaluation: Evaluation, names: dict[str, str], *, devices: bool) -> RolloutView:
    """The rollout; with its devices, those in trouble first.

    Args:
        evaluation: as it stands now.
        names: device id -> display name.
        devices: whether to list them.
    """
    rollout = evaluation.rollout
    classes = tuple(_class(evaluation, progress) for progress in evaluation.progress.classes)
    return RolloutView(
        id=rollout.id,
        name=rollout.name,
        release=rollout.plan.release,
        release_id=rollout.release_id,
        slot=rollout.slot,
        created_at=rollout.created_at,
        created_by=rollout.created_by,
        state=state_of(rollout),
        outcome=rollout.outcome,
        reason=rollout.reason,
        small_fleet=rollout.plan.small_fleet,
        classes=classes,
        devices=_devices(evaluation, names) if devices else (),
        finished_at=rollout.finished_at,
        resource=rollout.resource,
        bytes_sent=sum(row.bytes_received for row in evaluation.rows.values()),
    )


def _class(evaluation: Evaluation, progress: ClassProgress) -> ClassView:
    rollout = evaluation.rollout
    stored = evaluation.classes[progress.device_class]
    stage = rollout.plan.stages[stored.stage]
    rows = [row for row in evaluation.rows.values() if row.device_class == stored.device_class]
    paused = rollout.paused and stored.state is ClassState.RUNNING
    return ClassView(
        device_class=stored.device_class,
        state="paused" if paused else stored.state.value,
        stage=stored.stage,
        stage_name=stage.name,
        stage_mode=stage.mode.value,
        stages=len(rollout.plan.stages),
        stage_started_at=stored.stage_started_at,
        outcome=stored.state.value if stored.state is not ClassState.RUNNING else None,
        stopped_in=stored.stopped_in,
        stopped_by=stored.stopped_by,
        reason=stored.reason,
        outcomes=_counts(progress.counts),
        gates=tuple(_gate(verdict) for verdict in evaluation.verdicts[stored.device_class]),
        live_answers_by_candidate=sum(row.candidate_answers for row in rows),
        evidence=stored.evidence,
        stage_history=stored.history,
    )


def _counts(counts: OutcomeCounts) -> dict[str, int]:
    named = ((name, getattr(counts, name)) for name in OutcomeCounts.__slots__)
    return {name: number for name, number in named if number}


def _gate(verdict: Verdict) -> GateView:
    return GateView(
        metric=verdict.metric.value,
        verdict=verdict.judgement.value,
        effect=verdict.effect,
        tolerance=verdict.tolerance,
        evidence=verdict.evidence,
        needed=verdict.needed,
        promote_evidence=verdict.promote_evidence,
        promote_needed=verdict.promote_needed,
        reports=verdict.reports,
        devices=verdict.devices,
        set_aside=len(verdict.set_aside),
        sentence=verdict.sentence,
    )


def _devices(evaluation: Evaluation, names: dict[str, str]) -> tuple[RolloutDevice, ...]:
    found: list[RolloutDevice] = []
    for device_class, members in sorted(evaluation.members.items()):
        for member in members:
            if _concerned(evaluation, device_class, member):
                found.append(_device(evaluation, device_class, member, names))
    found.sort(key=lambda device: (device.code is None, device.device_class, device.name, device.device))
    return tuple(found[:MAX_DEVICES])


def _concerned(evaluation: Evaluation, device_class: str, member: Member) -> bool:
    if member.subject.device in evaluation.rows or not member.fits:
        return True
    cutoffs = evaluation.cutoffs.get(device_class, {}).values()
    return any(cutoff.holds(member.place, member.subject.joined_at) for cutoff in cutoffs)


def _device(
    evaluation: Evaluation, device_class: str, member: Member, names: dict[str, str]
) -> RolloutDevice:
    row = evaluation.rows.get(member.subject.device)
    reason = None if row is None else row.reason
    if row is None and not member.fits:
        reason = match_variant(member.subject.facts, device_class, evaluation.release.manifest).sentence()
    return RolloutDevice(
        device=member.subject.device,
        name=names.get(member.subject.device, ""),
        device_class=device_class,
        outcome=standing_of(member, row, evaluation.silent).value,
        code=None if row is None else row.code,
        reason=reason,
    )
