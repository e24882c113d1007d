"""Brings the database to this program's schema at the start: backup copy first, and never a guess.

A database of a newer or foreign schema is refused untouched. Upgrades only go forward; to go back, start
the older program on the backup copy.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

from .database import prepare
from .errors import translated


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What happened: schema before (None = a fresh database) and after, and the backup if one was made."""

    before: str | None
    after: str
    backup: Path | None


def upgrade(path: Path) -> Upgraded:
    """Upgrades the SQLite database in `path`, or makes it.

    Raises:
        CallerError: MF-1660, its schema is not known to this program.
        WorldError: the disk is full or the file cannot be used.
    """
    scripts = ScriptDirectory.from_config(_config(None))
    head = scripts.get_current_head()
    assert head is not None
    try:
        before = _revision(path)
        if before == head:
            return Upgraded(before, head, None)
        known = {script.revision for script in scripts.walk_revisions()}
        if before is not None and before not in known:
            raise CallerError(
                Code.SCHEMA_NEWER,
                f"{path} has schema {before}, this program knows up to {head}",
                expected="a database of this version or an older one",
                todo="start the newer program again, or restore the backup that it made beside the database",
            )
        backup = None if before is None else _backup(path, before)
        with _connected(path) as connection:
            command.upgrade(_config(connection), "head")
            connection.commit()
    except DBAPIError as error:
        raise translated(error) from error
    return Upgraded(before, head, backup)


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision(path: Path) -> str | None:
    """Schema of the file; None = there is no database yet.

    Raises:
        CallerError: MF-1660, it is a database of somebody else.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with _connected(path) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found is None and connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first():
            raise CallerError(
                Code.SCHEMA_NEWER,
                f"{path} is a database without a schema of ours",
                expected="a database that Modelfleet made",
                todo="name another data directory",
            )
        return found


def _backup(path: Path, revision: str) -> Path:
    """A whole copy beside the database, made by SQLite itself, on disk before anything changes."""
    target = path.with_name(f"{path.stem}.{revision}.backup.db")
    beside = target.with_suffix(".partial")
    beside.unlink(missing_ok=True)
    source = sqlite3.connect(path)
    copy = sqlite3.connect(beside)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(target)
    return target


def _connected(path: Path) -> Connection:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        prepare(connection)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine.connect()
