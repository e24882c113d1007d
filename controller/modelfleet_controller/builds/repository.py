"""SQL of builds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row

from modelfleet_core.wire.build import BuildFile, BuildOutcome, BuildProgress, BuildSpec, BuildState

from ..db.database import Connection
from ..db.rows import values_of
from .tables import BUILD

OPEN = (BuildState.QUEUED.value, BuildState.RUNNING.value)


@dataclass(frozen=True, slots=True)
class StoredBuild:
    """One row of `build`. `cancelled_by`: who asked for its end; while it runs, it is about to."""

    id: str
    state: BuildState
    spec: BuildSpec
    idempotency_key: str
    order_sha256: str
    created_at: datetime
    created_by: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancelled_by: str | None = None
    progress: BuildProgress = BuildProgress()
    outcome: BuildOutcome | None = None
    files: tuple[BuildFile, ...] = ()


class BuildRepository:
    """Builds in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, build: StoredBuild) -> None:
        """Stores a new build."""
        values = {column.name: getattr(build, column.name) for column in BUILD.columns}
        await self._connection.execute(insert(BUILD).values(values))

    async def get(self, build: str) -> StoredBuild | None:
        """The build of that id."""
        row = (await self._connection.execute(select(BUILD).where(BUILD.c.id == build))).one_or_none()
        return None if row is None else _stored(row)

    async def by_key(self, key: str) -> StoredBuild | None:
        """The build that was ordered with that idempotency key."""
        query = select(BUILD).where(BUILD.c.idempotency_key == key)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _stored(row)

    async def newest(self, count: int) -> tuple[StoredBuild, ...]:
        """The newest builds, newest first."""
        query = select(BUILD).order_by(BUILD.c.created_at.desc(), BUILD.c.id.desc()).limit(count)
        return tuple(_stored(row) for row in await self._connection.execute(query))

    async def unfinished(self) -> tuple[StoredBuild, ...]:
        """Those that are queued or running, oldest first."""
        query = select(BUILD).where(BUILD.c.state.in_(OPEN)).order_by(BUILD.c.created_at, BUILD.c.id)
        return tuple(_stored(row) for row in await self._connection.execute(query))

    async def waiting(self) -> int:
        """How many are queued."""
        query = select(func.count()).where(BUILD.c.state == BuildState.QUEUED.value)
        return int((await self._connection.execute(query)).scalar_one())

    async def begin(self, build: str, at: datetime) -> bool:
        """A queued build runs; False = it is queued no more."""
        changed = await self._connection.execute(
            update(BUILD)
            .where(BUILD.c.id == build, BUILD.c.state == BuildState.QUEUED.value)
            .values(state=BuildState.RUNNING.value, started_at=at)
        )
        return changed.rowcount == 1

    async def ask_cancel(self, build: str, person: str) -> None:
        """Somebody wants a running build to end; the first one stands."""
        await self._connection.execute(
            update(BUILD)
            .where(BUILD.c.id == build, BUILD.c.cancelled_by.is_(None))
            .values(cancelled_by=person)
        )

    async def finish(
        self,
        build: str,
        state: BuildState,
        at: datetime,
        progress: BuildProgress,
        outcome: BuildOutcome | None,
        files: tuple[BuildFile, ...],
    ) -> bool:
        """An open build is over; False = it was over before."""
        changed = await self._connection.execute(
            update(BUILD)
            .where(BUILD.c.id == build, BUILD.c.state.in_(OPEN))
            .values(state=state.value, finished_at=at, progress=progress, outcome=outcome, files=files)
        )
        return changed.rowcount == 1


def _stored(row: Row[tuple[object, ...]]) -> StoredBuild:
    values = values_of(row)
    state = BuildState(values.pop("state"))
    return StoredBuild(state=state, **values)
