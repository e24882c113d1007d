from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.trust.director import (
    check_statement,
    check_time,
    issue_statement,
    issue_time,
    read_time_header,
    time_header,
)
from modelfleet_core.trust.dsse import sign_envelope
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import (
    DIRECTOR_PAYLOAD,
    TIME_PAYLOAD,
    DirectorStatement,
    Mode,
    SlotAssignment,
)
from modelfleet_core.wire.enroll import Envelope, TimeStatement

from tests.core.trust.support import DIRECTOR, NOW, RELEASE, RELEASE_KEY, Trusted, refused

DEVICE = "dev_" + "0" * 32
SLOT = SlotAssignment("digits", "op-1", RELEASE, "digits:1.1", "x86-onnxruntime.int8", "b" * 64, Mode.SHADOW)
GOOD = DirectorStatement(DEVICE, 7, NOW, NOW + timedelta(hours=1), "nonce", (SLOT,))
THIEF = ed25519_from_seed(b"\x09" * 32)


def _check(trusted: Trusted, envelope: Envelope, **changes: Any) -> DirectorStatement:
    arguments: dict[str, Any] = {"device": DEVICE, "nonce": "nonce", "last_revision": 7, "now_floor": NOW}
    return check_statement(envelope, trusted.policy, **(arguments | changes))


def test_a_good_statement_is_understood(trusted: Trusted) -> None:
    assert _check(trusted, issue_statement(GOOD, DIRECTOR)) == GOOD


def test_it_survives_the_wire(trusted: Trusted) -> None:
    sent = codec.encode(issue_statement(GOOD, DIRECTOR))
    assert _check(trusted, codec.decode(sent, Envelope, what="envelope")) == GOOD


def test_a_statement_read_from_disk_again_needs_no_nonce(trusted: Trusted) -> None:
    assert _check(trusted, issue_statement(GOOD, DIRECTOR), nonce=None) == GOOD


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": "dev_" + "1" * 32}, Code.DIRECTOR_DEVICE),
        ({"nonce": "other"}, Code.DIRECTOR_NONCE),
        ({"nonce": ""}, Code.DIRECTOR_NONCE),
        ({"last_revision": 8}, Code.DIRECTOR_REVISION),
        ({"now_floor": NOW + timedelta(hours=1)}, Code.DIRECTOR_EXPIRED),
        ({"now_floor": NOW + timedelta(days=9)}, Code.DIRECTOR_EXPIRED),
    ],
)
def test_each_binding_has_its_own_refusal(trusted: Trusted, changes: dict[str, Any], code: Code) -> None:
    refused(code, lambda: _check(trusted, issue_statement(GOOD, DIRECTOR), **changes))


def test_the_last_moment_still_counts(trusted: Trusted) -> None:
    floor = NOW + timedelta(hours=1) - timedelta(microseconds=1)
    assert _check(trusted, issue_statement(GOOD, DIRECTOR), now_floor=floor) == GOOD


@pytest.mark.parametrize(
    "statement",
    [
        replace(GOOD, expires_at=NOW),
        replace(GOOD, expires_at=NOW - timedelta(seconds=1)),
        replace(GOOD, revision=-1),
        replace(GOOD, schema=2),
    ],
)
def test_nonsense_is_refused_even_when_signed(trusted: Trusted, statement: DirectorStatement) -> None:
    refused(Code.DIRECTOR_INVALID, lambda: _check(trusted, issue_statement(statement, DIRECTOR)))


@pytest.mark.parametrize(
    "change",
    [
        {"slot": "../etc"},
        {"slot": "Digits"},
        {"release": "latest"},
        {"release": RELEASE.upper()},
        {"bundle": "../x"},
        {"baseline": "1.0"},
        {"variant": "a/b"},
        {"mode": "forced"},
        {"window_s": 0},
        {"window_s": -1.0},
        {"bandwidth": 0},
        {"bandwidth": -5},
        {"probation_s": -1},
        {"reverse_share": 1.5},
        {"reverse_share": -0.1},
        {"golden_tolerance_points": -1},
        {"operation": ""},
        {"operation": "x" * 161},
        {"operation": "a\nb"},
        {"reference": "x" * 161},
    ],
)
def test_what_must_not_reach_a_device_is_refused_even_when_signed(
    trusted: Trusted, change: dict[str, Any]
) -> None:
    body = json.loads(codec.encode(GOOD))
    body["slots"][0].update(change)
    envelope = sign_envelope(DIRECTOR_PAYLOAD, json.dumps(body).encode(), DIRECTOR)
    refused(Code.DIRECTOR_INVALID, lambda: _check(trusted, envelope))


def test_slots_stand_once_and_are_few(trusted: Trusted) -> None:
    body = json.loads(codec.encode(GOOD))
    for slots in (body["slots"] * 2, [body["slots"][0] | {"slot": f"s{i}"} for i in range(65)]):
        envelope = sign_envelope(DIRECTOR_PAYLOAD, json.dumps(body | {"slots": slots}).encode(), DIRECTOR)
        refused(Code.DIRECTOR_INVALID, partial(_check, trusted, envelope))


def test_a_naive_instant_is_refused(trusted: Trusted) -> None:
    body = json.loads(codec.encode(GOOD)) | {"expires_at": "2026-03-01T13:00:00"}
    envelope = sign_envelope(DIRECTOR_PAYLOAD, json.dumps(body).encode(), DIRECTOR)
    refused(Code.DIRECTOR_INVALID, lambda: _check(trusted, envelope))


def test_only_the_director_s_key_speaks(trusted: Trusted) -> None:
    refused(Code.SIGNER_UNKNOWN, lambda: _check(trusted, issue_statement(GOOD, THIEF)))
    refused(Code.SIGNER_UNKNOWN, lambda: _check(trusted, issue_statement(GOOD, RELEASE_KEY)))
    named = issue_statement(GOOD, THIEF)
    named = replace(named, signatures=(replace(named.signatures[0], keyid=DIRECTOR.key_hint),))
    refused(Code.SIGNATURE_BAD, lambda: _check(trusted, named))


def test_a_changed_payload_is_refused(trusted: Trusted) -> None:
    good = issue_statement(GOOD, DIRECTOR)
    other = issue_statement(replace(GOOD, revision=8), DIRECTOR)
    refused(Code.SIGNATURE_BAD, lambda: _check(trusted, replace(good, payload=other.payload)))


def test_signed_time_is_no_statement_and_the_other_way_round(trusted: Trusted) -> None:
    time = issue_time(TimeStatement(NOW.timestamp(), "nonce"), DIRECTOR)
    refused(Code.ENVELOPE_PAYLOAD_TYPE, lambda: _check(trusted, time))
    refused(
        Code.ENVELOPE_PAYLOAD_TYPE,
        lambda: check_time(issue_statement(GOOD, DIRECTOR), trusted.policy, "nonce"),
    )


def test_signed_time(trusted: Trusted) -> None:
    time = TimeStatement(NOW.timestamp(), "nonce")
    header = time_header(issue_time(time, DIRECTOR))
    assert check_time(read_time_header(header), trusted.policy, "nonce") == time
    refused(Code.TIME_NONCE, lambda: check_time(issue_time(time, DIRECTOR), trusted.policy, "other"))
    refused(Code.SIGNER_UNKNOWN, lambda: check_time(issue_time(time, THIEF), trusted.policy, "nonce"))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"time_unix_s":-1,"nonce":"nonce"}', b'{"time_unix_s":1e300,"nonce":""}']
)
def test_impossible_times_are_refused(trusted: Trusted, body: bytes) -> None:
    envelope = sign_envelope(TIME_PAYLOAD, body, DIRECTOR)
    refused(Code.TIME_INVALID, lambda: check_time(envelope, trusted.policy, "nonce"))


@pytest.mark.parametrize("header", ["", "%", "e30=", "A" * 5000, "bm90IGpzb24="])
def test_a_broken_time_header_is_refused(header: str) -> None:
    refused(Code.TIME_INVALID, lambda: read_time_header(header))


def test_refusals_are_told_apart_before_anything_is_believed(trusted: Trusted) -> None:
    # wrong in every way: the signature is judged first
    wrong = issue_statement(replace(GOOD, device="dev_x", revision=1), THIEF)
    with pytest.raises(ModelfleetError) as caught:
        _check(trusted, wrong, now_floor=datetime.max.replace(tzinfo=NOW.tzinfo))
    assert caught.value.code is Code.SIGNER_UNKNOWN
