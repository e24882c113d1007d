"""The decision log: a chain that shows every change of it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_controller.audit.repository import AuditRepository
from modelfleet_controller.audit.service import GENESIS, Entry, append, broken_at
from modelfleet_core.wire.operator import DecisionView

from .kit import START, Rig, in_loop, rig


async def write(one: Rig, count: int) -> tuple[DecisionView, ...]:
    for index in range(count):
        async with one.controller.database.write() as connection:
            evidence = {"effect": 0.18, "devices": ["dev_1", "dev_2"], "index": index}
            entry = Entry(
                START, f"ro_{index % 2}", "arm-litert", "promote", "anna", f"PROMOTED {index}", evidence
            )
            await append(connection, entry)
    async with one.controller.database.read() as connection:
        return await AuditRepository(connection).page(None, 0, 1000)


@in_loop
async def test_links_are_bound_to_each_other(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        chain = await write(one, 4)
        assert [link.sequence for link in chain] == [1, 2, 3, 4]
        assert chain[0].previous == GENESIS
        assert [link.previous for link in chain[1:]] == [link.hash for link in chain[:-1]]
        assert '"effect":0.18' in chain[2].body
        assert broken_at(chain) is None
        answer = await one.call("GET", "/v1/audit?rollout=ro_1&after=1", expect=200)
        assert [item["sequence"] for item in answer.json()["items"]] == [2, 4]


@in_loop
async def test_a_changed_link_is_found(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        chain = await write(one, 4)
        link = chain[1]
        for changed in (
            replace(link, sentence="ROLLED BACK 2"),
            replace(link, person="eve"),
            replace(link, rollout="ro_9"),
            replace(link, body=link.body.replace("0.18", "0.01")),
            replace(link, hash="0" * 64),
            replace(link, previous="0" * 64),
        ):
            assert changed != link
            assert broken_at((chain[0], changed, *chain[2:])) == 2
        assert broken_at((chain[0], *chain[2:])) == 2


@in_loop
async def test_a_decision_and_its_link_are_one_transaction(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await write(one, 1)

        async def failing() -> None:
            async with one.controller.database.write() as connection:
                await append(connection, Entry(START, "ro_1", "", "abort", "anna", "ABORTED"))
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await failing()
        chain = await write(one, 1)
        assert [link.sequence for link in chain] == [1, 2]
        assert broken_at(chain) is None
    rows = sqlite3.connect(tmp_path / "modelfleet.db").execute("SELECT count(*) FROM decision").fetchone()
    assert rows == (2,)
