from __future__ import annotations

import json
from dataclasses import replace

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.trust.policy import policy_of, read_trust_file, write_trust_file

from tests.core.trust.support import DIRECTOR, RELEASE_KEY, STRANGER, Trusted, refused


def test_round_trip(trusted: Trusted) -> None:
    assert read_trust_file(write_trust_file(trusted.file)) == trusted.file
    both = replace(trusted.file, release_keys=(*trusted.file.release_keys, STRANGER.public().to_pem()))
    policy = policy_of(read_trust_file(write_trust_file(both)))
    assert set(policy.release) == {RELEASE_KEY.key_hint, STRANGER.key_hint}
    assert policy.release_verifier(STRANGER.key_hint) is not None
    assert policy.release_verifier(DIRECTOR.key_hint) is None
    assert [v.key_hint for v in policy.director_verifiers()] == [DIRECTOR.key_hint]


def test_it_holds_no_private_key(trusted: Trusted) -> None:
    assert b"PRIVATE" not in write_trust_file(trusted.file)


@pytest.mark.parametrize("side", ["release_keys", "director_keys"])
def test_both_sides_need_a_key(trusted: Trusted, side: str) -> None:
    body = json.loads(write_trust_file(trusted.file))
    body[side] = []
    error = refused(Code.TRUST_FILE_NO_KEYS, lambda: read_trust_file(json.dumps(body).encode()))
    assert side.split("_")[0] in error.happened


def test_keys_stand_on_their_side_only(trusted: Trusted) -> None:
    swapped = replace(
        trusted.file, release_keys=trusted.file.director_keys, director_keys=trusted.file.release_keys
    )
    refused(Code.KEY_WRONG_KIND, lambda: policy_of(swapped))
    mixed = replace(trusted.file, release_keys=(*trusted.file.release_keys, *trusted.file.director_keys))
    refused(Code.KEY_WRONG_KIND, lambda: policy_of(mixed))
    foreign = replace(trusted.file, director_keys=(STRANGER.public().to_pem(),))
    error = refused(Code.KEY_WRONG_KIND, lambda: policy_of(foreign))
    assert "director" in error.happened


@pytest.mark.parametrize(
    "change",
    [
        {"audience": ""},
        {"audience": "a b"},
        {"audience": "x" * 65},
        {"audience": None},
        {"schema": 2},
        {"issued_at": "2026-03-01T12:00:00"},
        {"issued_at": "yesterday"},
        {"release_keys": "all"},
        {"release_keys": ["x"] * 33},
        {"controller_ca": "x" * 70_000},
    ],
)
def test_a_broken_file_is_refused(trusted: Trusted, change: dict[str, object]) -> None:
    body = json.loads(write_trust_file(trusted.file)) | change
    refused(Code.TRUST_FILE_INVALID, lambda: read_trust_file(json.dumps(body).encode()))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"-----BEGIN PUBLIC KEY-----", b" " * 300_000])
def test_garbage_is_refused(data: bytes) -> None:
    refused(Code.TRUST_FILE_INVALID, lambda: read_trust_file(data))


def test_a_private_key_in_a_trust_file_is_refused(trusted: Trusted) -> None:
    body = json.loads(write_trust_file(trusted.file))
    body["release_keys"] = [RELEASE_KEY.to_pem()]
    refused(Code.KEY_WRONG_KIND, lambda: read_trust_file(json.dumps(body).encode()))
