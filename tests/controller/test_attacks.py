"""What an enrolled device, or an operator, may try against others (SECURITY): it costs only whoever tries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelfleet_controller.db.types import Instant
from modelfleet_controller.rollouts.repository import RolloutRepository
from modelfleet_controller.trust.director_key import load_or_make
from modelfleet_core.errors import IntegrityError
from modelfleet_core.wire import codec
from modelfleet_core.wire.event import DeviceEvent, EventBatch, EventKind
from modelfleet_core.wire.operator import TrustView
from modelfleet_core.wire.report import Agreement, Coverage, GoldenCount, ReportBatch, Scores

from .fleet import Fleet, Quality
from .kit import ARM, X86, FakeDevice, Rig, build, in_loop, problem, rig
from .test_rollout_story import identity, installed, started
from .test_rollout_verbs import ALL, SHADOW
from .test_telemetry import errors_of, outcome, report, shadowing

EARLIEST = "0001-01-01T00:00:00+23:59"
"""A date that can be read, but not moved to UTC."""


async def members(one: Rig) -> set[str]:
    async with one.controller.database.read() as connection:
        (rollout,) = await RolloutRepository(connection).active()
        return {row.device_id for row in await RolloutRepository(connection).devices(rollout.id)}


@in_loop
async def test_an_impossible_instant_stops_no_rollout(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one)
        event = sim.device.event(EventKind.ALARM, assignment.operation, assignment.release)
        body = codec.encode(EventBatch("e2", (replace(event, sequence=1),)))
        now = codec.encode(one.clock.now()).decode().strip('"')
        assert now in body.decode()
        answer = await sim.device.send("/v1/device/events", body.replace(now.encode(), EARLIEST.encode()))
        assert answer.status_code == 200, answer.text
        switched = DeviceEvent(
            2,
            datetime.fromisoformat(EARLIEST),
            EventKind.SWITCHED,
            "digits",
            assignment.operation,
            assignment.release,
        )
        sim.device.epoch = "e2"
        await sim.device.tell(switched)
        assert await outcome(fleet, sim) == "probation"
        async with one.controller.database.read() as connection:
            (rollout,) = await RolloutRepository(connection).active()
            rows = {row.device_id: row for row in await RolloutRepository(connection).devices(rollout.id)}
        assert rows[sim.device.id].changed_at >= rollout.created_at
        await fleet.step()


def test_an_instant_that_could_not_be_read_again_is_not_written() -> None:
    column = Instant()
    for odd in (EARLIEST, "9999-12-31T23:59:59-23:59"):
        with pytest.raises(ValueError, match="instant"):
            column.process_bind_param(datetime.fromisoformat(odd), None)  # type: ignore[arg-type]
    now = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(microseconds=7)
    assert column.process_result_value(column.process_bind_param(now, None), None) == now  # type: ignore[arg-type]


@in_loop
async def test_a_release_of_an_impossible_year_is_refused_at_the_door(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build()
        with pytest.raises(ValueError, match="year"):
            replace(built.manifest, created_at=datetime.fromisoformat(EARLIEST))
        made = codec.encode(built.manifest.created_at).decode().strip('"').encode()
        odd = next(data for data in built.blobs if made in data).replace(made, EARLIEST.encode())
        push = replace(built.push, manifest=await one.upload(odd))
        assert problem(await one.call("POST", "/v1/releases", push)) == (400, "MF-1601")


@in_loop
async def test_events_of_a_device_that_nobody_asked_are_not_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", count=3)
        closed = {"name": "canary", "mode": "live", "devices": 1, "minBake": "30s", "deadline": "5m"}
        await fleet.create("digits:1.0", stages=[closed, ALL])
        await fleet.step()
        asked = await members(one)
        assert len(asked) == 2  # one of each class
        run = next(sim.running for sim in fleet.sims if sim.running is not None)
        others = [sim.device for sim in fleet.sims if sim.device.id not in asked]
        for device in others:
            wanted = run.assignment
            crash = device.event(EventKind.CRASH_LOOP, wanted.operation, wanted.release, hard=True)
            answer = await device.tell(crash)
            assert answer.through == device.sequence  # acknowledged, so that it is not sent for ever
        assert await members(one) == asked
        await one.application.ticker.tick()
        assert (await fleet.view("digits-1-0")).outcome is None


@in_loop
async def test_events_about_another_slot_change_no_outcome(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one)
        other = sim.device.event(EventKind.COMMITTED, assignment.operation, assignment.release, slot="doors")
        await sim.device.tell(other)
        assert await outcome(fleet, sim) == "shadowing"
        board = one.controller.board.outcome(sim.device.id, assignment.rollout or "")
        assert board is not None
        assert board.value == "shadowing"


@in_loop
async def test_a_window_counts_once_whatever_release_it_is_said_to_be_about(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, sim, assignment = await shadowing(one)
        one.clock.advance(60)
        honest = report(one, assignment, 2)
        await sim.device.report(honest)
        before = await errors_of(one, sim)
        await sim.device.report(
            *(replace(honest, release=f"{n:064x}") for n in range(5)), replace(honest, slot="doors")
        )
        assert await errors_of(one, sim) == before


@in_loop
async def test_absurd_counts_are_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        _, sim, assignment = await shadowing(one)
        good = report(one, assignment)
        huge = 1 << 80
        bins = (huge,) + (0,) * 19
        for bad in (
            replace(good, golden=GoldenCount(huge, 1)),
            replace(good, agreement=Agreement(huge, 1)),
            replace(good, coverage=Coverage(offered=huge)),
            replace(good, coverage=Coverage(run=-1)),
            replace(good, scores=Scores(bins, bins)),
            replace(good, rss_candidate_bytes=huge),
            replace(good, rss_incumbent_bytes=-1),
        ):
            answer = await sim.device.send("/v1/device/reports", codec.encode(ReportBatch((bad,))))
            assert problem(answer) == (422, "MF-1031"), bad


@in_loop
async def test_bytes_received_stay_a_number_that_can_be_stored(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet, sim, assignment = await shadowing(one)
        numbers = {"bytes_received": 1e300}
        for _ in range(2):
            events = [
                sim.device.event(EventKind.ALARM, assignment.operation, assignment.release, numbers=numbers)
                for _ in range(256)
            ]
            await sim.device.tell(*events)
        assert (await fleet.view("digits-1-0")).bytes_sent == 1 << 50


@in_loop
async def test_a_rollout_named_like_anothers_id_is_not_taken_for_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", count=1)
        first = await fleet.create("digits:1.0", stages=[ALL], selector={"matchLabels": {}})
        resource = first.resource.replace('"name":"digits-1-0"', f'"name":"{first.id}"')
        assert first.id in resource
        one.clock.advance(1)
        body = {"resource": resource, "idempotency_key": "other", "supersede": True}
        made = (await one.call("POST", "/v1/rollouts", body, expect=201)).json()
        assert made["name"] == first.id
        assert (await fleet.view(first.id)).id == first.id
        await fleet.operate(made["id"], "pause")
        assert (await fleet.view(first.id)).outcome == "superseded"


@in_loop
async def test_retry_of_a_rollout_to_some_classes_stays_with_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=2)
        await installed(fleet)
        arm = [sim for sim in fleet.sims if sim.device.facts == ARM]
        view = await fleet.create("digits:1.1", stages=[ALL])
        assert (await fleet.run(view.id, 60)).outcome == "completed"
        await only_arm(one, fleet, view.id)
        assert all(sim.incumbent == identity("1.1") for sim in arm)


async def only_arm(one: Rig, fleet: Fleet, rollout: str) -> None:
    """Undo for ARM alone (it alone has a baseline), which fails; its retry may not reach x86 either."""
    from sqlalchemy import update

    from modelfleet_controller.rollouts.tables import ROLLOUT_CLASS

    async with one.controller.database.write() as connection:
        await connection.execute(
            update(ROLLOUT_CLASS)
            .where(ROLLOUT_CLASS.c.rollout_id == rollout, ROLLOUT_CLASS.c.device_class == "x86-onnxruntime")
            .values(baseline=None)
        )
    fleet.qualities[identity("1.0")] = Quality(crashes=True)
    back = (await fleet.operate(rollout, "undo")).json()["rollout"]
    assert [c.device_class for c in (await fleet.view(back)).classes] == ["arm-litert"]
    assert (await fleet.run(back, 30)).outcome == "rolled_back"
    one.clock.advance(1)
    again = (await fleet.operate(back, "retry")).json()["rollout"]
    assert [c.device_class for c in (await fleet.view(again)).classes] == ["arm-litert"]


@in_loop
async def test_a_rollout_without_gates_can_be_tried_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", count=1)
        view = await fleet.create("digits:1.0", stages=[SHADOW, ALL], gates=[], no_gates_reason="a rehearsal")
        await fleet.operate(view.id, "abort")
        one.clock.advance(1)
        again = (await fleet.operate(view.id, "retry")).json()["rollout"]
        assert again != view.id


@in_loop
async def test_undo_makes_no_rollout_to_what_is_there(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", count=2)
        await installed(fleet)
        one.clock.advance(1)
        view = await fleet.create("digits:1.0", stages=[ALL], gates=[], no_gates_reason="once more")
        await fleet.operate(view.id, "promote")
        assert (await fleet.view(view.id)).outcome == "completed"
        assert problem(await fleet.operate(view.id, "undo", expect=409)) == (409, "MF-1040")


@in_loop
async def test_trust_on_first_use_finds_the_keys_and_nothing_else(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        answer = await one.http.get("/v1/device/trust")
        assert answer.status_code == 200, answer.text
        told = codec.decode(answer.content, TrustView, what="trust")
        assert told == await one.get("/v1/trust", TrustView)
        assert b"PRIVATE" not in answer.content


def test_a_director_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "director.key"
    made = load_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make(path).public().raw == made.public().raw
    path.chmod(0o640)
    with pytest.raises(IntegrityError, match="others may read it"):
        load_or_make(path)


@in_loop
async def test_the_database_is_its_owners_alone_in_whatever_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    async with rig(tmp_path) as one:
        await one.api_token("viewer")
        modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.glob("modelfleet.db*")}
        assert len(modes) > 1
        assert set(modes.values()) == {0}, modes


@in_loop
async def test_a_request_signed_for_one_place_is_worth_nothing_in_another(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device: FakeDevice = await one.device("honest", X86)
        body = device.checkin_body()
        headers = device.signed("POST", "/v1/device/checkin", body, device.nonce())
        for path, sent in (
            ("/v1/device/events", body),
            ("/v1/device/checkin?x=1", body),
            ("/v1/device/checkin", body + b" "),
            ("/v1/device/%63heckin", body),
        ):
            answer = await one.http.post(path, content=sent, headers=headers)
            assert answer.status_code == 401, path
            assert problem(answer)[1] in ("MF-2203", "MF-2206"), path
        assert (await one.http.post("/v1/device/checkin", content=body, headers=headers)).status_code == 200
        again = await one.http.post("/v1/device/checkin", content=body, headers=headers)
        assert problem(again) == (401, "MF-2207")
