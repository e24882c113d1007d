"""What people can do to a rollout (semantics section 3), through the API, with the fleet doing its part."""

from __future__ import annotations

from pathlib import Path

from modelfleet_core.wire.operator import Decisions

from .fleet import Fleet, Quality
from .kit import in_loop, problem, rig
from .test_rollout_story import identity, installed, started

TIMES = {"minBake": "30s", "deadline": "5m"}
SHADOW = {"name": "shadow", "mode": "shadow", "devices": 2, **TIMES}
ALL = {"name": "all", "mode": "live", "percent": 100, **TIMES}


async def sentences(fleet: Fleet, rollout: str) -> list[str]:
    found = await fleet.rig.get(f"/v1/audit?rollout={rollout}", Decisions)
    return [item.sentence for item in found.items]


@in_loop
async def test_pause_adds_nobody_and_resume_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=3)
        await installed(fleet)
        view = await fleet.create("digits:1.1", stages=[SHADOW, ALL])
        await fleet.operate(view.id, "pause", reason="Friday")
        assert (await fleet.view(view.id)).state == "paused"
        for _ in range(3):
            await fleet.step()
        waiting = (await fleet.view(view.id)).classes
        assert [c.outcomes.get("shadowing", 0) for c in waiting] == [0, 0]
        assert problem(await fleet.operate(view.id, "pause", expect=409)) == (409, "MF-1653")
        await fleet.operate(view.id, "resume")
        for _ in range(3):
            await fleet.step()
        reached = [c.outcomes.get("shadowing", 0) for c in (await fleet.view(view.id)).classes]
        assert reached == [2, 2]
        said = await sentences(fleet, view.id)
        assert any("PAUSED" in sentence and "first-admin (Friday)" in sentence for sentence in said)


@in_loop
async def test_pause_does_not_stop_a_rollback(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.2", count=3)
        await installed(fleet)
        fleet.qualities[identity("1.2")] = Quality(disagrees=0.4)
        view = await fleet.create("digits:1.2", stages=[SHADOW, ALL])
        await fleet.step()
        await fleet.operate(view.id, "pause")
        assert (await fleet.run(view.id, 20)).outcome == "rolled_back"


@in_loop
async def test_promote_ends_the_bake_and_full_needs_an_admin_with_a_reason(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=3)
        await installed(fleet)
        canary = {"name": "canary", "mode": "live", "percent": 10, **TIMES}
        view = await fleet.create("digits:1.1", stages=[SHADOW, canary, ALL])
        await fleet.step()
        await fleet.operate(view.id, "promote", classes=["arm-litert"])
        found = {c.device_class: c.stage_name for c in (await fleet.view(view.id)).classes}
        assert found == {"arm-litert": "canary", "x86-onnxruntime": "shadow"}
        operator = await one.api_token("operator")
        refused = await fleet.operate(view.id, "promote", full=True, reason="x", token=operator, expect=403)
        assert problem(refused) == (403, "MF-1607")
        assert problem(await fleet.operate(view.id, "promote", full=True, expect=422)) == (422, "MF-1655")
        unknown = await fleet.operate(view.id, "promote", classes=["toaster"], expect=404)
        assert problem(unknown) == (404, "MF-1602")
        one.clock.advance(1)
        await fleet.operate(view.id, "promote", full=True, reason="a fix that cannot wait")
        found = {c.device_class: c.stage_name for c in (await fleet.view(view.id)).classes}
        assert found == {"arm-litert": "all", "x86-onnxruntime": "all"}
        assert any("a fix that cannot wait" in sentence for sentence in await sentences(fleet, view.id))


@in_loop
async def test_promote_never_overrides_worse(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.2", count=3)
        await installed(fleet)
        fleet.qualities[identity("1.2")] = Quality(golden_right=50)
        view = await fleet.create("digits:1.2", stages=[SHADOW, ALL])
        for _ in range(3):
            one.clock.advance(10)
            for sim in fleet.sims:
                await sim.turn()  # the ticker has not looked yet
        await fleet.operate(view.id, "promote", full=True, reason="trust me")
        after = await fleet.view(view.id)
        assert after.outcome == "rolled_back"
        assert {c.stopped_in for c in after.classes} == {"shadow"}


@in_loop
async def test_abort_takes_devices_back_and_leave_keeps_them(tmp_path: Path) -> None:
    for leave, version in ((False, "1.0"), (True, "1.1")):
        async with rig(tmp_path / str(leave)) as one:
            fleet = await started(one, "1.0", "1.1", count=2)
            await installed(fleet)
            view = await fleet.create("digits:1.1", stages=[ALL], probation="10s")
            for _ in range(3):
                await fleet.step()
            assert {sim.incumbent for sim in fleet.sims} == {identity("1.1")}
            await fleet.operate(view.id, "abort", reason="second thoughts", leave=leave)
            assert (await fleet.view(view.id)).outcome == "aborted"
            for _ in range(2):
                await fleet.step()
            assert {sim.incumbent for sim in fleet.sims} == {identity(version)}, leave
            assert problem(await fleet.operate(view.id, "abort", expect=409)) == (409, "MF-1653")


@in_loop
async def test_retry_is_a_new_attempt(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.2", count=3)
        await installed(fleet)
        fleet.qualities[identity("1.2")] = Quality(disagrees=0.4)
        view = await fleet.create("digits:1.2", stages=[SHADOW, ALL])
        assert problem(await fleet.operate(view.id, "retry", expect=409)) == (409, "MF-1653")
        await fleet.run(view.id, 30)
        await fleet.step()
        fleet.qualities.clear()  # the cause lay elsewhere, and is gone
        answer = (await fleet.operate(view.id, "retry", reason="the camera was fixed")).json()
        assert answer["rollout"] != view.id
        assert (await fleet.run(answer["rollout"], 60)).outcome == "completed"
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.2")}


@in_loop
async def test_undo_goes_back_by_a_rollout_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=2)
        await installed(fleet)
        first = await fleet.view("digits-1-0")
        nothing = await fleet.operate(first.id, "undo", expect=409)
        assert problem(nothing) == (409, "MF-1040")
        view = await fleet.create("digits:1.1", stages=[ALL])
        assert problem(await fleet.operate(view.id, "undo", expect=409)) == (409, "MF-1653")
        assert (await fleet.run(view.id, 60)).outcome == "completed"
        one.clock.advance(1)
        answer = (await fleet.operate(view.id, "undo", reason="customers complain")).json()
        back = await fleet.run(answer["rollout"], 60)
        assert (back.outcome, back.release) == ("completed", "digits:1.0")
        assert {sim.incumbent for sim in fleet.sims} == {identity("1.0")}
        (late,) = await fleet.add(1, fleet.sims[0].device.facts, label="late")
        await fleet.step()
        assert late.running is not None
        assert late.running.assignment.reference == "digits:1.0"


@in_loop
async def test_a_repeated_verb_is_done_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=2)
        view = await fleet.create("digits:1.0", stages=[ALL])
        body = {"verb": "pause", "idempotency_key": "once"}
        path = f"/v1/rollouts/{view.id}/operations"
        first = await one.call("POST", path, body, expect=200)
        revision = one.controller.board.revision
        again = await one.call("POST", path, body, expect=200)
        assert again.json() == first.json()
        assert one.controller.board.revision == revision
        other = await one.call("POST", path, {**body, "verb": "abort"})
        assert problem(other) == (409, "MF-1654")
        assert problem(await fleet.operate("no-such-rollout", "pause", expect=404)) == (404, "MF-1602")


@in_loop
async def test_below_min_devices_a_person_decides(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one, "1.0", "1.1", count=2)
        await installed(fleet)
        view = await fleet.create("digits:1.1", stages=[SHADOW, ALL], minDevices=10)
        held = await fleet.run(view.id, 60)
        assert (held.state, held.outcome) == ("held", "held")
        assert "too few to promote without a person" in held.classes[0].reason
        one.clock.advance(1)
        await fleet.operate(view.id, "promote", reason="small site")
        assert {c.stage_name for c in (await fleet.view(view.id)).classes} == {"all"}
