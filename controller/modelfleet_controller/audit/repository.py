"""SQL of the decision log."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.engine import Row

from modelfleet_core.wire.operator import DecisionView

from ..db.database import Connection
from ..db.rows import values_of
from .tables import DECISION


class AuditRepository:
    """The decision log in the database; rows are added and read, never changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def last(self) -> DecisionView | None:
        """The newest link."""
        query = select(DECISION).order_by(DECISION.c.sequence.desc()).limit(1)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _decision(row)

    async def add(self, decision: DecisionView) -> None:
        """Appends a link."""
        await self._connection.execute(
            insert(DECISION).values(
                sequence=decision.sequence,
                at=decision.at,
                rollout_id=decision.rollout,
                device_class=decision.device_class,
                action=decision.action,
                person=decision.person,
                sentence=decision.sentence,
                body=decision.body,
                previous=decision.previous,
                hash=decision.hash,
            )
        )

    async def page(self, rollout: str | None, after: int, limit: int) -> tuple[DecisionView, ...]:
        """Links above sequence `after`, oldest first, of one rollout or of all."""
        query = select(DECISION).where(DECISION.c.sequence > after)
        if rollout is not None:
            query = query.where(DECISION.c.rollout_id == rollout)
        rows = await self._connection.execute(query.order_by(DECISION.c.sequence).limit(limit))
        return tuple(_decision(row) for row in rows)


def _decision(row: Row[tuple[object, ...]]) -> DecisionView:
    fields = values_of(row)
    return DecisionView(rollout=fields.pop("rollout_id"), **fields)
