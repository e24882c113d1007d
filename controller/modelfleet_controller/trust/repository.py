"""SQL of release keys and of the one row about the controller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from ..db.database import Connection
from ..db.dialect import insert_new
from .tables import CONTROLLER, RELEASE_KEY


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """A public key that may sign releases (PEM, ECDSA P-256)."""

    hint: str
    pem: str
    added_at: datetime
    added_by: str


@dataclass(frozen=True, slots=True)
class Self:
    """The controller's row: its name in signatures, and the global assignment revision."""

    audience: str
    revision: int


class TrustRepository:
    """Keys and the controller's own row."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_release_key(self, key: ReleaseKey) -> bool:
        """Stores a key; False = it was known."""
        result = await self._connection.execute(
            insert_new(RELEASE_KEY).values(
                hint=key.hint, pem=key.pem, added_at=key.added_at, added_by=key.added_by
            )
        )
        return result.rowcount == 1

    async def release_keys(self) -> tuple[ReleaseKey, ...]:
        """All release keys, oldest first."""
        rows = await self._connection.execute(
            select(RELEASE_KEY).order_by(RELEASE_KEY.c.added_at, RELEASE_KEY.c.hint)
        )
        return tuple(ReleaseKey(row.hint, row.pem, row.added_at, row.added_by) for row in rows)

    async def self(self) -> Self | None:
        """The controller's row, or None before the first start."""
        row = (await self._connection.execute(select(CONTROLLER))).one_or_none()
        return None if row is None else Self(row.audience, row.revision)

    async def found(self, audience: str, at: datetime) -> None:
        """Writes the controller's row at the first start."""
        await self._connection.execute(
            insert(CONTROLLER).values(id=1, audience=audience, revision=1, created_at=at)
        )

    async def raise_revision(self) -> int:
        """The next global assignment revision (semantics section 4)."""
        await self._connection.execute(update(CONTROLLER).values(revision=CONTROLLER.c.revision + 1))
        return int((await self._connection.execute(select(CONTROLLER.c.revision))).scalar_one())
