"""Evidence and events: once each, whatever is repeated, reordered, contradictory or not asked for."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelfleet_controller.rollouts.repository import RolloutRepository
from modelfleet_controller.telemetry.repository import TelemetryRepository
from modelfleet_core.errors import WorldError
from modelfleet_core.gates.evidence import DeviceSum
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.progress import DeviceOutcome
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import SlotAssignment
from modelfleet_core.wire.event import DeviceEvent, EventBatch, EventKind
from modelfleet_core.wire.report import LatencyPairs, Report, ReportBatch, Scores

from .fleet import WINDOW_S, Fleet, Sim
from .kit import X86, Rig, build, in_loop, problem, rig
from .test_blob_store import largest_file

STAGE = {"name": "shadow", "mode": "shadow", "percent": 100, "minBake": "5m", "deadline": "10m"}
LIVE = {"name": "all", "mode": "live", "percent": 100, "minBake": "5m", "deadline": "10m"}


async def shadowing(one: Rig, count: int = 2) -> tuple[Fleet, Sim, SlotAssignment]:
    """A rollout in its shadow stage, and one of its devices, which has accepted."""
    await one.trust_release_key()
    await one.push(build())
    fleet = Fleet(one)
    await fleet.add(count, X86)
    await fleet.create("digits:1.0", stages=[STAGE, LIVE])
    await fleet.step()
    sim = fleet.sims[0]
    assert sim.running is not None
    return fleet, sim, sim.running.assignment


def report(one: Rig, assignment: SlotAssignment, back: int = 1, **changes: Any) -> Report:
    """A report of the window `back` windows ago."""
    window = int(one.clock.now().timestamp() // WINDOW_S) - back
    made = Report(
        window=window,
        window_s=WINDOW_S,
        slot="digits",
        operation=assignment.operation,
        release=assignment.release,
        incumbent=None,
        mode=assignment.mode,
        served=100,
        n=100,
        candidate_only_failed=3,
    )
    return replace(made, **changes)


async def errors_of(one: Rig, sim: Sim) -> DeviceSum:
    async with one.controller.database.read() as connection:
        (rollout,) = await RolloutRepository(connection).newest(10)
        sums = await TelemetryRepository(connection).sums_of(rollout.id)
    rows = {row.device: row for row in sums["x86-onnxruntime"][Metric.ERRORS]}
    return rows[sim.device.id]


async def outcome(fleet: Fleet, sim: Sim) -> str:
    view = await fleet.view("digits-1-0")
    return next(device.outcome for device in view.devices if device.device == sim.device.id)


@in_loop
async def test_a_repeated_report_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, sim, assignment = await shadowing(one)
        one.clock.advance(60)
        first, second = report(one, assignment, 3), report(one, assignment, 2)
        answer = await sim.device.report(first)
        assert (answer.accepted, answer.duplicates) == (1, 0)
        before = await errors_of(one, sim)
        for batch in ((first,), (first, first)):
            answer = await sim.device.report(*batch)
            assert (answer.accepted, answer.duplicates) == (0, len(batch))
        # even with other numbers: the key is what counts
        answer = await sim.device.report(replace(first, candidate_only_failed=0))
        assert answer.duplicates == 1
        assert await errors_of(one, sim) == before
        answer = await sim.device.report(first, second)
        assert (answer.accepted, answer.duplicates) == (1, 1)
        assert (await errors_of(one, sim)).reports == before.reports + 1


@in_loop
async def test_sums_do_not_depend_on_the_order_of_reports(tmp_path: Path) -> None:
    sums = []
    for order in ((4, 3, 2), (2, 4, 3)):
        async with rig(tmp_path / str(order[0])) as one:
            _, sim, assignment = await shadowing(one)
            one.clock.advance(60)
            for back in order:
                await sim.device.report(report(one, assignment, back, candidate_only_failed=back))
            sums.append(replace(await errors_of(one, sim), device=""))
    assert sums[0] == sums[1]
    assert sums[0].reports >= 3


@in_loop
async def test_a_report_that_contradicts_itself_is_refused_whole(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, sim, assignment = await shadowing(one)
        one.clock.advance(60)
        await sim.device.report(report(one, assignment, 4))
        before = await errors_of(one, sim)
        bad = report(one, assignment, 2, candidate_only_failed=101)
        for batch in ((bad,), (report(one, assignment, 3), bad)):
            body = codec.encode(ReportBatch(batch))
            assert problem(await sim.device.send("/v1/device/reports", body)) == (422, "MF-1031")
        assert await errors_of(one, sim) == before


@in_loop
async def test_one_bad_device_spoils_no_others_reports(tmp_path: Path) -> None:
    """They share a group commit."""
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one, count=4)
        one.clock.advance(60)
        bad = codec.encode(ReportBatch((report(one, assignment, 2, candidate_only_failed=101),)))
        refusing = asyncio.create_task(sim.device.send("/v1/device/reports", bad))
        others = [other.device.report(report(one, assignment, 2)) for other in fleet.sims[1:]]
        answers = await asyncio.gather(*others)
        refused = await refusing
        assert problem(refused) == (422, "MF-1031")
        assert [answer.accepted for answer in answers] == [1, 1, 1]


@in_loop
async def test_evidence_of_a_device_that_nobody_asked_is_not_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, _, assignment = await shadowing(one)
        stranger = await one.device("stranger", labels={"site": "elsewhere"})
        async with one.controller.database.write() as connection:
            (rollout,) = await RolloutRepository(connection).active()
            cutoffs = await RolloutRepository(connection).cutoffs(rollout.id)
        assert cutoffs["x86-onnxruntime"][0].admits is None  # an open stage would take it in when it asks
        one.clock.advance(60)
        other = replace(report(one, assignment, 2), operation="ro_never/1")
        await stranger.report(other)
        async with one.controller.database.read() as connection:
            rows = await RolloutRepository(connection).devices(rollout.id)
        assert stranger.id not in {row.device_id for row in rows}


@in_loop
async def test_events_count_once_and_in_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one)
        device = sim.device
        assert await outcome(fleet, sim) == "shadowing"
        through = device.sequence

        def event(sequence: int, kind: EventKind) -> DeviceEvent:
            return DeviceEvent(
                sequence, one.clock.now(), kind, "digits", assignment.operation, assignment.release
            )

        # a gap: nothing after it is acknowledged
        answer = await device.tell(event(through + 2, EventKind.COMMITTED))
        assert answer.through == through
        assert await outcome(fleet, sim) == "shadowing"
        answer = await device.tell(
            event(through + 1, EventKind.SWITCHED), event(through + 2, EventKind.COMMITTED)
        )
        assert answer.through == through + 2
        assert await outcome(fleet, sim) == "committed"
        # repeated: acknowledged again, nothing changes
        answer = await device.tell(event(through + 1, EventKind.SWITCHED))
        assert answer.through == through + 2
        assert await outcome(fleet, sim) == "committed"
        assert one.controller.board.outcome(device.id, assignment.rollout or "") is DeviceOutcome.COMMITTED
        # what was acknowledged and what is new in one batch
        answer = await device.tell(
            event(through + 2, EventKind.COMMITTED), event(through + 3, EventKind.ALARM)
        )
        assert answer.through == through + 3
        # a lost outbox starts a new epoch
        device.epoch = "e2"
        answer = await device.tell(event(1, EventKind.ROLLED_BACK))
        assert (answer.epoch, answer.through) == ("e2", 1)
        assert await outcome(fleet, sim) == "rolled_back"


@in_loop
async def test_events_survive_a_crash_once_they_are_acknowledged(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, _ = await shadowing(one)
        seen = sqlite3.connect(tmp_path / "modelfleet.db")  # another connection sees what a crash would leave
        rows = seen.execute(
            "SELECT outcome FROM rollout_device WHERE device_id = ?", (sim.device.id,)
        ).fetchall()
        seen.close()
        assert rows == [("shadowing",)]
        assert len(fleet.sims) == 2


@in_loop
async def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one)
        one.clock.advance(60)
        device = sim.device
        body = codec.encode(ReportBatch((report(one, assignment, 2),)))
        event = device.event(EventKind.SWITCHED, assignment.operation, assignment.release)
        events = codec.encode(EventBatch(device.epoch, (event,)))
        with largest_file(1024):
            assert problem(await device.send("/v1/device/reports", body)) == (507, "MF-5001")
            assert problem(await device.send("/v1/device/events", events)) == (507, "MF-5001")
            await device.check_in()  # what needs no disk goes on
            with pytest.raises(WorldError):
                await one.application.flush()
        assert await outcome(fleet, sim) == "shadowing"
        assert (await device.send("/v1/device/reports", body)).json() == {"accepted": 1, "duplicates": 0}
        assert (await device.send("/v1/device/events", events)).json()["through"] == event.sequence
        assert await outcome(fleet, sim) == "probation"
        await one.application.flush()
        saved = sqlite3.connect(tmp_path / "modelfleet.db").execute("SELECT count(*) FROM device_status")
        assert saved.fetchone() == (2,)


@in_loop
async def test_limits(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, sim, assignment = await shadowing(one)
        good = report(one, assignment)
        pairs = LatencyPairs(1, "h1" + "A" * 1300, "h1")
        for reports in (
            [report(one, assignment, back) for back in range(1, 70)],
            [replace(good, window=-1)],
            [replace(good, window=1 << 60)],
            [replace(good, window_s=0.0)],
            [replace(good, slot="x" * 300)],
            [replace(good, operation="x" * 100)],
            [replace(good, latency=pairs)],
            [replace(good, scores=Scores((0,) * 100, (0,)))],
        ):
            answer = await sim.device.send("/v1/device/reports", codec.encode({"reports": reports}))
            assert problem(answer) == (400, "MF-1601"), reports[0]
        event = sim.device.event(EventKind.ALARM, "op", "0" * 64)
        naive = codec.encode(event).replace(b'Z"', b'"')
        for epoch, events in (
            ("e1", [event] * 300),
            ("", [event]),
            ("e" * 65, [event]),
            ("e1", [replace(event, sequence=0)]),
            ("e1", [replace(event, operation="x" * 100)]),
            ("e1", [replace(event, reason="x" * 5000)]),
            ("e1", [replace(event, numbers={str(index): 1.0 for index in range(65)})]),
            ("e1", [msgspec.Raw(naive)]),
        ):
            body = codec.encode({"epoch": epoch, "events": events})
            assert problem(await sim.device.send("/v1/device/events", body)) == (400, "MF-1601"), epoch


@in_loop
async def test_old_reports_are_dropped_and_sums_stay(tmp_path: Path) -> None:
    async with rig(tmp_path, report_days=0.02) as one:
        _, sim, assignment = await shadowing(one)
        one.clock.advance(60)
        await sim.device.report(report(one, assignment, 2))
        before = await errors_of(one, sim)
        one.clock.advance(3700)
        await one.application.ticker.tick()
        count = sqlite3.connect(tmp_path / "modelfleet.db").execute("SELECT count(*) FROM report").fetchone()
        assert count == (0,)
        assert await errors_of(one, sim) == before
