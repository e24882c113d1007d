"""Requests of devices: replayed, changed, too old, from a wrong clock, from a revoked device, after a
restart.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from modelfleet_controller.auth.request_verifier import Nonces
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.trust.director import check_time, read_time_header
from modelfleet_core.trust.policy import policy_of
from modelfleet_core.wire import codec
from modelfleet_core.wire.event import EventBatch, EventKind

from .kit import FakeDevice, Rig, in_loop, problem, rig

CHECKIN = "/v1/device/checkin"


@in_loop
async def test_a_replayed_request_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        body = device.checkin_body()
        headers = device.signed("POST", CHECKIN, body, device.nonce())
        assert (await one.http.post(CHECKIN, content=body, headers=headers)).status_code == 200
        for wait in (0, 200, 99):
            one.clock.advance(wait)
            assert problem(await one.http.post(CHECKIN, content=body, headers=headers)) == (401, "MF-2207")
        one.clock.advance(2)  # out of the window: the nonce may be forgotten, the request is too old
        assert problem(await one.http.post(CHECKIN, content=body, headers=headers)) == (401, "MF-2205")


@in_loop
async def test_a_replay_across_a_restart_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        body = device.checkin_body()
        headers = device.signed("POST", CHECKIN, body, device.nonce())
        assert (await one.http.post(CHECKIN, content=body, headers=headers)).status_code == 200
        clock = one.clock
    clock.advance(5)
    async with rig(tmp_path, clock) as again:
        answer = await again.http.post(CHECKIN, content=body, headers=headers)
        assert problem(answer) == (401, "MF-2205")
        assert "before this controller started" in answer.json()["detail"]


@in_loop
async def test_what_a_fast_clock_can_replay_across_a_restart_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        device.skew_s = 200
        event = device.event(EventKind.ALARM, "op", "0" * 64)
        body = codec.encode(EventBatch("e1", (event,)))
        headers = device.signed("POST", "/v1/device/events", body, device.nonce())
        first = await one.http.post("/v1/device/events", content=body, headers=headers)
        assert first.json() == {"epoch": "e1", "through": 1}
        clock = one.clock
    clock.advance(5)
    async with rig(tmp_path, clock) as again:
        second = await again.http.post("/v1/device/events", content=body, headers=headers)
        assert second.json() == {"epoch": "e1", "through": 1}


@pytest.mark.parametrize("change", ["body", "path", "query", "method", "nonce", "created", "keyid"])
@in_loop
async def test_a_changed_request_is_refused(tmp_path: Path, change: str) -> None:
    async with rig(tmp_path) as one:
        device, other = await one.device("camera-1"), await one.device("camera-2")
        body, path, method = device.checkin_body(), CHECKIN, "POST"
        nonce = device.nonce()
        headers = device.signed(method, path, body, nonce)
        if change == "body":
            body = body.replace(b"boot-1", b"boot-2")
        elif change == "path":
            path = "/v1/device/events"
        elif change == "query":
            path += "?x=1"
        elif change == "method":
            method, path, body = "GET", f"/v1/blobs/sha256/{'0' * 64}", b""
            headers = device.signed("POST", path, body, nonce)
        elif change == "nonce":
            headers["Signature-Input"] = headers["Signature-Input"].replace(nonce, device.nonce())
        elif change == "created":
            created = str(int(one.clock.now().timestamp()))
            headers["Signature-Input"] = headers["Signature-Input"].replace(created, str(int(created) + 1))
        else:
            headers["Signature-Input"] = headers["Signature-Input"].replace(device.id, other.id)
        answer = await one.http.request(method, path, content=body, headers=headers)
        assert problem(answer) == (401, "MF-2203" if change == "body" else "MF-2206")


@in_loop
async def test_signed_for_another_controller(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        device.audience = "mfc-other"
        assert problem(await device.send(CHECKIN, device.checkin_body())) == (401, "MF-2204")


@in_loop
async def test_unsigned_unknown_and_malformed(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = FakeDevice(one, "never-enrolled")
        body = device.checkin_body()
        assert problem(await one.http.post(CHECKIN, content=body)) == (401, "MF-2201")
        assert problem(await device.send(CHECKIN, body)) == (401, "MF-2208")
        headers = device.signed("POST", CHECKIN, body, device.nonce())
        headers["Signature"] = "sig1=:AAAA:"
        assert problem(await one.http.post(CHECKIN, content=body, headers=headers)) == (401, "MF-2202")


async def recovered(one: Rig, device: FakeDevice) -> None:
    """What an agent does: takes the signed time of the answer, and tries once more."""
    nonce = device.nonce()
    body = device.checkin_body()
    headers = device.signed("POST", CHECKIN, body, nonce)
    answer = await one.http.post(CHECKIN, content=body, headers=headers)
    assert problem(answer) == (401, "MF-2205")
    policy = policy_of(await one.trust())
    told = check_time(read_time_header(answer.headers["modelfleet-time"]), policy, nonce)
    assert told.time_unix_s == one.clock.now().timestamp()
    device.skew_s = 0.0
    assert (await device.send(CHECKIN, body)).status_code == 200


@pytest.mark.parametrize("skew_s", [3600.0, -3600.0, 301.0, -56 * 365 * 86_400.0])
@in_loop
async def test_a_wrong_clock_recovers(tmp_path: Path, skew_s: float) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        device = await one.device("camera-1")
        device.skew_s = skew_s
        await recovered(one, device)


@in_loop
async def test_a_wrong_clock_recovers_at_enrolment_too(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = FakeDevice(one, "camera-1", skew_s=3600.0)
        answer = await device.enroll(await one.enrolment_token())
        assert problem(answer) == (401, "MF-2205")
        assert base64.b64decode(answer.headers["modelfleet-time"])
        device.skew_s = 0.0
        assert (await device.enroll(await one.enrolment_token())).status_code == 200


@in_loop
async def test_the_time_is_signed_only_for_proven_requests(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        stranger = FakeDevice(one, "stranger", skew_s=3600.0)
        answer = await stranger.send(CHECKIN, stranger.checkin_body())
        assert problem(answer) == (401, "MF-2208")
        assert "modelfleet-time" not in answer.headers


@in_loop
async def test_a_revoked_device_is_refused_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        await device.check_in()
        await one.call("POST", f"/v1/devices/{device.id}/revoke", expect=200)
        for path, body in (
            (CHECKIN, device.checkin_body()),
            ("/v1/device/events", b'{"epoch":"e","events":[]}'),
        ):
            assert problem(await device.send(path, body)) == (403, "MF-1611")
        blob = await device.send(f"/v1/blobs/sha256/{'0' * 64}", b"", method="GET")
        assert problem(blob) == (403, "MF-1611")
        assert problem(await device.enroll(await one.enrolment_token())) == (403, "MF-1611")


@in_loop
async def test_bodies_are_bounded_and_strict(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("camera-1")
        for body in (b"", b"[]", b"{", b'{"revision":"5"}', bytes(70_000), b'{"revision":-1}'):
            answer = await device.send(CHECKIN, body)
            assert problem(answer) == (400, "MF-1601"), body[:20]
        too_many = b'{"epoch":"e","events":[' + b",".join([b"{}"] * 3) + b"]}"
        assert problem(await device.send("/v1/device/events", too_many)) == (400, "MF-1601")


def test_nonces_are_bounded_in_time_and_number() -> None:
    seen = Nonces(limit=3)
    for index in range(3):
        seen.remember("dev", f"n{index}", 1000, 1000.0)
    with pytest.raises(WorldError) as full:
        seen.remember("dev", "n3", 1000, 1000.0)
    assert full.value.code is Code.CONTROLLER_BUSY
    with pytest.raises(CallerError):
        seen.remember("dev", "n1", 1000, 1300.0)
    seen.remember("dev", "n4", 1400, 1400.0)  # the first three have left the window
    seen.remember("other", "n4", 1400, 1400.0)
    with pytest.raises(CallerError) as replayed:
        seen.remember("dev", "n4", 1400, 1400.0)
    assert replayed.value.code is Code.REQUEST_REPLAYED
