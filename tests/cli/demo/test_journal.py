"""A kill is placed by a record that appears after the lookout began, as the agent writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.demo.journal import Lookout
from modelfleet_core.clock import ManualClock

OLD = b'0a1b {"seq":1,"kind":"slot","slot":"digits","state":"downloading","operation":"op1"}\n'
NEW = b'0a1b {"seq":2,"kind":"slot","slot":"digits","state":"switching","operation":"op2"}\n'


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "journal.log").write_bytes(OLD)
    return tmp_path


def append(folder: Path, data: bytes) -> None:
    with (folder / "journal.log").open("ab") as file:
        file.write(data)


def test_what_was_there_before_is_not_seen(journal: Path) -> None:
    assert not Lookout(journal).seen("downloading")


def test_a_new_record_is_seen(journal: Path) -> None:
    lookout = Lookout(journal)
    append(journal, NEW)
    assert lookout.seen("switching")
    assert not lookout.seen("probation")


def test_a_compacted_journal_is_read_from_its_start(journal: Path) -> None:
    append(journal, OLD * 10)
    lookout = Lookout(journal)
    (journal / "journal.log").write_bytes(NEW)
    assert lookout.seen("switching")


def test_waiting_has_a_limit(journal: Path) -> None:
    clock = ManualClock()
    assert not Lookout(journal).wait("switching", 0.01, clock)
    assert clock.monotonic() > 0.01
