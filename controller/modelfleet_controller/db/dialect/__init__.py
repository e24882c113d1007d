"""Where databases differ. SQLite alone in this version; the same functions will fork for PostgreSQL here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import Insert, insert


def upsert(table: Table, changing: Sequence[str]) -> Insert:
    """INSERT that updates the columns `changing` where a row of the same primary key exists."""
    return _upsert(table, tuple(changing))


@cache
def insert_new(table: Table) -> Insert:
    """INSERT that leaves an existing row of the same primary key alone."""
    return insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key.columns))


@cache
def _upsert(table: Table, changing: tuple[str, ...]) -> Insert:
    """Statements are immutable and building one costs more than running it: each is built once."""
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in changing},
    )
