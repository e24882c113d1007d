"""Rollouts as the database holds them, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelfleet_core.gates.evidence import GoldenResult, Heartbeat, Stratum
from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import (
    ClassProgress,
    ClassState,
    DeviceOutcome,
    HardStop,
    HardStopKind,
    OutcomeCounts,
    PromoteRequest,
)


@dataclass(frozen=True, slots=True)
class StoredRollout:
    """One row of `rollout`."""

    id: str
    name: str
    slot: str
    release_id: str
    operation: str
    salt: str
    plan: RolloutPlan
    resource: str
    only_classes: tuple[str, ...]
    created_at: datetime
    created_by: str
    paused: bool = False
    ending: str | None = None
    ending_reason: str = ""
    outcome: str | None = None
    reason: str = ""
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredClass:
    """One row of `rollout_class`."""

    rollout_id: str
    device_class: str
    state: ClassState
    stage: int
    stage_started_at: datetime
    cohort: int
    baseline: str | None
    extensions: int = 0
    promote: PromoteRequest | None = None
    leave: bool = False
    reason: str = ""
    stopped_in: str | None = None
    stopped_by: str | None = None
    evidence: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """One row of `rollout_device`."""

    rollout_id: str
    device_id: str
    device_class: str
    stratum: Stratum
    outcome: DeviceOutcome
    accepted_at: datetime
    changed_at: datetime
    code: str | None = None
    reason: str | None = None
    hard: HardStopKind | None = None
    hard_reason: str | None = None
    last_report_at: datetime | None = None
    reports: int = 0
    stage: int = -1
    stage_reports: int = 0
    mode_reports: int = 0
    candidate_answers: int = 0
    bytes_received: int = 0
    golden_total: int | None = None
    golden_right: float | None = None
    golden_incumbent_right: float | None = None

    def heartbeat(
        self, stage: int, last_seen: datetime | None = None, listened_since: datetime | None = None
    ) -> Heartbeat:
        """What the silence gate needs, as that stage sees it.

        Args:
            stage: index of the stage.
            last_seen: the device's last check-in.
            listened_since: since when the controller could have heard it.
        """
        return Heartbeat(
            device=self.device_id,
            accepted_at=self.accepted_at,
            last_report_at=self.last_report_at,
            stage_reports=self.stage_reports if self.stage == stage else 0,
            stratum=self.stratum,
            last_contact_at=last_seen,
            listened_since=listened_since,
        )

    def golden(self) -> GoldenResult | None:
        """The latest labelled result, if there is one."""
        if self.golden_total is None or self.golden_right is None:
            return None
        return GoldenResult(
            device=self.device_id,
            total=self.golden_total,
            candidate_right=self.golden_right,
            incumbent_right=self.golden_incumbent_right,
        )

    def hard_stop(self) -> HardStop | None:
        """The device's hard stop, if it had one."""
        return None if self.hard is None else HardStop(self.device_id, self.hard, self.hard_reason or "")


def progress_of(
    stored: StoredClass, counts: OutcomeCounts, reporting: int, hard_stops: tuple[HardStop, ...]
) -> ClassProgress:
    """The class as the engine sees it."""
    return ClassProgress(
        device_class=stored.device_class,
        stage_started_at=stored.stage_started_at,
        state=stored.state,
        stage=stored.stage,
        cohort=stored.cohort,
        counts=counts,
        reporting=reporting,
        hard_stops=hard_stops,
        extensions=stored.extensions,
        promote=stored.promote,
        baseline=stored.baseline,
        reason=stored.reason,
    )
