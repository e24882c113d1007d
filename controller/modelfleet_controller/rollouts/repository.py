"""SQL of rollouts, their classes, stages, devices and baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.engine import Row

from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.rollout import cohort
from modelfleet_core.rollout.assignment import GONE, Baseline, ClassStanding, KnownRelease, Standing
from modelfleet_core.rollout.cohort import Cutoff
from modelfleet_core.rollout.progress import ClassState, DeviceOutcome, HardStopKind
from modelfleet_core.wire import codec

from ..db.database import Connection
from ..db.dialect import insert_new, upsert
from ..db.rows import values_of
from .stored import StoredClass, StoredDevice, StoredRollout
from .tables import BASELINE, OPERATION, ROLLOUT, ROLLOUT_CLASS, ROLLOUT_DEVICE, ROLLOUT_STAGE

_GONE = [outcome.value for outcome in (*GONE, DeviceOutcome.NOT_REACHED)]
_PARAMETERS = 500
"""Values in one IN list; SQLite's limit is far above."""


class RolloutRepository:
    """Rollouts over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # ---------------------------------------------------------------- rollouts

    async def add(self, rollout: StoredRollout) -> None:
        """Stores a new rollout."""
        await self._connection.execute(insert(ROLLOUT).values(**_values(rollout)))

    async def put(self, rollout: StoredRollout) -> None:
        """Stores what may change of a rollout."""
        values = _values(rollout)
        changing = ("paused", "ending", "ending_reason", "outcome", "reason", "finished_at")
        await self._connection.execute(
            update(ROLLOUT)
            .where(ROLLOUT.c.id == rollout.id)
            .values({name: values[name] for name in changing})
        )

    async def find(self, id_or_name: str) -> StoredRollout | None:
        """By id, or the newest of that name."""
        rows = await self._connection.execute(
            select(ROLLOUT)
            .where(or_(ROLLOUT.c.id == id_or_name, ROLLOUT.c.name == id_or_name))
            # an id first: a rollout may be named like the id of another
            .order_by((ROLLOUT.c.id == id_or_name).desc(), ROLLOUT.c.id.desc())
            .limit(1)
        )
        row = rows.one_or_none()
        return None if row is None else StoredRollout(**values_of(row))

    async def active(self) -> list[StoredRollout]:
        """Those that have not ended, oldest first."""
        rows = await self._connection.execute(
            select(ROLLOUT)
            .where(ROLLOUT.c.finished_at.is_(None))
            .order_by(ROLLOUT.c.created_at, ROLLOUT.c.id)
        )
        return [StoredRollout(**values_of(row)) for row in rows]

    async def unsettled(self) -> list[StoredRollout]:
        """Ended ones in which devices still are on the way, or have to come back from."""
        open_outcomes = [
            outcome.value
            for outcome in (
                DeviceOutcome.DOWNLOADING,
                DeviceOutcome.SHADOWING,
                DeviceOutcome.PROBATION,
                DeviceOutcome.SILENT,
            )
        ]
        bad = (ClassState.ROLLED_BACK.value, ClassState.ABORTED.value)
        rows = await self._connection.execute(
            select(ROLLOUT)
            .where(
                ROLLOUT.c.finished_at.is_not(None),
                select(ROLLOUT_DEVICE.c.device_id)
                .join(
                    ROLLOUT_CLASS,
                    and_(
                        ROLLOUT_CLASS.c.rollout_id == ROLLOUT_DEVICE.c.rollout_id,
                        ROLLOUT_CLASS.c.device_class == ROLLOUT_DEVICE.c.device_class,
                    ),
                )
                .where(
                    ROLLOUT_DEVICE.c.rollout_id == ROLLOUT.c.id,
                    or_(
                        ROLLOUT_DEVICE.c.outcome.in_(open_outcomes),
                        and_(
                            ROLLOUT_DEVICE.c.outcome == DeviceOutcome.COMMITTED.value,
                            ROLLOUT_CLASS.c.state.in_(bad),
                        ),
                    ),
                )
                .exists(),
            )
            .order_by(ROLLOUT.c.created_at, ROLLOUT.c.id)
        )
        return [StoredRollout(**values_of(row)) for row in rows]

    async def newest(self, limit: int) -> list[StoredRollout]:
        """The newest first."""
        rows = await self._connection.execute(select(ROLLOUT).order_by(ROLLOUT.c.id.desc()).limit(limit))
        return [StoredRollout(**values_of(row)) for row in rows]

    # ---------------------------------------------------------------- classes and stages

    async def classes(self, rollout_id: str) -> list[StoredClass]:
        """All classes of a rollout, by name."""
        rows = await self._connection.execute(
            select(ROLLOUT_CLASS)
            .where(ROLLOUT_CLASS.c.rollout_id == rollout_id)
            .order_by(ROLLOUT_CLASS.c.device_class)
        )
        return [_class(row) for row in rows]

    async def put_class(self, stored: StoredClass) -> None:
        """Stores one class."""
        values = _values(stored)
        changing = [name for name in values if name not in ("rollout_id", "device_class", "baseline")]
        await self._connection.execute(upsert(ROLLOUT_CLASS, changing).values(**values))

    async def add_stage(
        self, rollout_id: str, device_class: str, stage: int, cutoff: Cutoff, started_at: datetime
    ) -> None:
        """Stores the cutoff of a stage that begins: one row."""
        highest = None if cutoff.highest == cohort.NOBODY else cohort.to_signed(cutoff.highest)
        await self._connection.execute(
            insert_new(ROLLOUT_STAGE).values(
                rollout_id=rollout_id,
                device_class=device_class,
                stage=stage,
                highest=highest,
                admits=cutoff.admits,
                known_by=cutoff.known_by,
                started_at=started_at,
            )
        )

    async def cutoffs(self, rollout_id: str) -> dict[str, dict[int, Cutoff]]:
        """Class -> stage index -> its cutoff, for the stages begun so far."""
        rows = await self._connection.execute(
            select(ROLLOUT_STAGE)
            .where(ROLLOUT_STAGE.c.rollout_id == rollout_id)
            .order_by(ROLLOUT_STAGE.c.device_class, ROLLOUT_STAGE.c.stage)
        )
        found: dict[str, dict[int, Cutoff]] = {}
        for row in rows:
            highest = cohort.NOBODY if row.highest is None else cohort.from_signed(row.highest)
            found.setdefault(row.device_class, {})[row.stage] = Cutoff(highest, row.admits, row.known_by)
        return found

    # ---------------------------------------------------------------- devices

    async def devices(self, rollout_id: str, device_class: str | None = None) -> list[StoredDevice]:
        """Devices that took part, by id."""
        query = select(ROLLOUT_DEVICE).where(ROLLOUT_DEVICE.c.rollout_id == rollout_id)
        if device_class is not None:
            query = query.where(ROLLOUT_DEVICE.c.device_class == device_class)
        rows = await self._connection.execute(query.order_by(ROLLOUT_DEVICE.c.device_id))
        return [_device(row) for row in rows]

    async def devices_of(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], StoredDevice]:
        """Rows of (rollout id, device id) pairs."""
        by_rollout: dict[str, list[str]] = {}
        for rollout_id, device_id in keys:
            by_rollout.setdefault(rollout_id, []).append(device_id)
        found: dict[tuple[str, str], StoredDevice] = {}
        for rollout_id, devices in by_rollout.items():
            for start in range(0, len(devices), _PARAMETERS):
                rows = await self._connection.execute(
                    select(ROLLOUT_DEVICE).where(
                        ROLLOUT_DEVICE.c.rollout_id == rollout_id,
                        ROLLOUT_DEVICE.c.device_id.in_(devices[start : start + _PARAMETERS]),
                    )
                )
                for row in rows:
                    found[(rollout_id, row.device_id)] = _device(row)
        return found

    async def belongs(
        self, rollout: StoredRollout, device_id: str, device_class: str, joined_at: datetime
    ) -> bool:
        """Whether a stage begun so far takes the device in; only such a device may have been asked."""
        cutoffs = (await self.cutoffs(rollout.id)).get(device_class, {})
        place = cohort.position(rollout.salt, device_id)
        return any(cutoff.holds(place, joined_at) for cutoff in cutoffs.values())

    async def put_devices(self, devices: Sequence[StoredDevice]) -> None:
        """Stores device rows, new or changed."""
        if not devices:
            return
        values = [_values(device) for device in devices]
        changing = [name for name in values[0] if name not in ("rollout_id", "device_id")]
        await self._connection.execute(upsert(ROLLOUT_DEVICE, changing), values)

    async def taken(self, rollout_id: str) -> dict[str, int]:
        """Class -> devices that take part now (accepted and not gone)."""
        rows = await self._connection.execute(
            select(ROLLOUT_DEVICE.c.device_class, func.count())
            .where(ROLLOUT_DEVICE.c.rollout_id == rollout_id, ROLLOUT_DEVICE.c.outcome.not_in(_GONE))
            .group_by(ROLLOUT_DEVICE.c.device_class)
        )
        return {row[0]: row[1] for row in rows}

    # ---------------------------------------------------------------- what assignments look at

    async def standings(self, releases: Mapping[str, KnownRelease]) -> tuple[Standing, ...]:
        """Active rollouts, and ended ones that still have devices on the way or to be taken back."""
        found: list[Standing] = []
        for rollout in [*await self.active(), *await self.unsettled()]:
            cutoffs = await self.cutoffs(rollout.id)
            taken = await self.taken(rollout.id)
            classes = {
                stored.device_class: ClassStanding(
                    state=stored.state,
                    cutoffs=tuple(cutoffs.get(stored.device_class, {}).values()),
                    taken=taken.get(stored.device_class, 0),
                    baseline=stored.baseline,
                    leave=stored.leave,
                )
                for stored in await self.classes(rollout.id)
            }
            found.append(
                Standing(
                    id=rollout.id,
                    operation=rollout.operation,
                    salt=rollout.salt,
                    plan=rollout.plan,
                    release=releases[rollout.release_id],
                    created_at=rollout.created_at,
                    classes=classes,
                    paused=rollout.paused,
                )
            )
        return tuple(found)

    async def outcomes(self) -> dict[str, dict[str, DeviceOutcome]]:
        """Device -> rollout -> outcome, for the rollouts of `standings`."""
        wanted = [rollout.id for rollout in [*await self.active(), *await self.unsettled()]]
        found: dict[str, dict[str, DeviceOutcome]] = {}
        for rollout_id in wanted:
            rows = await self._connection.execute(
                select(ROLLOUT_DEVICE.c.device_id, ROLLOUT_DEVICE.c.outcome).where(
                    ROLLOUT_DEVICE.c.rollout_id == rollout_id
                )
            )
            for device_id, outcome in rows:
                found.setdefault(device_id, {})[rollout_id] = DeviceOutcome(outcome)
        return found

    # ---------------------------------------------------------------- baselines

    async def baselines(self, releases: Mapping[str, KnownRelease]) -> tuple[Baseline, ...]:
        """All baselines, oldest first."""
        rows = await self._connection.execute(select(BASELINE).order_by(BASELINE.c.since))
        return tuple(
            Baseline(
                slot=row.slot,
                match_labels=codec.decode(row.selector.encode(), dict[str, str], what="selector"),
                device_class=row.device_class,
                release=releases[row.release_id],
                since=row.since,
            )
            for row in rows
        )

    async def put_baseline(
        self,
        slot: str,
        match_labels: Mapping[str, str],
        device_class: str,
        release_id: str,
        rollout_id: str,
        since: datetime,
    ) -> None:
        """Sets the baseline of (slot, selector, class)."""
        await self._connection.execute(
            upsert(BASELINE, ("release_id", "rollout_id", "since")).values(
                slot=slot,
                selector=codec.encode(dict(match_labels)).decode(),
                device_class=device_class,
                release_id=release_id,
                rollout_id=rollout_id,
                since=since,
            )
        )

    # ---------------------------------------------------------------- idempotency

    async def answered(self, key: str) -> tuple[str, str] | None:
        """(sha256 of the request, answer) that was given for this idempotency key."""
        rows = await self._connection.execute(
            select(OPERATION.c.request_sha256, OPERATION.c.answer).where(OPERATION.c.key == key)
        )
        row = rows.one_or_none()
        return None if row is None else (row[0], row[1])

    async def remember(self, key: str, person: str, request_sha256: str, answer: str, at: datetime) -> None:
        """Keeps the answer for a repetition of the request."""
        await self._connection.execute(
            insert(OPERATION).values(
                key=key, person=person, request_sha256=request_sha256, answer=answer, at=at
            )
        )


def _values(stored: StoredRollout | StoredClass | StoredDevice) -> dict[str, Any]:
    """Column -> value; enumerations as their text."""
    found: dict[str, Any] = {}
    for field in fields(stored):
        value = getattr(stored, field.name)
        if isinstance(value, ClassState | DeviceOutcome | Stratum | HardStopKind):
            value = value.value
        found[field.name] = value
    return found


def _class(row: Row[Any]) -> StoredClass:
    values = values_of(row)
    values["state"] = ClassState(values["state"])
    return StoredClass(**values)


def _device(row: Row[Any]) -> StoredDevice:
    values = values_of(row)
    values["stratum"] = Stratum(values["stratum"])
    values["outcome"] = DeviceOutcome(values["outcome"])
    values["hard"] = None if values["hard"] is None else HardStopKind(values["hard"])
    return StoredDevice(**values)
