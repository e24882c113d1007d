"""The cutoff of a stage at the moment it begins, from the devices that may take a seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from modelfleet_core.rollout.cohort import Cutoff, resolve
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import DeviceOutcome
from modelfleet_core.wire.director import Mode

from ..rollouts.stored import StoredDevice
from .members import Member

_PROVEN = (DeviceOutcome.SHADOWING, DeviceOutcome.PROBATION, DeviceOutcome.COMMITTED)


def cutoff_of(
    plan: RolloutPlan,
    index: int,
    known: Mapping[int, Cutoff],
    free: Sequence[Member],
    rows: Mapping[str, StoredDevice],
    at: datetime,
) -> Cutoff:
    """The cutoff of stage `index` (`core.rollout.cohort.resolve`).

    Args:
        plan: the stages.
        index: the stage that begins.
        known: cutoffs of the stages before it.
        free: `members.eligible`.
        rows: device id -> its row in this rollout.
        at: the instant.
    """
    stage = plan.stages[index]
    earlier = [i for i in sorted(known) if i < index]
    same = [known[i] for i in earlier if plan.stages[i].mode is stage.mode]
    shadow = [known[i] for i in earlier if plan.stages[i].mode is Mode.SHADOW]
    proven = [
        member.place
        for member in free
        if (row := rows.get(member.subject.device)) is not None and row.outcome in _PROVEN
    ]
    return resolve(
        stage,
        [member.place for member in free],
        at,
        before=same[-1] if same else None,
        proven=proven,
        shadow=shadow[-1] if shadow else None,
    )
