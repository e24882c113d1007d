"""Connections and transactions. One writer at a time; readers see the last committed state (WAL).

Semantics section 7: WAL, synchronous=FULL, BEGIN IMMEDIATE. A transaction is opened and committed at the
boundary of a request, a tick or a group commit, never inside a repository.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import event
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .errors import translated

Connection = AsyncConnection
"""What repositories get: a connection inside a transaction that somebody else commits."""

BUSY_TIMEOUT_MS: Final = 10_000
READERS: Final = 4


class Database:
    """The embedded SQLite database in one file.

    `write` transactions queue on a lock in this process, so SQLite never sees two of ours at once; the busy
    time-out covers other programs, such as a backup.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _engine(path, begin="BEGIN IMMEDIATE", size=1)
        self._reader = _engine(path, begin="BEGIN", size=READERS)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """A transaction that commits when the block ends well, and leaves nothing when it does not.

        Raises:
            WorldError: the disk is full or the database cannot be used.
        """
        async with self._lock, _transaction(self._writer) as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A consistent view of the last committed state."""
        async with _transaction(self._reader) as connection:
            yield connection

    async def close(self) -> None:
        """Ends all connections; transactions that are still open are rolled back."""
        await self._reader.dispose()
        await self._writer.dispose()


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[Connection]:
    try:
        async with engine.begin() as connection:
            yield connection
    except IntegrityError:
        raise  # a broken rule of ours, not of the world: repositories check before they write
    except DBAPIError as error:
        raise translated(error) from error


def _engine(path: Path, *, begin: str, size: int) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=size, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        prepare(connection)

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: SyncConnection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def prepare(connection: DBAPIConnection | sqlite3.Connection) -> None:
    """Sets up one SQLite connection: explicit transactions, WAL, full synchronisation, foreign keys."""
    # None = the driver opens no transactions of its own; ours begin by the event above
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
        "PRAGMA temp_store=MEMORY",
    ):
        cursor.execute(pragma)
    cursor.close()
