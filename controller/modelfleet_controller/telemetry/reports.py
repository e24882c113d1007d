"""Reports become sums for the gates, each once: its key is (device, release, slot, window).

Which stage a report speaks for is decided here, once, and stored with it: the class's current stage when the
window began in it and has its mode; otherwise it only adds to what is carried through the stages (semantics
section 2).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from modelfleet_core.gates.evidence import CARRIED_ONLY, DeviceSum
from modelfleet_core.gates.scores import check_report, score_report, stratum_of
from modelfleet_core.rollout.progress import DeviceOutcome
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import Report, ReportAnswer, ReportBatch

from ..db.database import Connection
from ..rollouts.repository import RolloutRepository
from ..rollouts.stored import StoredClass, StoredDevice, StoredRollout
from .repository import SumKey, TelemetryRepository

_LARGEST_WINDOW = 1 << 52
_CLOCKS_AGREE_S = 1.0
"""Differences below this are the network's, not the clock's."""


class ReportIntake:
    """One transaction's worth of reports."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._telemetry = TelemetryRepository(connection)
        self._rollouts = RolloutRepository(connection)
        self._now = now
        self._by_operation: dict[str, StoredRollout | None] = {}
        self._classes: dict[str, dict[str, StoredClass]] = {}

    async def take(
        self, device_id: str, device_class: str | None, joined_at: datetime, batch: ReportBatch
    ) -> ReportAnswer:
        """Stores what is new of a batch and adds it to the sums.

        Raises:
            CallerError: MF-1031, MF-1030 a report contradicts itself; nothing of the batch is stored.
        """
        accepted = 0
        for report in batch.reports:
            check_report(report)
            started_at = self._window_start(report, batch.sent_unix_s)
            rollout = await self._rollout(report)
            stored = None if rollout is None else await self._class(rollout.id, device_class)
            stage = (
                CARRIED_ONLY
                if stored is None or rollout is None
                else stage_of(report, started_at, rollout, stored)
            )
            new = await self._telemetry.add_report(
                device_id, "" if rollout is None else rollout.id, stage, self._now, report
            )
            if not new:
                continue
            accepted += 1
            if rollout is not None and stored is not None:
                await self._count(device_id, joined_at, report, started_at, rollout, stored, stage)
        return ReportAnswer(accepted=accepted, duplicates=len(batch.reports) - accepted)

    async def _count(
        self,
        device_id: str,
        joined_at: datetime,
        report: Report,
        started_at: datetime,
        rollout: StoredRollout,
        stored: StoredClass,
        stage: int,
    ) -> None:
        key = (rollout.id, device_id)
        row = (await self._rollouts.devices_of([key])).get(key)
        if row is None:
            if not await self._rollouts.belongs(rollout, device_id, stored.device_class, joined_at):
                return  # evidence of a device that nobody asked: kept, never counted
            row = StoredDevice(
                rollout_id=rollout.id,
                device_id=device_id,
                device_class=stored.device_class,
                stratum=stratum_of(report),
                outcome=DeviceOutcome.SHADOWING if report.mode is Mode.SHADOW else DeviceOutcome.PROBATION,
                accepted_at=min(started_at, self._now),
                changed_at=self._now,
            )
        if stored.state.ended:
            await self._rollouts.put_devices([_answered(row, report)])
            return
        if row.reports == 0:
            row = replace(row, stratum=stratum_of(report))
        scores = score_report(report, rollout.plan.gates)
        keys: list[SumKey] = [(rollout.id, score.metric.value, device_id) for score in scores]
        known = await self._telemetry.sums(keys) if keys else {}
        await self._telemetry.put_sums(
            [
                (
                    sum_key,
                    stored.device_class,
                    (known.get(sum_key) or DeviceSum(device_id, row.stratum)).plus(score, stage),
                )
                for sum_key, score in zip(keys, scores, strict=True)
            ]
        )
        in_stage = started_at >= stored.stage_started_at
        await self._rollouts.put_devices(
            [_counted(row, report, started_at, stored.stage, in_stage, stage != CARRIED_ONLY)]
        )

    def _window_start(self, report: Report, sent_unix_s: float | None) -> datetime:
        """When the window began by the controller's clock; never in the future."""
        window = max(0, min(report.window, _LARGEST_WINDOW))
        unix_s = window * max(report.window_s, 1e-3)
        if sent_unix_s is not None:
            skew_s = self._now.timestamp() - sent_unix_s
            if abs(skew_s) > _CLOCKS_AGREE_S:
                unix_s += skew_s
        unix_s = max(0.0, min(unix_s, self._now.timestamp()))
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_s)

    async def _rollout(self, report: Report) -> StoredRollout | None:
        """The rollout that a report speaks for. Only its own release and slot: else one window could be
        told many times, each time about another release.
        """
        operation = report.operation
        if operation not in self._by_operation:
            self._by_operation[operation] = await self._telemetry.rollout_of(operation)
        found = self._by_operation[operation]
        if found is None or (found.release_id, found.slot) != (report.release, report.slot):
            return None
        return found

    async def _class(self, rollout_id: str, device_class: str | None) -> StoredClass | None:
        if rollout_id not in self._classes:
            found = await self._rollouts.classes(rollout_id)
            self._classes[rollout_id] = {stored.device_class: stored for stored in found}
        return self._classes[rollout_id].get(device_class or "")


def stage_of(report: Report, started_at: datetime, rollout: StoredRollout, stored: StoredClass) -> int:
    """The stage that a report speaks for, or CARRIED_ONLY."""
    if stored.state.ended or started_at < stored.stage_started_at:
        return CARRIED_ONLY
    return stored.stage if report.mode is rollout.plan.stages[stored.stage].mode else CARRIED_ONLY


def _answered(row: StoredDevice, report: Report) -> StoredDevice:
    return replace(row, candidate_answers=row.candidate_answers + report.candidate_answers)


def _counted(
    row: StoredDevice, report: Report, started_at: datetime, stage: int, in_stage: bool, in_mode: bool
) -> StoredDevice:
    if row.stage != stage:
        row = replace(row, stage=stage, stage_reports=0, mode_reports=0)
    row = replace(
        _answered(row, report),
        reports=row.reports + 1,
        stage_reports=row.stage_reports + in_stage,
        mode_reports=row.mode_reports + in_mode,
    )
    if row.last_report_at is None or started_at > row.last_report_at:
        row = replace(row, last_report_at=started_at)
    golden = report.golden
    if golden is not None and golden.total > 0:
        row = replace(
            row,
            golden_total=golden.total,
            golden_right=golden.candidate_right,
            golden_incumbent_right=golden.incumbent_right,
        )
    return row
