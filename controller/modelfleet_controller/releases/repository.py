"""SQL of releases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.engine import Row

from modelfleet_core.release.manifest import Manifest

from ..db.database import Connection
from ..db.rows import values_of
from .tables import RELEASE


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """One row of `release`."""

    id: str
    name: str
    version: str
    manifest: Manifest
    bundles: dict[str, str]
    signed_by: tuple[str, ...]
    created_at: datetime
    pushed_at: datetime
    pushed_by: str


class ReleaseRepository:
    """Releases in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, release: StoredRelease) -> None:
        """Stores a new release."""
        await self._connection.execute(
            insert(RELEASE).values({c.name: getattr(release, c.name) for c in RELEASE.columns})
        )

    async def by_id(self, release_id: str) -> StoredRelease | None:
        """The release of that id."""
        query = select(RELEASE).where(RELEASE.c.id == release_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _release(row)

    async def by_reference(self, name: str, version: str) -> StoredRelease | None:
        """The release `name:version`."""
        query = select(RELEASE).where(RELEASE.c.name == name, RELEASE.c.version == version)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _release(row)

    async def all(self) -> tuple[StoredRelease, ...]:
        """Every release, newest first."""
        rows = await self._connection.execute(
            select(RELEASE).order_by(RELEASE.c.pushed_at.desc(), RELEASE.c.id)
        )
        return tuple(_release(row) for row in rows)


def _release(row: Row[tuple[object, ...]]) -> StoredRelease:
    return StoredRelease(**values_of(row))
