"""Check-ins, events and reports: order, exactly once, wrong clocks, revocation, and a network that comes
and goes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from modelfleet_agent.board import Board
from modelfleet_agent.identity.identity import Enrolled, load
from modelfleet_agent.identity.keys import FileKey
from modelfleet_agent.lifecycle.journal import Journal
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_agent.outbox.reports import ReportSpool
from modelfleet_agent.state.folder import StateFolder, prepare
from modelfleet_agent.uplink.backoff import Backoff
from modelfleet_agent.uplink.client import ControllerClient, CorrectedClock
from modelfleet_agent.uplink.courier import REFUSED_POLL_S, Courier
from modelfleet_agent.uplink.director import Director
from modelfleet_agent.uplink.enroll import Order, enroll
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, WorldError
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.wire.checkin import SlotStatus
from modelfleet_core.wire.director import Mode, SlotAssignment
from modelfleet_core.wire.event import DeviceEvent, EventKind
from modelfleet_core.wire.report import Report

from tests.agent.fakes import FACTS, FakeController, entropy


def assignment(operation: str = "op-1", **changes: object) -> SlotAssignment:
    base = SlotAssignment("digits", operation, "a" * 64, "digits:1", "x86.fp32", "b" * 64, Mode.SHADOW)
    return replace(base, **changes)  # type: ignore[arg-type]


def event(kind: EventKind = EventKind.ACCEPTED) -> DeviceEvent:
    return DeviceEvent(0, datetime.fromisoformat("2026-01-01T00:00:00Z"), kind, "digits", "op-1", "a" * 64)


def report(window: int) -> Report:
    return Report(window, 60.0, "digits", "op-1", "a" * 64, None, Mode.SHADOW)


@dataclass
class Device:
    """One enrolled device, its threads run by hand."""

    folder: StateFolder
    controller: FakeController
    clock: ManualClock
    enrolled: Enrolled
    corrected: CorrectedClock
    journal: Journal
    spool: ReportSpool
    director: Director
    board: Board
    courier: Courier
    arrived: threading.Event


def started(folder: StateFolder, controller: FakeController, clock: ManualClock, seed: int = 3) -> Device:
    enrolled = load(folder, FileKey(folder.key, entropy()))
    corrected = CorrectedClock(clock)
    client = ControllerClient(
        controller, enrolled.identity.device, enrolled.signer, enrolled.policy, corrected, entropy(seed)
    )
    journal = Journal(folder.journal, clock, entropy(seed + 1))
    spool = ReportSpool(folder.outbox / "reports")
    director = Director(folder, enrolled.identity.device, enrolled.policy, corrected)
    board, arrived = Board(FACTS), threading.Event()
    courier = Courier(
        client,
        journal,
        spool,
        director,
        board,
        clock=corrected,
        entropy=entropy(seed + 2),
        boot_id="boot",
        agent_version="0.1.0",
        poll_floor_s=1.0,
        arrived=arrived.set,
    )
    return Device(
        folder, controller, clock, enrolled, corrected, journal, spool, director, board, courier, arrived
    )


def again(device: Device) -> Device:
    """The same device after its agent was killed and started."""
    device.journal.close()
    return started(device.folder, device.controller, device.clock, seed=20)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    controller, folder, clock = FakeController(), prepare(tmp_path), ManualClock()
    enroll(
        folder,
        Order("http://127.0.0.1:1", controller.token, controller.trust_bytes(), "press 7"),
        FACTS,
        keys=FileKey(folder.key, entropy(1)),
        transport_of=lambda ca: controller,
        clock=clock,
        entropy=entropy(2),
    )
    controller.requests.clear()
    return started(folder, controller, clock)


def paths(device: Device) -> list[str]:
    return [request.path.rpartition("/")[2] for request in device.controller.requests]


def tick(device: Device, seconds: float) -> float:
    """Both clocks move on; one round."""
    device.clock.advance(seconds)
    device.controller.clock.advance(seconds)
    return device.courier.round()


def test_the_first_check_in_brings_facts_and_a_statement(device: Device) -> None:
    device.board.put_slots((SlotStatus("digits", "idle"),))
    device.controller.assign(assignment())
    assert device.courier.round() == 60.0
    assert device.director.statement is not None
    assert device.director.statement.slots == (assignment(),)
    assert device.director.revision == 2
    assert device.director.holds()
    assert device.arrived.is_set()
    (said,) = device.controller.checkins
    assert said.facts == FACTS
    assert said.slots == (SlotStatus("digits", "idle"),)
    assert said.outbox_epoch == device.journal.epoch
    assert device.board.uplink.last_contact == device.clock.now()


def test_an_unchanged_assignment_is_answered_204_and_facts_are_not_repeated(device: Device) -> None:
    device.courier.round()
    device.arrived.clear()
    assert tick(device, 59.9) == pytest.approx(0.1)
    assert len(device.controller.checkins) == 1
    tick(device, 0.2)
    assert len(device.controller.checkins) == 2
    assert "If-None-Match" in device.controller.requests[-1].headers
    assert device.controller.checkins[1].facts is None
    assert not device.arrived.is_set()


def test_changed_facts_are_told_and_small_changes_of_free_space_are_not(device: Device) -> None:
    device.courier.round()
    device.board.put_facts(replace(FACTS, free_disk_bytes=1000))
    tick(device, 61)
    assert device.controller.checkins[1].facts is None
    device.board.put_facts(replace(FACTS, cpus=64))
    tick(device, 61)
    told = device.controller.checkins[2].facts
    assert told is not None
    assert told.cpus == 64


@pytest.mark.parametrize(("asked", "obeyed"), [(5.0, 5.0), (0.01, 1.0), (1e6, 86_400.0)])
def test_the_controller_says_how_often_within_limits(device: Device, asked: float, obeyed: float) -> None:
    device.controller.poll_s = asked
    assert device.courier.round() == obeyed
    assert device.board.uplink.poll_s == obeyed


def test_an_expired_statement_is_replaced_whatever_the_etag(device: Device) -> None:
    device.controller.life_s = 100.0
    device.courier.round()
    assert device.director.holds()
    tick(device, 101)
    assert "If-None-Match" not in device.controller.requests[-1].headers
    assert device.director.holds()


def test_without_contact_a_statement_expires(device: Device) -> None:
    device.courier.round()
    device.controller.reachable = False
    tick(device, 86_401)
    assert not device.director.holds()
    assert device.director.statement is not None


# Events and reports.


def test_events_go_first_and_exactly_once(device: Device) -> None:
    device.journal.record(SlotRecord("digits", State.VERIFYING), [event(), event(EventKind.SHADOWING)])
    device.spool.add([report(1)])
    device.courier.round()
    assert paths(device) == ["events", "reports", "checkin"]
    assert device.controller.kinds() == ["accepted", "shadowing"]
    assert device.journal.pending == 0
    assert len(device.spool) == 0
    device.courier.round()
    assert len(device.controller.requests) == 3


def test_a_lost_answer_leads_to_no_second_event(device: Device) -> None:
    device.journal.record(SlotRecord("digits", State.VERIFYING), [event()])
    device.controller.lose_answers = 1
    device.courier.round()
    assert device.controller.kinds() == ["accepted"]
    assert device.journal.pending == 1
    tick(device, 10)
    assert device.controller.kinds() == ["accepted"]
    assert device.journal.pending == 0


def test_events_wait_for_the_controller_through_restarts_in_order(device: Device) -> None:
    device.controller.reachable = False
    kinds = [EventKind.ACCEPTED, EventKind.SHADOWING, EventKind.SWITCHED, EventKind.COMMITTED]
    for kind in kinds:
        device.journal.record(SlotRecord("digits", State.SHADOWING), [event(kind)])
        tick(device, 400)
        device = again(device)
    assert device.controller.events == []
    device.controller.reachable = True
    tick(device, 400)
    assert device.controller.kinds() == [kind.value for kind in kinds]


def test_more_events_than_fit_one_request_all_arrive(device: Device) -> None:
    for _ in range(3):
        device.journal.record(SlotRecord("digits"), [event() for _ in range(200)])
    device.courier.round()
    assert len(device.controller.events) == 600
    assert device.journal.pending == 0


def test_a_restored_controller_gets_a_new_epoch(device: Device) -> None:
    device.journal.record(SlotRecord("digits"), [event(), event()])
    device.courier.round()
    device.controller.outbox.clear()
    before = device.journal.epoch
    device.journal.record(SlotRecord("digits"), [event(EventKind.COMMITTED)])
    tick(device, 1)
    assert device.journal.epoch != before
    assert device.controller.kinds()[-1] == "committed"
    assert device.journal.pending == 0


def test_a_controller_that_answers_nonsense_to_events_is_asked_seldom(device: Device) -> None:
    class Negative(dict[str, int]):
        """Says of every epoch that minus five events are durable."""

        asked = 0

        def get(self, key: str, default: int | None = None) -> int:  # type: ignore[override]
            self.asked += 1
            assert self.asked < 10, "asked again and again without a pause"
            return -5

    device.controller.outbox = Negative()
    device.journal.record(SlotRecord("digits"), [event(), event()])
    before = device.journal.epoch
    assert device.courier.round() >= 0.5
    assert (device.journal.pending, device.journal.epoch) == (2, before)
    device.controller.outbox = {}
    tick(device, 10)
    assert device.journal.pending == 0


def test_reports_survive_a_restart_and_are_bounded(tmp_path: Path) -> None:
    spool = ReportSpool(tmp_path / "reports", kept=10)
    spool.add([report(n) for n in range(25)])
    assert spool.dropped == 15
    again = ReportSpool(tmp_path / "reports", kept=10)
    batch = again.batch(4)
    assert batch is not None
    assert [r.window for r in batch.reports] == [15, 16, 17, 18]
    again.add([report(n) for n in range(25, 28)])  # drops 15, 16, 17 meanwhile
    again.sent(batch)
    rest = again.batch()
    assert rest is not None
    assert [r.window for r in rest.reports] == [18, *range(19, 28)][1:]


def test_a_damaged_spool_costs_only_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    spool = ReportSpool(path)
    spool.add([report(1), report(2)])
    path.write_bytes(b"\0garbage\n" + path.read_bytes() + b'{"torn')
    again = ReportSpool(path)
    assert len(again) == 2


def test_reports_without_room_on_the_disk_stay_in_memory(tmp_path: Path) -> None:
    spool = ReportSpool(tmp_path / "none" / "reports")
    spool.add([report(1)])
    assert len(spool) == 1


def test_reports_that_the_controller_cannot_read_do_not_block_what_follows(device: Device) -> None:
    device.spool.add([report(1)])
    device.controller.refuse.append(CallerError(Code.BODY_INVALID, "no", expected="yes", todo=""))
    device.courier.round()
    assert len(device.spool) == 0
    assert len(device.controller.checkins) == 1


# Clocks.


@pytest.mark.parametrize("hours", [-1.0, 1.0, -24 * 365 * 40, 24 * 365 * 10])
def test_a_wrong_clock_recovers_and_keeps_its_offset(device: Device, hours: float) -> None:
    device.clock.instant += timedelta(hours=hours)
    device.controller.assign(assignment())
    device.courier.round()
    assert paths(device) == ["checkin", "checkin"]
    assert device.corrected.offset_s == pytest.approx(-hours * 3600)
    assert device.director.statement is not None
    assert device.director.holds()
    tick(device, 61)
    assert paths(device) == ["checkin"] * 3


@pytest.mark.parametrize("hours", [-1.0, 1.0])
def test_reports_say_by_which_clock_their_windows_were_cut(device: Device, hours: float) -> None:
    device.clock.instant += timedelta(hours=hours)
    device.courier.round()
    device.spool.add([report(1)])
    tick(device, 61)
    assert device.corrected.offset_s == pytest.approx(-hours * 3600)
    assert device.controller.sent_unix_s == [pytest.approx(device.clock.now().timestamp())]
    assert device.corrected.uncorrected() == device.clock.now()


def test_a_signed_time_of_a_stranger_is_not_believed(device: Device) -> None:
    device.clock.instant += timedelta(hours=1)
    device.controller.director = ed25519_from_seed(b"s" * 32)
    device.courier.round()
    assert device.corrected.offset_s == 0.0
    assert device.board.uplink.error is not None
    assert device.board.uplink.error.code.startswith("MF-201")


def test_a_clock_set_back_does_not_bring_an_expired_statement_back(device: Device) -> None:
    device.controller.life_s = 1000.0
    device.courier.round()
    first = device.clock.now()
    tick(device, 990)
    device.controller.revision += 1
    device.courier.round()
    device.clock.instant = first - timedelta(days=30)
    device = again(device)
    statement = device.director.statement
    assert statement is not None
    assert device.director.holds() is (statement.expires_at > first)


# Statements that must not be believed.


def refused_with(device: Device, code: str) -> None:
    device.controller.assign(assignment("op-bad"))
    device.courier.round()
    assert device.board.uplink.error is not None
    assert device.board.uplink.error.code == code
    assert device.director.statement is None or device.director.statement.slots == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": "dev_other"}, "MF-2101"),
        ({"nonce": "A" * 22}, "MF-2103"),
        ({"expires_at": datetime.fromisoformat("2026-01-01T00:00:00Z")}, "MF-2105"),
    ],
)
def test_a_statement_for_another_purpose_is_refused(
    device: Device, changes: dict[str, object], code: str
) -> None:
    device.controller.forge_statement = lambda statement: replace(statement, **changes)  # type: ignore[arg-type]
    refused_with(device, code)


def test_a_statement_of_a_stranger_is_refused(device: Device) -> None:
    device.controller.director = ed25519_from_seed(b"s" * 32)
    refused_with(device, "MF-2014")


def test_a_lower_revision_is_refused_also_after_a_restart(device: Device) -> None:
    device.controller.revision = 40
    device.courier.round()
    device = again(device)
    assert device.director.revision == 40
    device.controller.revision = 10
    refused_with(device, "MF-2102")
    assert device.director.revision == 40


def test_a_refused_statement_is_asked_for_again_in_full(device: Device) -> None:
    device.courier.round()
    device.controller.assign(assignment())
    device.controller.forge_statement = lambda statement: replace(statement, device="dev_other")
    tick(device, 61)
    device.controller.forge_statement = lambda statement: statement
    tick(device, 301)
    assert device.director.statement is not None
    assert device.director.statement.slots == (assignment(),)


def test_a_statement_that_cannot_be_persisted_is_not_believed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise WorldError(Code.DISK_FULL, "full", expected="room", todo="free some")

    monkeypatch.setattr("modelfleet_agent.uplink.director.write_atomic", full)
    device.controller.assign(assignment())
    device.courier.round()
    assert device.director.statement is None
    assert device.director.revision == 0


def test_the_last_statement_is_there_after_a_restart_without_a_controller(device: Device) -> None:
    device.controller.assign(assignment())
    device.courier.round()
    device.controller.reachable = False
    device = again(device)
    assert device.director.statement is not None
    assert device.director.statement.slots == (assignment(),)


def test_a_file_that_lost_the_highest_revision_stops_the_agent(device: Device) -> None:
    device.courier.round()
    device.folder.director.write_bytes(b"{}x")
    with pytest.raises(WorldError, match="MF-3004"):
        again(device)


def test_a_statement_changed_on_the_disk_is_not_believed(device: Device) -> None:
    device.controller.assign(assignment())
    device.courier.round()
    data = device.folder.director.read_bytes()
    at = data.index(b'"payload":"') + 40
    device.folder.director.write_bytes(
        data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]
    )
    device = again(device)
    assert device.director.statement is None
    assert device.director.revision == 2


# Refusals and the network.


def test_a_revoked_device_says_so_and_asks_seldom(device: Device) -> None:
    device.courier.round()
    device.controller.revoked.add(device.enrolled.identity.device)
    assert tick(device, 61) >= REFUSED_POLL_S
    error = device.board.uplink.error
    assert error is not None
    assert error.code == "MF-1611"
    assert device.courier.round() > REFUSED_POLL_S - 1
    device.controller.revoked.clear()
    tick(device, REFUSED_POLL_S * 2)
    assert device.board.uplink.error is None


def test_an_unreachable_controller_is_asked_ever_more_seldom_up_to_a_limit(device: Device) -> None:
    device.controller.reachable = False
    waits = []
    for _ in range(14):
        wait = device.courier.round()
        waits.append(wait)
        tick(device, wait - 0.001 if wait > 0.001 else 0)
        device.clock.advance(0.001)
    assert waits[0] == 1.0
    assert all(150 <= wait <= 300 for wait in waits[-3:])
    assert device.board.uplink.failures == 14
    device.controller.reachable = True
    device.clock.advance(300)
    device.courier.round()
    assert device.board.uplink.failures == 0


@pytest.mark.parametrize(("poll_s", "longest"), [(1.0, 15.0), (60.0, 120.0), (3600.0, 300.0)])
def test_backoff_suits_the_poll_interval(device: Device, poll_s: float, longest: float) -> None:
    device.controller.poll_s = poll_s
    device.courier.round()
    device.controller.reachable = False
    tick(device, poll_s + 1)
    waits = []
    for _ in range(14):
        device.clock.advance(400)
        waits.append(device.courier.round())
    assert longest / 2 <= min(waits[-3:]) <= max(waits) <= longest


def test_backoff_is_jittered() -> None:
    one, two = Backoff(entropy(1)), Backoff(entropy(2))
    first = [one.failed() for _ in range(10)]
    assert first != [two.failed() for _ in range(10)]
    for n, wait in enumerate(first):
        assert 0.5 * min(300, 2**n) <= wait <= min(300, 2**n)


def test_an_answer_that_is_no_answer_is_reported_as_such(device: Device) -> None:
    device.controller.refuse.append(IntegrityError(Code.REQUEST_REPLAYED, "seen", expected="", todo=""))
    device.courier.round()
    assert device.board.uplink.error is not None
    assert device.board.uplink.error.code == "MF-2207"
