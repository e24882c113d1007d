"""Enrolment: a pinned trust file or nothing, once, and repeatable after a crash."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from modelfleet_agent.identity.identity import Enrolled, load, read_identity
from modelfleet_agent.identity.keys import FileKey
from modelfleet_agent.state.folder import StateFolder, prepare
from modelfleet_agent.uplink.enroll import Order, Outcome, enroll, fingerprint
from modelfleet_agent.uplink.transport import check_url
from modelfleet_core.clock import ManualClock
from modelfleet_core.errors import CallerError, IntegrityError, WorldError
from modelfleet_core.ids import device_id
from modelfleet_core.trust.keys import generate_ecdsa_p256

from tests.agent.fakes import FACTS, FakeController, entropy

URL = "https://fleet.example"


def run(
    folder: StateFolder,
    controller: FakeController,
    *,
    seed: int = 1,
    trust: bytes | None = b"",
    **order: object,
) -> Outcome:
    given = controller.trust_bytes() if trust == b"" else trust
    asked = Order(URL, str(order.get("token", controller.token)), given, "press 7", labels={"site": "north"})
    return enroll(
        folder,
        asked,
        FACTS,
        keys=FileKey(folder.key, entropy(seed)),
        transport_of=lambda ca: controller,
        clock=ManualClock() if "clock" not in order else order["clock"],  # type: ignore[arg-type]
        entropy=entropy(seed + 1),
    )


def loaded(folder: StateFolder) -> Enrolled:
    return load(folder, FileKey(folder.key, entropy(9)))


def test_enrolment_pins_trust_and_identity(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    outcome = run(folder, controller)
    enrolled = loaded(folder)
    assert enrolled.identity == outcome.identity
    assert enrolled.identity.controller == URL
    assert enrolled.identity.device_class == "x86-onnxruntime"
    assert not enrolled.identity.trusted_on_first_use
    assert enrolled.identity.device in controller.keys
    assert enrolled.trust == controller.trust()
    assert controller.enrolments[0].labels == {"site": "north"}
    for path in (folder.key, folder.identity, folder.trust):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_enrolled_device_is_not_enrolled_again(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    run(folder, controller)
    before = folder.identity.read_bytes()
    with pytest.raises(CallerError, match="MF-3006"):
        run(folder, controller)
    assert folder.identity.read_bytes() == before


def test_a_lost_answer_is_repeated_with_the_same_key(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    controller.lose_answers = 1
    with pytest.raises(WorldError, match="MF-5010"):
        run(folder, controller)
    assert read_identity(folder) is None
    outcome = run(folder, controller, seed=5, token="mfe_token")  # the token itself is used up by now
    assert list(controller.keys) == [outcome.identity.device]


def test_a_used_token_is_refused_with_the_controllers_code(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    with pytest.raises(CallerError, match="MF-1606"):
        run(folder, controller, token="other")
    assert not folder.identity.exists()
    assert not folder.trust.exists()


@pytest.mark.parametrize("hours", [-1, 1, -24 * 365 * 20, 24 * 365])
def test_a_wrong_clock_recovers_by_the_signed_time(tmp_path: Path, hours: int) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    clock = ManualClock(controller.clock.now() + timedelta(hours=hours))
    outcome = run(folder, controller, clock=clock)
    assert outcome.identity.enrolled_at == controller.clock.now()
    assert [request.path for request in controller.requests] == ["/v1/device/enroll"] * 2


def test_a_controller_of_another_name_is_refused(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    trust = controller.trust_bytes()
    controller.audience = "fleet-2"
    with pytest.raises(CallerError, match="MF-2204"):
        run(folder, controller, trust=trust)
    assert not folder.identity.exists()


def test_trust_on_first_use_is_remembered_as_such(tmp_path: Path) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    outcome = run(folder, controller, trust=None)
    assert outcome.identity.trusted_on_first_use
    assert loaded(folder).trust.release_keys == controller.trust().release_keys
    assert outcome.fingerprint == fingerprint(controller.trust())
    other = FakeController(release_key=generate_ecdsa_p256())
    assert fingerprint(other.trust()) != outcome.fingerprint


@pytest.mark.parametrize("trust", [b"{}", b"not json", b"x" * 300_000])
def test_a_broken_trust_file_is_refused_before_anything_is_made(tmp_path: Path, trust: bytes) -> None:
    controller, folder = FakeController(), prepare(tmp_path)
    with pytest.raises(CallerError, match="MF-2050"):
        run(folder, controller, trust=trust)
    assert not folder.key.exists()
    assert controller.requests == []


# Loading what enrolment left.


def test_a_device_that_is_not_enrolled_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="MF-3005"):
        loaded(prepare(tmp_path))


def test_a_device_without_its_trust_file_does_not_run(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    run(folder, FakeController())
    folder.trust.unlink()
    with pytest.raises(CallerError, match="MF-3007") as refused:
        loaded(folder)
    assert "trust.json is missing" in refused.value.happened


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    run(folder, FakeController())
    os.chmod(folder.key, 0o640)
    with pytest.raises(IntegrityError, match="MF-3009") as refused:
        loaded(folder)
    assert "chmod 600" in refused.value.todo


def test_parts_of_two_enrolments_are_refused(tmp_path: Path) -> None:
    one, two = prepare(tmp_path / "1"), prepare(tmp_path / "2")
    run(one, FakeController())
    run(two, FakeController(audience="fleet-2"), seed=50)
    key = one.key.read_bytes()
    one.key.write_bytes(two.key.read_bytes())
    with pytest.raises(IntegrityError, match="MF-3009"):
        loaded(one)
    one.key.write_bytes(b"-----BEGIN NOTHING-----")
    with pytest.raises(IntegrityError, match="MF-3009"):
        loaded(one)
    one.key.unlink()
    with pytest.raises(IntegrityError, match="MF-3009"):
        loaded(one)
    one.key.write_bytes(key)
    one.key.chmod(0o600)
    loaded(one)
    one.trust.write_bytes(two.trust.read_bytes())
    with pytest.raises(IntegrityError, match="MF-3009"):
        loaded(one)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    keys = FileKey(tmp_path / "device.key", entropy(1))
    assert not keys.exists()
    _, public = keys.obtain()
    again = FileKey(tmp_path / "device.key", entropy(2))
    assert device_id(again.obtain()[1]) == device_id(public)


# Addresses.


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://fleet.example", "https://fleet.example"),
        ("https://fleet.example:8443/", "https://fleet.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses_that_may_be_spoken_to(url: str, read: str) -> None:
    assert check_url(url, insecure=False) == read


@pytest.mark.parametrize(
    "url",
    [
        "http://fleet.example",
        "http://10.0.0.1:80",
        "ftp://x",
        "fleet",
        "https://a:b@x",
        "https://x/path",
        "",
        "https://x?y",
    ],
)
def test_addresses_that_may_not(url: str) -> None:
    with pytest.raises(CallerError, match="MF-3008"):
        check_url(url, insecure=False)


def test_insecure_must_be_said() -> None:
    assert check_url("http://10.0.0.1:80", insecure=True) == "http://10.0.0.1:80"
