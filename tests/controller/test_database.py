"""The schema's history, the backup, transactions, group commit, a full disk, a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from modelfleet_controller.db.database import Connection, Database
from modelfleet_controller.db.group_commit import GroupCommit, Lane
from modelfleet_controller.db.schema import complete
from modelfleet_controller.db.upgrade import _config, _connected, upgrade
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from .kit import in_loop
from .test_blob_store import largest_file

HEAD = "0003"


def execute(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def fill(path: Path, table: str, **known: object) -> None:
    """Insert a row in which every key is `x` and whatever must be there is."""
    row: dict[str, object] = {}
    for _, name, kind, needed, _, key in execute(path, f"PRAGMA table_info({table})"):
        if needed or key or name in known:
            row[str(name)] = known.get(str(name), "x" if "CHAR" in str(kind) or kind == "TEXT" else 1)
    columns, values = ", ".join(row), ", ".join(repr(value) for value in row.values())
    execute(path, f"INSERT INTO {table} ({columns}) VALUES ({values})")


def database(folder: Path) -> Database:
    upgrade(folder / "modelfleet.db")
    return Database(folder / "modelfleet.db")


# ------------------------------------------------------------------------------------------- schema


def test_a_fresh_database_has_the_schema_of_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    done = upgrade(path)
    assert (done.before, done.after, done.backup) == (None, HEAD, None)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        different = [d for d in compare_metadata(context, complete()) if "Json" not in repr(d)]
    engine.dispose()
    assert different == []
    assert upgrade(path).before == HEAD


def test_an_older_schema_is_copied_before_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    upgrade(path)
    execute(path, "INSERT INTO controller (id, audience, revision, created_at) VALUES (1, 'kept', 7, 0)")
    execute(path, "DELETE FROM alembic_version")
    execute(path, "INSERT INTO alembic_version VALUES ('0000')")
    with pytest.raises(CallerError) as refused:
        upgrade(path)  # a schema that this program does not know: untouched
    assert refused.value.code is Code.SCHEMA_NEWER
    assert execute(path, "SELECT audience FROM controller") == [("kept",)]
    assert [p.name for p in tmp_path.iterdir() if "backup" in p.name] == []


def test_golden_results_of_the_first_schema_become_scores(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    with _connected(path) as connection:
        command.upgrade(_config(connection), "0001")
        connection.commit()
    for table in ("release", "device", "rollout", "rollout_device"):
        fill(path, table, golden_total=64, golden_right=48)
    assert execute(path, "PRAGMA foreign_key_check") == []
    done = upgrade(path)
    assert (done.before, done.after) == ("0001", HEAD)
    assert done.backup is not None
    row = execute(path, "SELECT golden_right, typeof(golden_right), golden_total FROM rollout_device")
    assert row == [(48.0, "real", 64)]


def test_the_second_schema_gets_builds_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    with _connected(path) as connection:
        command.upgrade(_config(connection), "0002")
        connection.commit()
    fill(path, "controller", id=1, audience="kept")
    done = upgrade(path)
    assert (done.before, done.after, done.backup is not None) == ("0002", HEAD, True)
    assert execute(path, "SELECT audience FROM controller") == [("kept",)]
    fill(path, "build", id="bld_1")
    with pytest.raises(sqlite3.IntegrityError, match="idempotency_key"):
        fill(path, "build", id="bld_2")


def test_the_backup_is_whole(tmp_path: Path) -> None:
    from modelfleet_controller.db.upgrade import _backup

    path = tmp_path / "modelfleet.db"
    upgrade(path)
    execute(path, "INSERT INTO controller (id, audience, revision, created_at) VALUES (1, 'kept', 7, 0)")
    copy = _backup(path, HEAD)
    assert execute(copy, "SELECT audience, revision FROM controller") == [("kept", 7)]
    assert execute(copy, "PRAGMA integrity_check") == [("ok",)]


def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    upgrade(path)
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(CallerError) as refused:
        upgrade(path)
    assert refused.value.code is Code.SCHEMA_NEWER
    assert "9999" in refused.value.happened
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "modelfleet.db"
    execute(path, "CREATE TABLE recipes (name TEXT)")
    with pytest.raises(CallerError) as refused:
        upgrade(path)
    assert refused.value.code is Code.SCHEMA_NEWER


@in_loop
async def test_durability_settings(tmp_path: Path) -> None:
    one = database(tmp_path)
    for use in (one.write, one.read):
        async with use() as connection:
            found = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert found == ["wal", 2, 1]
    await one.close()


# ------------------------------------------------------------------------------------- transactions


async def add(connection: Connection, number: int) -> None:
    await connection.execute(
        text("INSERT INTO release_key (hint, pem, added_at, added_by) VALUES (:n, 'x', 0, 'x')"),
        {"n": str(number)},
    )


async def numbers(one: Database) -> list[int]:
    async with one.read() as connection:
        rows = await connection.execute(text("SELECT hint FROM release_key"))
        return sorted(int(row[0]) for row in rows)


@in_loop
async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    one = database(tmp_path)

    async def failing() -> None:
        async with one.write() as connection:
            await add(connection, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert await numbers(one) == []
    await one.close()


@in_loop
async def test_readers_do_not_see_what_is_not_committed_and_do_not_wait(tmp_path: Path) -> None:
    one = database(tmp_path)
    async with one.write() as connection:
        await add(connection, 1)
        assert await numbers(one) == []
    assert await numbers(one) == [1]
    await one.close()


@in_loop
async def test_writers_queue(tmp_path: Path) -> None:
    one = database(tmp_path)

    async def work(number: int) -> None:
        async with one.write() as connection:
            await add(connection, number)
            await asyncio.sleep(0)

    await asyncio.gather(*[work(number) for number in range(20)])
    assert await numbers(one) == list(range(20))
    await one.close()


@in_loop
async def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    one = database(tmp_path)
    async with one.write() as connection:
        await add(connection, 1)

    async def write(number: int) -> None:
        async with one.write() as connection:
            await add(connection, number)

    with largest_file(1024), pytest.raises(WorldError) as refused:
        await write(2)
    assert refused.value.code is Code.DISK_FULL
    await write(3)
    assert await numbers(one) == [1, 3]
    await one.close()


def test_what_was_committed_survives_a_kill_and_the_rest_is_gone(tmp_path: Path) -> None:
    one = tmp_path / "modelfleet.db"
    upgrade(one)

    async def dying() -> None:
        crashing = Database(one)
        async with crashing.write() as connection:
            await add(connection, 1)
        async with crashing.write() as connection:
            await add(connection, 2)
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        asyncio.run(dying())
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])

    async def after() -> list[int]:
        again = Database(one)
        found = await numbers(again)
        await again.close()
        return found

    assert asyncio.run(after()) == [1]


# ------------------------------------------------------------------------------------- group commit


class Recorder:
    """A lane that stores numbers; 13 is refused. Notes how large its batches were."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.heard: list[int] = []
        self.lane = Lane("numbers", self.handle, lambda item, answer: self.heard.append(item))

    async def handle(self, connection: Connection, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(len(items))
        for item in items:
            await add(connection, item)
            if item == 13:
                raise CallerError(Code.BODY_INVALID, "thirteen", expected="another", todo="another")
        return [item * 2 for item in items]


@in_loop
async def test_many_items_share_a_commit(tmp_path: Path) -> None:
    one, recorder = database(tmp_path), Recorder()
    commits = GroupCommit(one)
    running = asyncio.create_task(commits.run())
    answers = await asyncio.gather(*[commits.submit(recorder.lane, n) for n in range(10)])
    assert answers == [n * 2 for n in range(10)]
    assert recorder.batches == [10]
    assert commits.batches == 1
    assert recorder.heard == list(range(10))
    assert await numbers(one) == list(range(10))
    commits.close()
    await running
    await one.close()


@in_loop
async def test_a_bad_item_spoils_no_other(tmp_path: Path) -> None:
    one, recorder = database(tmp_path), Recorder()
    commits = GroupCommit(one)
    running = asyncio.create_task(commits.run())
    answers = await asyncio.gather(
        *[commits.submit(recorder.lane, n) for n in (11, 12, 13, 14)], return_exceptions=True
    )
    assert [answers[0], answers[1], answers[3]] == [22, 24, 28]
    assert isinstance(answers[2], CallerError)
    assert await numbers(one) == [11, 12, 14]
    assert sorted(recorder.heard) == [11, 12, 14]
    commits.close()
    await running
    await one.close()


@in_loop
async def test_the_answer_comes_after_the_commit(tmp_path: Path) -> None:
    one, recorder = database(tmp_path), Recorder()
    commits = GroupCommit(one)
    running = asyncio.create_task(commits.run())
    await commits.submit(recorder.lane, 5)
    # another connection, as after a crash: what was answered is there
    assert execute(one.path, "SELECT hint FROM release_key") == [("5",)]
    commits.close()
    await running
    await one.close()


@in_loop
async def test_what_was_submitted_is_written_at_the_end(tmp_path: Path) -> None:
    one, recorder = database(tmp_path), Recorder()
    commits = GroupCommit(one)
    waiting = asyncio.create_task(commits.submit(recorder.lane, 6))
    await asyncio.sleep(0)
    commits.close()
    await commits.run()
    assert await waiting == 12
    with pytest.raises(RuntimeError):
        await commits.submit(recorder.lane, 7)
    await one.close()


@in_loop
async def test_a_caller_that_goes_away_does_not_stop_the_write(tmp_path: Path) -> None:
    one, recorder = database(tmp_path), Recorder()
    commits = GroupCommit(one)
    waiting = asyncio.create_task(commits.submit(recorder.lane, 8))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    commits.close()
    await commits.run()
    assert await numbers(one) == [8]
    await one.close()
