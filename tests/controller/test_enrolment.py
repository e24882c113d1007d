"""How a device comes in: its own key, a token, its class; and who does not come in."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

from modelfleet_core.ids import device_id
from modelfleet_core.wire import codec
from modelfleet_core.wire.enroll import EnrollAnswer, EnrollRequest
from modelfleet_core.wire.operator import Devices, DeviceView, Tokens

from .kit import ARM, GIB, OPENVINO, X86, FakeDevice, in_loop, problem, rig


@in_loop
async def test_a_device_enrols_and_is_matched(tmp_path: Path) -> None:
    async with rig(tmp_path, poll_s=30.0) as one:
        device = FakeDevice(one, "camera-1", X86)
        token = await one.enrolment_token(labels={"site": "north"})
        answer = await device.enroll(token, {"floor": "2"})
        told = codec.decode(answer.content, EnrollAnswer, what="answer")
        assert told.device_id == device_id(device.key.public().raw)
        assert (told.device_class, told.poll_s) == ("x86-onnxruntime", 30.0)
        assert told.audience == one.controller.audience
        assert any("x86-openvino" in reason and "not offered" in reason for reason in told.class_reasons)
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert view.labels == {"site": "north", "floor": "2"}
        assert (view.name, view.revoked, view.last_seen) == ("camera-1", False, None)


@in_loop
async def test_a_device_that_no_class_fits_is_in_and_says_why(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        poor = replace(X86, memory_bytes=1024)
        device = await one.device("tiny", poor)
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert view.device_class is None
        assert any("memory 1024 B" in reason for reason in view.class_reasons)


@in_loop
async def test_the_same_key_again_is_the_same_device_and_spends_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        token = await one.enrolment_token(max_uses=1)
        device = await one.device("camera-1", token=token)
        assert (await device.enroll(token)).status_code == 200
        assert (await device.enroll("mfe_whatever")).status_code == 200
        assert len((await one.get("/v1/devices", Devices)).items) == 1
        listed = await one.get("/v1/tokens", Tokens)
        assert next(t for t in listed.items if t.kind == "enrolment").uses == 1


@in_loop
async def test_tokens_that_do_not_let_in(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        once = await one.enrolment_token(max_uses=1)
        await one.device("first", token=once)
        assert problem(await FakeDevice(one, "second").enroll(once)) == (401, "MF-1606")
        assert problem(await FakeDevice(one, "second").enroll("mfe_nothing")) == (401, "MF-1603")
        assert problem(await FakeDevice(one, "second").enroll(one.token)) == (401, "MF-1603")
        late = await one.enrolment_token()
        one.clock.advance(3601)
        assert problem(await FakeDevice(one, "second").enroll(late)) == (401, "MF-1604")
        revoked = await one.enrolment_token(name="stolen")
        listed = await one.get("/v1/tokens", Tokens)
        identity = next(t.id for t in listed.items if t.name == "stolen")
        await one.call("DELETE", f"/v1/tokens/{identity}", expect=204)
        assert problem(await FakeDevice(one, "second").enroll(revoked)) == (401, "MF-1605")
        assert len((await one.get("/v1/devices", Devices)).items) == 1


@in_loop
async def test_configured_facts_need_a_token_that_allows_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        rehearsal = replace(ARM, overridden=("architecture",))
        plain, allowing = await one.enrolment_token(), await one.enrolment_token(allow_override=True)
        assert problem(await FakeDevice(one, "a", rehearsal).enroll(plain)) == (403, "MF-1608")
        device = FakeDevice(one, "a", rehearsal)
        assert (await device.enroll(allowing)).status_code == 200
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert (view.device_class, view.facts.overridden) == ("arm-litert", ("architecture",))
        # and it cannot be sneaked in later
        honest = await one.device("b", X86, token=plain)
        honest.facts = rehearsal
        answer = await honest.send("/v1/device/checkin", honest.checkin_body(with_facts=True))
        assert problem(answer) == (403, "MF-1608")
        assert (await one.get(f"/v1/devices/{honest.id}", DeviceView)).device_class == "x86-onnxruntime"


@in_loop
async def test_a_device_cannot_contradict_its_tokens_labels(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        token = await one.enrolment_token(labels={"site": "north"})
        assert problem(await FakeDevice(one, "a").enroll(token, {"site": "south"})) == (422, "MF-1609")
        assert (await FakeDevice(one, "a").enroll(token, {"site": "north"})).status_code == 200


@in_loop
async def test_possession_of_the_key_is_proven(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        token = await one.enrolment_token()
        victim, thief = FakeDevice(one, "victim"), FakeDevice(one, "thief")
        public = base64.b64encode(victim.key.public().raw).decode()
        body = codec.encode(EnrollRequest(token, public, "thief", X86))
        # signed as the thief: the id does not belong to the key
        assert problem(await thief.send("/v1/device/enroll", body)) == (422, "MF-1612")
        # signed by the thief under the victim's id
        thief.id = victim.id
        assert problem(await thief.send("/v1/device/enroll", body)) == (401, "MF-2206")
        # not signed at all
        assert problem(await one.http.post("/v1/device/enroll", content=body)) == (401, "MF-2201")
        assert (await one.get("/v1/devices", Devices)).items == ()


@in_loop
async def test_keys_that_are_none(tmp_path: Path) -> None:
    zeros = base64.b64encode(bytes(32)).decode()
    async with rig(tmp_path) as one:
        for key, code in (("", 1612), ("AAAA", 1612), ("ä", 1612), (zeros, 2002), ("A" * 43 + "=", 2002)):
            public = {"public_key": key, "token": await one.enrolment_token(), "name": "x", "facts": X86}
            answer = await FakeDevice(one, "x").send("/v1/device/enroll", codec.encode(public))
            assert answer.status_code in (400, 422), key
            assert problem(answer)[1] in ("MF-1601", f"MF-{code}", "MF-2001"), key


CHANGES: list[dict[str, object]] = [
    {"name": ""},
    {"name": "x" * 129},
    {"name": "a\nb"},
    {"labels": {"Bad Key": "x"}},
    {"labels": {"site": "x" * 64}},
    {"facts": {"architecture": "x" * 200, "runtimes": {}, "memory_bytes": 1}},
    {"facts": {"architecture": "x86_64", "runtimes": {}, "memory_bytes": -1}},
    {"facts": {"architecture": "x86_64", "runtimes": {}, "memory_bytes": "1"}},
    {
        "facts": {
            "architecture": "x86_64",
            "runtimes": {str(i): "1" for i in range(40)},
            "memory_bytes": 1,
        }
    },
    {"token": 5},
]


@in_loop
async def test_bodies_that_are_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = FakeDevice(one, "camera-1")
        public = base64.b64encode(device.key.public().raw).decode()
        facts = {"architecture": "x86_64", "runtimes": {"onnxruntime": "1.22"}, "memory_bytes": GIB}
        token = await one.enrolment_token()
        for change in CHANGES:
            body = {"token": token, "public_key": public, "name": "camera-1", "facts": facts, **change}
            answer = await device.send("/v1/device/enroll", json.dumps(body).encode())
            assert problem(answer) == (400, "MF-1601"), change
        assert (await one.get("/v1/devices", Devices)).items == ()


@in_loop
async def test_a_device_outlives_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1", OPENVINO, {"site": "north"})
        await device.check_in()
        clock, token = one.clock, one.token
    async with rig(tmp_path, clock, token=token) as again:
        view = await again.get(f"/v1/devices/{device.id}", DeviceView)
        assert (view.device_class, view.labels) == ("x86-openvino", {"site": "north"})
        assert view.last_seen == clock.now()
        device.rig = again
        device.policy = None
        assert await device.check_in() is None  # its statement still holds
