"""Rollouts that are refused at the door, dry runs, conflicts, idempotency; a refusal stores nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import PlanView, Rollouts

from .fleet import Fleet, plan
from .kit import ARM, OPENVINO, X86, Rig, build, in_loop, problem, rig

CLASSES = ("x86-onnxruntime", "arm-litert")
LIVE = {"name": "all", "mode": "live", "percent": 100, "minBake": "10s", "deadline": "10m"}


async def started(one: Rig) -> Fleet:
    await one.trust_release_key()
    for version in ("1.0", "1.1"):
        assert (await one.push(build(version=version, classes=CLASSES))).status_code == 201
    fleet = Fleet(one)
    await fleet.add(2, X86, label="x", site="north")
    await fleet.add(2, ARM, label="a", site="south")
    return fleet


def stage(**changes: Any) -> dict[str, Any]:
    return {**LIVE, **changes}


SHRINK = [stage(name="a", percent=50), stage(name="b", percent=10), LIVE]
BAD_SPECS: list[tuple[dict[str, Any], str, str]] = [
    ({"stages": SHRINK}, "MF-1010", "stages[1].percent"),
    ({"stages": [stage(percent=101)]}, "MF-1006", "stages[0].percent"),
    ({"stages": [stage(percent=0)]}, "MF-1006", "stages[0].percent"),
    ({"stages": [{k: v for k, v in LIVE.items() if k != "percent"}]}, "MF-1012", "stages[0]"),
    ({"stages": []}, "MF-1006", "stages"),
    ({"stages": [stage(mode="shadow")]}, "MF-1011", "shadow"),
    ({"stages": [stage(minBake="20m")]}, "MF-1013", "deadline"),
    ({"gates": [{"metric": "latency_p95"}]}, "MF-1015", "gates[0].tolerance"),
    ({"gates": []}, "MF-1014", "gates"),
    ({"gates": [{"metric": "happiness", "tolerance": "1%"}]}, "MF-100", "gates[0].metric"),
    ({"colour": "red"}, "MF-1002", "colour"),
    ({"stagse": []}, "MF-1002", "stages"),
    ({"retry": {"attempts": 3}}, "MF-1005", "not supported in this version"),
    ({"maintenanceWindows": []}, "MF-1005", "not supported in this version"),
    ({"limits": {"maxUnavailable": "5%"}}, "MF-1005", "not supported in this version"),
    ({"window": 5}, "MF-1003", "window"),
    ({"window": "0s"}, "MF-1006", "window"),
    ({"release": "digits"}, "MF-1006", "release"),
    ({"release": "digits:9.9"}, "MF-1602", "digits:9.9"),
    ({"selector": {"matchLabels": {"site": "moon"}}}, "MF-1651", "site=moon"),
]


@in_loop
async def test_plans_that_cannot_be_meant(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        revision = one.controller.board.revision
        for changes, code, words in BAD_SPECS:
            answer = await fleet.create("digits:1.0", expect=_status(code), **changes)
            status, found = problem(answer)
            assert found.startswith(code), f"{changes}: {found} {answer.text}"
            text = answer.json()
            assert words in f"{text['title']} {text['detail']} {text['expected']} {text['todo']}", answer.text
            assert status == _status(code)
            body = {"resource": json.dumps(plan("digits:1.0", changes)), "idempotency_key": "k"}
            again = await one.call("POST", "/v1/rollouts/plan", body)
            assert problem(again)[1] == found
        assert (await one.get("/v1/rollouts", Rollouts)).items == ()
        assert one.controller.board.revision == revision


def _status(code: str) -> int:
    return 404 if code == "MF-1602" else 422


@in_loop
async def test_resources_that_are_none(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await started(one)
        good = plan("digits:1.0")
        for resource in (
            "",
            "[]",
            "{",
            "{}",
            json.dumps({**good, "kind": "Deployment"}),
            json.dumps({**good, "apiVersion": "v1"}),
            json.dumps({**good, "metadata": {"name": "Not A Name"}}),
            json.dumps({**good, "extra": 1}),
            json.dumps({**good, "padding": "x" * 300_000}),
        ):
            answer = await one.call("POST", "/v1/rollouts", {"resource": resource, "idempotency_key": "k"})
            assert answer.status_code in (400, 422), resource[:60]
            assert problem(answer)[1].startswith(("MF-10", "MF-1601"))
        assert (await one.get("/v1/rollouts", Rollouts)).items == ()


@in_loop
async def test_no_fitting_variant(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        await one.push(build(version="2.0", classes=("x86-openvino",)))
        answer = await fleet.create("digits:2.0", expect=422)
        assert problem(answer) == (422, "MF-1652")
        assert "built for class x86-openvino" in answer.json()["detail"]


@in_loop
async def test_a_class_without_a_variant_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        await fleet.add(2, OPENVINO, label="o")
        body = {"resource": json.dumps(plan("digits:1.0")), "idempotency_key": "k"}
        answer = await one.call("POST", "/v1/rollouts/plan", body, expect=200)
        view = codec.decode(answer.content, PlanView, what="plan")
        found = {item.device_class: item for item in view.classes}
        assert view.devices == 6
        assert found["x86-openvino"].variant is None
        assert len(found["x86-openvino"].no_variant) == 2
        assert found["arm-litert"].variant == "arm-litert.fp32"
        assert found["arm-litert"].bytes_per_device > 0
        assert any("weaker evidence" in warning for warning in view.warnings)
        rollout = await fleet.create("digits:1.0")
        assert [item.device_class for item in rollout.classes] == ["arm-litert", "x86-onnxruntime"]
        refused = {device.outcome for device in rollout.devices if device.device_class == "x86-openvino"}
        assert refused <= {"refused"}


@in_loop
async def test_a_repeated_creation_makes_one_rollout(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        first = await fleet.create("digits:1.0", key="same")
        again = await fleet.create("digits:1.0", key="same", expect=200)
        assert again.id == first.id
        assert problem(await fleet.create("digits:1.1", key="same", expect=409)) == (409, "MF-1654")
        assert len((await one.get("/v1/rollouts", Rollouts)).items) == 1


@in_loop
async def test_a_second_active_rollout_on_the_same_devices(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        north = {"matchLabels": {"site": "north"}}
        first = await fleet.create("digits:1.0", selector=north)
        answer = await fleet.create("digits:1.1", expect=409)
        assert problem(answer) == (409, "MF-1650")
        assert "digits-1-0" in answer.json()["detail"]
        # other devices of the same slot, or another slot of the same devices, are no conflict
        await fleet.create("digits:1.1", selector={"matchLabels": {"site": "south"}}, key="south")
        await one.push(build(name="faces", classes=CLASSES))
        await fleet.create("faces:1.0")
        # superseded: the older one ends as such
        newer = await fleet.create("digits:1.1", selector=north, key="newer", supersede=True)
        assert (await fleet.view(first.id)).outcome == "superseded"
        assert (await fleet.view(newer.id)).outcome is None


@in_loop
async def test_labels_that_come_to_overlap_leave_the_older_in_charge(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        fleet = await started(one)
        older = await fleet.create("digits:1.0", selector={"matchLabels": {"site": "south"}}, stages=[LIVE])
        one.clock.advance(1)
        await fleet.create("digits:1.1", selector={"matchLabels": {"site": "north"}}, stages=[LIVE])
        device = fleet.sims[0].device
        statement = await device.check_in()
        assert statement is not None
        assert statement.slots[0].reference == "digits:1.1"
        await one.call("PUT", f"/v1/devices/{device.id}/labels", {"site": "south"}, expect=200)
        device.etag = None
        statement = await device.check_in()
        assert statement is not None
        # x86 devices were not members when the older one began, so it has no such class: nothing of it
        assert [slot.rollout for slot in statement.slots] in ([], [older.id])
        assert all(slot.reference != "digits:1.1" for slot in statement.slots)


@in_loop
async def test_viewers_may_look_and_plan_but_not_begin(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await started(one)
        viewer = await one.api_token("viewer")
        body = {"resource": json.dumps(plan("digits:1.0")), "idempotency_key": "k"}
        await one.call("POST", "/v1/rollouts/plan", body, token=viewer, expect=200)
        assert problem(await one.call("POST", "/v1/rollouts", body, token=viewer)) == (403, "MF-1607")
