"""SQL of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Row

from modelfleet_core.wire.operator import Scope

from ..db.database import Connection
from ..db.rows import values_of
from .tables import TOKEN


@dataclass(frozen=True, slots=True)
class Token:
    """A token as stored; the secret itself is nowhere."""

    id: str
    kind: str
    name: str
    secret_sha256: str
    scope: Scope | None
    labels: dict[str, str]
    allow_override: bool
    created_at: datetime
    created_by: str
    expires_at: datetime
    max_uses: int
    uses: int
    revoked_at: datetime | None


class TokenRepository:
    """Tokens in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, token: Token) -> None:
        """Stores a new token."""
        values = {column.name: getattr(token, column.name) for column in TOKEN.columns}
        values["scope"] = None if token.scope is None else token.scope.value
        await self._connection.execute(insert(TOKEN).values(**values))

    async def by_secret(self, secret_sha256: str) -> Token | None:
        """The token of that hash."""
        row = (
            await self._connection.execute(select(TOKEN).where(TOKEN.c.secret_sha256 == secret_sha256))
        ).one_or_none()
        return None if row is None else _token(row)

    async def by_id(self, token_id: str) -> Token | None:
        """The token of that id."""
        row = (await self._connection.execute(select(TOKEN).where(TOKEN.c.id == token_id))).one_or_none()
        return None if row is None else _token(row)

    async def all(self) -> list[Token]:
        """Every token, newest first."""
        rows = await self._connection.execute(select(TOKEN).order_by(TOKEN.c.id.desc()))
        return [_token(row) for row in rows]

    async def any_api_token(self) -> bool:
        """Whether there has ever been a token for operators."""
        found = await self._connection.execute(select(TOKEN.c.id).where(TOKEN.c.kind == "api").limit(1))
        return found.first() is not None

    async def revoke(self, token_id: str, at: datetime) -> None:
        """Marks the token as revoked; an earlier mark stays."""
        await self._connection.execute(
            update(TOKEN).where(TOKEN.c.id == token_id, TOKEN.c.revoked_at.is_(None)).values(revoked_at=at)
        )

    async def spend(self, token_id: str) -> None:
        """Counts one use."""
        await self._connection.execute(
            update(TOKEN).where(TOKEN.c.id == token_id).values(uses=TOKEN.c.uses + 1)
        )


def _token(row: Row[tuple[object, ...]]) -> Token:
    fields = values_of(row)
    scope = fields.pop("scope")
    return Token(scope=None if scope is None else Scope(scope), **fields)
