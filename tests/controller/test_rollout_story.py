"""Whole rollouts over the real application: a first install, a good release, bad ones, each with its
sentence.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfleet_agent.uplink.backoff import LONGEST_S
from modelfleet_controller.audit.service import broken_at
from modelfleet_controller.ticker.evaluation import RETURN
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import Decisions

from .fleet import Fleet, Quality
from .kit import ARM, X86, Rig, build, in_loop, rig

CLASSES = ("x86-onnxruntime", "arm-litert")


async def started(one: Rig, *versions: str, count: int = 5) -> Fleet:
    """Two classes of `count` devices each, and releases digits:<version>."""
    await one.trust_release_key()
    for version in versions:
        assert (await one.push(build(version=version, classes=CLASSES))).status_code == 201
    fleet = Fleet(one)
    await fleet.add(count, X86, label="x")
    await fleet.add(count, ARM, label="a")
    return fleet


def identity(version: str) -> str:
    return build(version=version, classes=CLASSES).id


async def installed(fleet: Fleet, version: str = "1.0") -> None:
    """A first release reaches everybody, quickly: one live stage, one gate."""
    stage = {"name": "all", "mode": "live", "percent": 100, "minBake": "10s", "deadline": "10m"}
    gates = [{"metric": "errors", "tolerance": "1%"}, {"metric": "silence", "tolerance": "20%"}]
    await fleet.create(f"digits:{version}", stages=[stage], gates=gates, minRounds=1, probation="10s")
    view = await fleet.run(f"digits-{version.replace('.', '-')}", 60)
    assert view.outcome == "completed", view.reason
    await fleet.step()
    assert {sim.incumbent for sim in fleet.sims} == {identity(version)}


async def chain(one: Rig) -> Decisions:
    found: Decisions = await one.get("/v1/audit", Decisions)
    assert broken_at(found.items) is None
    return found


@in_loop
async def test_a_first_install_and_a_release_as_good_complete(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1")
        await fleet.create("digits:1.0")
        first = await fleet.run("digits-1-0", 60)
        assert first.outcome == "completed"
        assert first.small_fleet
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.0")}
        for item in first.classes:
            verdicts = {gate.metric: gate.verdict for gate in item.gates}
            assert verdicts["latency_p95"] == "not_applicable"
            assert verdicts["disagreement"] == "not_applicable"
        await fleet.create("digits:1.1")
        view = await fleet.run("digits-1-1", 100)
        assert (view.state, view.outcome) == ("finished", "completed")
        for item in view.classes:
            assert (item.state, item.outcome) == ("completed", "completed")
            assert {gate.metric: gate.verdict for gate in item.gates}["latency_p95"] == "fine"
            assert item.outcomes["committed"] == 5
            assert item.live_answers_by_candidate > 0
            assert "COMPLETED" in item.reason
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.1")}
        actions = [item.action for item in (await chain(one)).items if item.rollout == view.id]
        assert actions.count("create") == 1
        assert actions.count("promote") == 4
        assert actions.count("complete") == 2


@pytest.mark.parametrize(
    ("quality", "gate", "words"),
    [
        (Quality(disagrees=0.2), "disagreement", "disagreement"),
        (Quality(slower=1.5), "latency_p95", "p95 latency"),
        (Quality(golden_right=80), "golden", "golden accuracy"),
        (Quality(fails=0.1), "errors", "errors"),
    ],
)
@in_loop
async def test_a_bad_release_is_stopped_in_shadow(
    tmp_path: Path, quality: Quality, gate: str, words: str
) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.2")
        await installed(fleet)
        fleet.qualities[identity("1.2")] = quality
        await fleet.create("digits:1.2")
        view = await fleet.run("digits-1-2", 60)
        assert view.outcome == "rolled_back"
        for item in view.classes:
            assert (item.stopped_in, item.stopped_by) == ("shadow", gate)
            assert item.live_answers_by_candidate == 0
            assert item.reason.startswith("ROLLED BACK stage 1/3 shadow")
            assert words in item.reason
        for _ in range(2):
            await fleet.step()
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.0")}
        assert all(sim.answers.get(identity("1.2"), 0) == 0 for sim in fleet.sims)
        after = await fleet.view("digits-1-2")
        for item in after.classes:
            assert set(item.outcomes) <= {"rolled_back", "not_reached"}
            assert item.outcomes["rolled_back"] == 4
        links = [item for item in (await chain(one)).items if item.action == "roll_back"]
        assert len(links) == 2
        assert '"verdicts":[{' in links[0].body


@in_loop
async def test_a_release_that_turns_bad_live_comes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.4", count=8)
        await installed(fleet)
        await fleet.create("digits:1.4")
        await fleet.run("digits-1-4", 60, until="canary")
        for _ in range(4):
            await fleet.step()
        canary = {sim.device.name for sim in fleet.sims if sim.serves(identity("1.4"))}
        assert 2 <= len(canary) <= 8
        fleet.qualities[identity("1.4")] = Quality(disagrees=0.3)
        view = await fleet.run("digits-1-4", 60)
        assert view.outcome == "rolled_back"
        for _ in range(2):
            await fleet.step()
        stopped = {item.stopped_in for item in view.classes}
        assert "live" in stopped
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.0")}
        ran = {sim.device.name for sim in fleet.sims if sim.answers.get(identity("1.4"), 0)}
        assert ran == canary  # nobody outside the canary ever ran it


@in_loop
async def test_hard_stops_need_no_statistics(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.3")
        await installed(fleet)
        fleet.qualities[identity("1.3")] = Quality(crashes=True)
        await fleet.create("digits:1.3")
        view = await fleet.run("digits-1-3", 3)
        assert view.outcome == "rolled_back"
        assert "worker died 3 times" in view.classes[0].reason
        assert view.classes[0].stopped_by == "hard_stop"


@in_loop
async def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    outcomes = []
    times = {"minBake": "30s", "deadline": "10m"}
    shadow = {"name": "shadow", "mode": "shadow", "devices": 2, **times}
    stages = [shadow, {"name": "all", "mode": "live", "percent": 100, **times}]
    for restarts in (False, True):
        folder = tmp_path / str(restarts)
        async with rig(folder) as one:
            fleet = await started(one, "1.0", "1.1", count=3)
            await installed(fleet)
            await fleet.create("digits:1.1", stages=stages)
            for _ in range(4):
                await fleet.step()
            clock, token = one.clock, one.token
            if not restarts:
                await fleet.run("digits-1-1", 100)
                outcomes.append(await story(fleet))
        while restarts:
            async with rig(folder, clock, token=token) as again:
                fleet.move(again)
                for _ in range(3):
                    await fleet.step()
                if (await fleet.view("digits-1-1")).outcome is not None:
                    outcomes.append(await story(fleet))
                    await chain(again)
                    break
    assert outcomes[0] == outcomes[1]


@in_loop
async def test_the_controllers_own_absence_is_not_the_devices_silence(tmp_path: Path) -> None:
    """It was killed in the middle of a stage and came back 20 windows later."""
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=3)
        await installed(fleet)
        await fleet.create("digits:1.1")
        await fleet.run("digits-1-1", 60, until="canary")
        await fleet.step()
        clock, token = one.clock, one.token
    clock.advance(200.0)
    async with rig(tmp_path, clock, token=token) as again:
        fleet.move(again)
        for _ in range(10):
            clock.advance(10.0)  # devices come back when their backoff lets them
            await again.application.ticker.tick()
        view = await fleet.view("digits-1-1")
        assert (view.state, view.outcome) == ("running", None), view.reason
        view = await fleet.run("digits-1-1", 100)
        assert view.outcome == "completed", view.reason


@in_loop
async def test_devices_that_do_not_come_back_after_the_controllers_absence_are_silent(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=3)
        await installed(fleet)
        await fleet.create("digits:1.1")
        await fleet.run("digits-1-1", 60, until="canary")
        await fleet.step()
        clock, token = one.clock, one.token
    clock.advance(200.0)
    async with rig(tmp_path, clock, token=token) as again:
        fleet.move(again)
        for sim in fleet.sims:
            sim.alive = not sim.serves(identity("1.1"))
        view = await fleet.run("digits-1-1", 250)
        assert view.outcome in ("rolled_back", "held", "partial"), view.reason
        assert any("silence" in item.reason for item in view.classes)


def test_the_controller_waits_as_long_as_a_device_may_stay_away() -> None:
    assert RETURN.total_seconds() >= LONGEST_S


async def story(fleet: Fleet) -> list[tuple[object, ...]]:
    """How it ended, without salts and instants (which differ between two controllers)."""
    view = await fleet.view("digits-1-1")
    return [(view.outcome, item.device_class, item.outcome, item.stage_history) for item in view.classes]


@in_loop
async def test_the_same_evidence_gives_the_same_decision(tmp_path: Path) -> None:
    """The ticker is deterministic: looking again, or more often, changes nothing."""
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=3)
        await installed(fleet)
        await fleet.create("digits:1.1")
        for _ in range(3):
            await fleet.step()
        before = codec.encode(await fleet.view("digits-1-1"))
        log = len((await chain(one)).items)
        for _ in range(5):
            await one.application.ticker.tick()
        assert codec.encode(await fleet.view("digits-1-1")) == before
        assert len((await chain(one)).items) == log


@in_loop
async def test_silence_is_no_success(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=6)
        await installed(fleet)
        await fleet.create("digits:1.1")
        await fleet.run("digits-1-1", 60, until="canary")
        for _ in range(2):
            await fleet.step()
        for sim in fleet.sims:
            sim.alive = not sim.serves(identity("1.1"))
        view = await fleet.run("digits-1-1", 250)
        assert view.outcome in ("rolled_back", "held", "partial"), view.reason
        assert any("silence" in item.reason for item in view.classes)


@in_loop
async def test_late_devices_get_the_baseline(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.2", count=3)
        await installed(fleet)
        fleet.qualities[identity("1.2")] = Quality(disagrees=0.4)
        await fleet.create("digits:1.2")
        assert (await fleet.run("digits-1-2", 60)).outcome == "rolled_back"
        (late,) = await fleet.add(1, ARM, label="late")
        await fleet.step()
        assert late.running is not None
        assert late.running.assignment.operation == f"baseline:{identity('1.0')[:16]}"
        await fleet.step(late.running.assignment.probation_s)
        assert late.incumbent == identity("1.0")
