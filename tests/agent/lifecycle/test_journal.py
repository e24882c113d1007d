"""The journal after truncation and corruption at every byte, after full disks, and across compactions."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.lifecycle import journal as journal_module
from modelfleet_agent.lifecycle import log as log_module
from modelfleet_agent.lifecycle.journal import MAX_PENDING, Journal
from modelfleet_agent.lifecycle.log import KEPT, MAX_RECORD, NAME, RESERVE, RecordLog, read, seal, unseal
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_core.clock import ManualClock
from modelfleet_core.errors import WorldError
from modelfleet_core.lifecycle.chain import Chain, Installed
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.event import DeviceEvent, EventKind

CLOCK = ManualClock()


def opened(folder: Path, seed: int = 0) -> Journal:
    return Journal(folder, CLOCK, Random(seed).randbytes)


def slot(state: State, release: str = "a") -> SlotRecord:
    return SlotRecord("digits", state, Chain(incumbent=Installed(release, f"digits:{release}", "v")))


def event(kind: EventKind = EventKind.ACCEPTED, reason: str = "") -> DeviceEvent:
    return DeviceEvent(0, CLOCK.now(), kind, "digits", "op", "a", reason=reason or None)


# The log: lines, checksums, damage.

RECORDS = [b'{"seq":%d,"state":"%s"}' % (n, b"x" * n) for n in range(1, 6)]
LOG = b"".join(seal(record) for record in RECORDS)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), min_size=1))
def test_a_sealed_record_opens_again(fields: dict[str, object]) -> None:
    record = json.dumps(fields).encode()
    line = seal(record)
    assert line.endswith(b"\n")
    assert unseal(line[:-1]) == record
    assert json.loads(line) == fields | {"crc": json.loads(line)["crc"]}


def test_the_checksum_is_what_the_guide_says() -> None:
    line = seal(b'{"seq":1}')
    assert line == b'{"seq":1,"crc":"%08x"}\n' % zlib.crc32(b'{"seq":1')


@pytest.mark.parametrize("end", range(len(LOG) + 1))
def test_truncation_at_every_byte_keeps_every_whole_record(end: int) -> None:
    found = read(LOG[:end])
    whole = LOG[:end].count(b"\n")
    assert list(found.records) == RECORDS[:whole]
    assert found.damaged == 0
    assert found.torn == len(LOG[:end]) - (LOG[:end].rfind(b"\n") + 1)


@pytest.mark.parametrize("at", range(len(LOG)))
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_corruption_at_every_byte_costs_only_the_records_it_touches(at: int, flip: int) -> None:
    data = bytearray(LOG)
    data[at] ^= flip
    found = read(bytes(data))
    line = LOG[:at].count(b"\n")
    hit = {line, line + 1} if LOG[at : at + 1] == b"\n" else {line}
    kept = [record for n, record in enumerate(RECORDS) if n not in hit]
    assert list(found.records) == kept
    assert found.damaged + (found.torn > 0) >= 1


@given(st.binary(max_size=300), st.integers(0, len(LOG)))
def test_garbage_is_never_taken_for_a_record(garbage: bytes, at: int) -> None:
    found = read(LOG[:at] + garbage + LOG[at:])
    assert set(found.records) <= set(RECORDS)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\0\n\0\n", b'{"seq":6,"crc":"00000000"}\n', b'{"seq'])
def test_a_null_filled_or_torn_tail_is_dropped(tail: bytes) -> None:
    assert list(read(LOG + tail).records) == RECORDS


def test_appended_records_are_there_after_reopening(tmp_path: Path) -> None:
    log = RecordLog.start(tmp_path, RECORDS[:1])
    for record in RECORDS[1:]:
        log.append(record)
    assert log.size == len(LOG) == (tmp_path / NAME).stat().st_size
    log.close()
    assert list(RecordLog.look(tmp_path)[0].records) == RECORDS


def test_a_record_must_fit_one_line(tmp_path: Path) -> None:
    log = RecordLog.start(tmp_path, [])
    for bad in (b"{}", b"[1]", b'{"a":1', b'{"a":\n1}', b'{"a":"%s"}' % (b"x" * MAX_RECORD)):
        with pytest.raises(ValueError, match="one JSON object"):
            log.append(bad)
    assert log.size == 0
    log.close()


# The journal: what is remembered.


def test_slots_and_events_survive(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.record(slot(State.VERIFYING), [event()])
    journal.record(slot(State.CLEANING), [event(EventKind.FAILED, "no"), event(EventKind.ALARM)])
    epoch = journal.epoch
    journal.close()
    again = opened(tmp_path, seed=99)
    assert again.epoch == epoch
    assert again.slot("digits") == slot(State.CLEANING)
    batch = again.batch()
    assert batch is not None
    assert [(e.sequence, e.kind) for e in batch.events] == [
        (1, EventKind.ACCEPTED),
        (2, EventKind.FAILED),
        (3, EventKind.ALARM),
    ]
    again.record(slot(State.IDLE), [event()])
    assert [e.sequence for e in (again.batch() or batch).events] == [1, 2, 3, 4]
    again.close()


def test_delivered_events_are_forgotten_for_good(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.record(slot(State.VERIFYING), [event(), event(), event()])
    journal.delivered(journal.epoch, 2)
    journal.delivered("ob_other", 3)
    assert journal.pending == 1
    journal.close()
    again = opened(tmp_path)
    batch = again.batch()
    assert batch is not None
    assert [e.sequence for e in batch.events] == [3]
    again.delivered(again.epoch, 3)
    assert again.batch() is None
    again.record(slot(State.IDLE), [event()])
    batch = again.batch()
    assert batch is not None
    assert [e.sequence for e in batch.events] == [4]
    again.close()


def test_sequences_go_on_after_everything_was_delivered_and_compacted(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.record(slot(State.VERIFYING), [event(), event()])
    journal.delivered(journal.epoch, 2)
    journal.close()
    for _ in range(3):
        opened(tmp_path).close()
    again = opened(tmp_path)
    again.record(slot(State.IDLE), [event()])
    batch = again.batch()
    assert batch is not None
    assert batch.events[0].sequence == 3
    again.close()


def lines(folder: Path) -> list[bytes]:
    return (folder / NAME).read_bytes().splitlines(keepends=True)


def story(folder: Path) -> list[tuple[State, int]]:
    """Writes a story and gives state and number of events after each line of the file."""
    journal = opened(folder)
    for n, state in enumerate([State.VERIFYING, State.RESERVING, State.DOWNLOADING, State.CHECKING]):
        journal.record(slot(state, f"r{n}"), [event(reason=f"e{n}")])
    journal.close()
    told: list[tuple[State, int]] = []
    state, events = State.IDLE, 0
    for line in lines(folder):
        record = json.loads(line)
        state = State(record["state"]) if record["kind"] == "slot" else state
        events += len(record["events"])
        told.append((state, events))
    return told


def test_a_crash_at_any_byte_leaves_the_last_whole_record(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    told = story(tmp_path / "full")
    data = (tmp_path / "full" / NAME).read_bytes()
    first = len(lines(tmp_path / "full")[0])
    breaks = [at + d for at, byte in enumerate(data) if byte == ord("\n") for d in (0, 1)]
    for end in sorted({*range(first, len(data) + 1, 37), *breaks[1:]}):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / NAME).write_bytes(data[:end])
        journal = opened(folder)
        state, events = told[data[:end].count(b"\n") - 1]
        assert journal.slot("digits").state is state
        assert journal.pending == events
        assert journal.damaged == 0
        journal.close()
        assert opened(folder).slot("digits").state is state


@given(st.data())
def test_damage_anywhere_never_stops_the_agent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    story(folder)
    raw = bytearray((folder / NAME).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    (folder / NAME).write_bytes(bytes(raw))
    journal = opened(folder)
    states = [State.IDLE, State.VERIFYING, State.RESERVING, State.DOWNLOADING, State.CHECKING]
    assert journal.slot("digits").state in states
    assert journal.pending <= 4
    journal.record(slot(State.IDLE), [event()])
    journal.close()
    assert opened(folder).slot("digits").state is State.IDLE


def test_damage_to_an_acknowledged_record_starts_a_new_epoch(tmp_path: Path) -> None:
    story(tmp_path)
    before = opened(tmp_path)
    epoch = before.epoch
    before.close()
    raw = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(raw.replace(b'"reason":"e3"', b'"reason":"xx"'))
    journal = opened(tmp_path, seed=7)
    assert journal.damaged
    assert journal.epoch != epoch
    batch = journal.batch()
    if batch is not None:
        assert [e.sequence for e in batch.events] == list(range(1, len(batch.events) + 1))
    journal.close()


def test_an_unreadable_log_falls_back_to_the_one_before(tmp_path: Path) -> None:
    story(tmp_path)
    opened(tmp_path).close()  # compacts: the story is now in journal.old
    (tmp_path / NAME).write_bytes(b"\0" * 100)
    journal = opened(tmp_path, seed=3)
    assert journal.slot("digits").state is State.CHECKING
    assert journal.damaged
    journal.close()


def test_records_of_another_version_are_skipped(tmp_path: Path) -> None:
    story(tmp_path)
    with (tmp_path / NAME).open("ab") as file:
        file.write(seal(b'{"seq":90,"something":"else"}'))
    journal = opened(tmp_path)
    assert journal.slot("digits").state is State.CHECKING
    journal.close()


def test_the_log_stays_small_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_ABOVE", 4_000)
    journal = opened(tmp_path)
    largest = 0
    for n in range(300):
        journal.record(slot(State.VERIFYING, f"r{n}"), [event()])
        journal.delivered(journal.epoch, n)
        largest = max(largest, (tmp_path / NAME).stat().st_size)
    assert largest < 12_000
    seqs = [json.loads(line)["seq"] for line in lines(tmp_path)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) > 2
    journal.close()
    again = opened(tmp_path)
    assert again.slot("digits") == slot(State.VERIFYING, "r299")
    assert [e.sequence for e in (again.batch() or pytest.fail("lost")).events] == [300]
    assert json.loads(lines(tmp_path)[0])["seq"] > seqs[-1]
    again.close()


def test_the_outbox_is_bounded_and_drops_the_oldest(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    first = journal.epoch
    for n in range(9):
        journal.record(slot(State.IDLE), [event(reason=f"{n}.{m} " + "x" * 290) for m in range(512)])
        assert journal.pending <= MAX_PENDING
    assert journal.epoch != first
    journal.close()
    again = opened(tmp_path)
    batch = again.batch(MAX_PENDING)
    assert batch is not None
    assert [e.sequence for e in batch.events] == list(range(1, len(batch.events) + 1))
    assert (batch.events[-1].reason or "").startswith("8.511 ")
    assert len(batch.events) >= MAX_PENDING // 2
    again.close()


def test_a_renewed_outbox_keeps_what_is_not_delivered(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.record(slot(State.VERIFYING), [event(reason=name) for name in "abc"])
    journal.delivered(journal.epoch, 1)
    before = journal.epoch
    journal.renew()
    journal.close()
    again = opened(tmp_path)
    batch = again.batch()
    assert batch is not None
    assert batch.epoch == again.epoch != before
    assert [(e.sequence, e.reason) for e in batch.events] == [(1, "b"), (2, "c")]
    again.close()


# Full disks.


class FullDisk:
    """os.write that fails with ENOSPC after half of what it is given, while `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.full:
            return self._write(descriptor, data)
        self._write(descriptor, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)
    journal = opened(tmp_path)
    journal.record(slot(State.VERIFYING), [event()])
    (tmp_path / RESERVE).unlink()
    before = (tmp_path / NAME).read_bytes()
    disk.full = True
    with pytest.raises(WorldError, match="MF-5001"):
        journal.record(slot(State.RESERVING), [event()])
    assert (tmp_path / NAME).read_bytes() == before
    assert journal.slot("digits").state is State.VERIFYING
    assert journal.pending == 1
    disk.full = False
    journal.record(slot(State.RESERVING), [event()])
    journal.close()
    again = opened(tmp_path)
    assert again.slot("digits").state is State.RESERVING
    assert [e.sequence for e in (again.batch() or pytest.fail("lost")).events] == [1, 2]
    again.close()


def test_the_reserve_is_given_up_for_what_must_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    assert (tmp_path / RESERVE).stat().st_size == log_module.RESERVE_BYTES
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if (tmp_path / RESERVE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    journal.record(slot(State.ROLLING_BACK))
    assert journal.slot("digits").state is State.ROLLING_BACK
    assert not (tmp_path / RESERVE).exists()
    journal.close()


def test_the_agent_starts_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story(tmp_path)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"seq":99,"torn')
    disk = FullDisk(monkeypatch)
    disk.full = True
    journal = opened(tmp_path)
    assert journal.slot("digits").state is State.CHECKING
    disk.full = False
    journal.record(slot(State.LOADING))
    journal.close()
    assert not (tmp_path / f"{NAME}.partial").exists()
    again = opened(tmp_path)
    assert again.slot("digits").state is State.LOADING
    again.close()


def test_the_log_before_is_kept(tmp_path: Path) -> None:
    story(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    opened(tmp_path).close()
    assert (tmp_path / KEPT).read_bytes() == before
