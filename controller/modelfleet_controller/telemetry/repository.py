"""SQL of reports, gate sums and the devices' outboxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import Row

from modelfleet_core.gates.evidence import DeviceSum, Stratum
from modelfleet_core.gates.wealth import pack, unpack
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.wire import codec
from modelfleet_core.wire.report import Report

from ..db.database import Connection
from ..db.dialect import insert_new, upsert
from ..db.rows import values_of
from ..devices.tables import DEVICE_OUTBOX
from ..rollouts.stored import StoredRollout
from ..rollouts.tables import ROLLOUT
from .tables import GATE_SUM, REPORT

SumKey = tuple[str, str, str]
"""Rollout id, metric, device id."""


class TelemetryRepository:
    """Evidence over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def rollout_of(self, operation: str) -> StoredRollout | None:
        """The rollout whose attempt this operation is."""
        row = (
            await self._connection.execute(select(ROLLOUT).where(ROLLOUT.c.operation == operation))
        ).one_or_none()
        return None if row is None else StoredRollout(**values_of(row))

    async def add_report(
        self, device_id: str, rollout_id: str, stage: int, received_at: datetime, report: Report
    ) -> bool:
        """Stores a report; False where its key was known before."""
        done = await self._connection.execute(
            insert_new(REPORT).values(
                device_id=device_id,
                release_id=report.release,
                slot=report.slot,
                window=report.window,
                rollout_id=rollout_id,
                stage=stage,
                received_at=received_at,
                body=codec.encode(report).decode(),
            )
        )
        return done.rowcount == 1

    async def drop_reports_before(self, instant: datetime) -> int:
        """Forgets raw reports older than that; sums stay."""
        done = await self._connection.execute(delete(REPORT).where(REPORT.c.received_at < instant))
        return done.rowcount

    async def reports(self, rollout_id: str, limit: int) -> list[tuple[str, int, Report]]:
        """(device, stage, report) of a rollout, oldest first."""
        rows = await self._connection.execute(
            select(REPORT.c.device_id, REPORT.c.stage, REPORT.c.body)
            .where(REPORT.c.rollout_id == rollout_id)
            .order_by(REPORT.c.received_at)
            .limit(limit)
        )
        return [(row[0], row[1], codec.decode(row[2].encode(), Report, what="report")) for row in rows]

    async def sums(self, keys: Iterable[SumKey]) -> dict[SumKey, DeviceSum]:
        """The rows of these keys, as far as there are any."""
        wanted: dict[str, set[str]] = {}
        for rollout_id, _, device_id in keys:
            wanted.setdefault(rollout_id, set()).add(device_id)
        found: dict[SumKey, DeviceSum] = {}
        for rollout_id, devices in wanted.items():
            rows = await self._connection.execute(
                select(GATE_SUM).where(
                    GATE_SUM.c.rollout_id == rollout_id, GATE_SUM.c.device_id.in_(sorted(devices))
                )
            )
            for row in rows:
                found[(rollout_id, row.metric, row.device_id)] = _sum(row)
        return found

    async def sums_of(self, rollout_id: str) -> dict[str, dict[Metric, tuple[DeviceSum, ...]]]:
        """Class -> metric -> rows of its devices."""
        rows = await self._connection.execute(
            select(GATE_SUM)
            .where(GATE_SUM.c.rollout_id == rollout_id)
            .order_by(GATE_SUM.c.device_class, GATE_SUM.c.metric, GATE_SUM.c.device_id)
        )
        lists: dict[str, dict[Metric, list[DeviceSum]]] = {}
        for row in rows:
            lists.setdefault(row.device_class, {}).setdefault(Metric(row.metric), []).append(_sum(row))
        return {
            name: {metric: tuple(sums) for metric, sums in by_metric.items()}
            for name, by_metric in lists.items()
        }

    async def put_sums(self, sums: Sequence[tuple[SumKey, str, DeviceSum]]) -> None:
        """Stores (key, class, sum) rows, new or changed."""
        if not sums:
            return
        values = [
            {
                "rollout_id": rollout_id,
                "metric": metric,
                "device_id": device_id,
                "device_class": device_class,
                "stratum": row.stratum.value,
                "stage": row.stage,
                "worse": pack(row.worse),
                "fine": pack(row.fine),
                "reports": row.reports,
                "stage_reports": row.stage_reports,
                "score_total": row.score_total,
            }
            for (rollout_id, metric, device_id), device_class, row in sums
        ]
        changing = ("stratum", "stage", "worse", "fine", "reports", "stage_reports", "score_total")
        await self._connection.execute(upsert(GATE_SUM, changing), values)

    async def outbox(self, device_id: str, epoch: str) -> int:
        """Highest event sequence that is durable for this epoch; 0 = none."""
        row = (
            await self._connection.execute(
                select(DEVICE_OUTBOX.c.through).where(
                    DEVICE_OUTBOX.c.device_id == device_id, DEVICE_OUTBOX.c.epoch == epoch
                )
            )
        ).one_or_none()
        return 0 if row is None else int(row[0])

    async def set_outbox(self, device_id: str, epoch: str, through: int) -> None:
        """Raises the mark of `outbox`."""
        await self._connection.execute(
            upsert(DEVICE_OUTBOX, ("through",)).values(device_id=device_id, epoch=epoch, through=through)
        )


def _sum(row: Row[Any]) -> DeviceSum:
    return DeviceSum(
        device=row.device_id,
        stratum=Stratum(row.stratum),
        stage=row.stage,
        worse=unpack(row.worse),
        fine=unpack(row.fine),
        reports=row.reports,
        stage_reports=row.stage_reports,
        score_total=row.score_total,
    )
