from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.trust.bundle import bundle_signer, sign_bundle, verify_bundle
from modelfleet_core.trust.dsse import sign_envelope
from modelfleet_core.trust.statement import STATEMENT_PAYLOAD, build_statement

from tests.core.trust.support import (
    FILES,
    RELEASE,
    RELEASE_KEY,
    STRANGER,
    VARIANT,
    Trusted,
    refused,
)

GOOD = sign_bundle(build_statement(VARIANT, FILES, RELEASE), RELEASE_KEY)
Change = Callable[[dict[str, Any]], object]


def _changed(change: Change) -> bytes:
    body = json.loads(GOOD)
    change(body)
    return json.dumps(body).encode()


def _signed(payload: bytes, payload_type: str = STATEMENT_PAYLOAD) -> bytes:
    """A bundle around anything at all, properly signed by the trusted key."""
    envelope = sign_envelope(payload_type, payload, RELEASE_KEY)
    return _changed(
        lambda b: b["dsseEnvelope"].update(
            payload=envelope.payload,
            payloadType=payload_type,
            signatures=[{"sig": envelope.signatures[0].sig, "keyid": ""}],
        )
    )


def test_a_good_bundle_says_what_was_signed_and_by_whom(trusted: Trusted) -> None:
    verified = verify_bundle(GOOD, trusted.policy)
    assert verified.statement.files == FILES
    assert verified.statement.release == RELEASE
    assert verified.statement.variant == VARIANT
    assert verified.key_hint == RELEASE_KEY.key_hint == bundle_signer(GOOD)


def test_any_of_several_trusted_keys_will_do() -> None:
    keys = {k.key_hint: k.public() for k in (STRANGER, RELEASE_KEY)}
    assert verify_bundle(GOOD, keys).key_hint == RELEASE_KEY.key_hint


def test_a_stranger_s_release_is_refused(trusted: Trusted) -> None:
    foreign = sign_bundle(build_statement(VARIANT, FILES, RELEASE), STRANGER)
    error = refused(Code.SIGNER_UNKNOWN, lambda: verify_bundle(foreign, trusted.policy))
    assert STRANGER.key_hint[:16] in error.happened


def test_a_stranger_who_names_the_trusted_key_is_refused(trusted: Trusted) -> None:
    foreign = json.loads(sign_bundle(build_statement(VARIANT, FILES, RELEASE), STRANGER))
    foreign["verificationMaterial"]["publicKey"]["hint"] = RELEASE_KEY.key_hint
    refused(Code.SIGNATURE_BAD, lambda: verify_bundle(json.dumps(foreign).encode(), trusted.policy))


def test_the_director_s_key_signs_no_release(trusted: Trusted) -> None:
    foreign = sign_bundle(build_statement(VARIANT, FILES, RELEASE), trusted.director)
    refused(Code.SIGNER_UNKNOWN, lambda: verify_bundle(foreign, trusted.policy))


def _envelope(**changes: object) -> Change:
    return lambda b: b["dsseEnvelope"].update(changes)


def _other_payload(b: dict[str, Any]) -> None:
    payload = bytearray(base64.b64decode(b["dsseEnvelope"]["payload"]))
    payload[payload.index(b"model.onnx")] ^= 1
    b["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
            Code.BUNDLE_MEDIA_TYPE,
        ),
        (lambda b: b.pop("mediaType"), Code.BUNDLE_INVALID),
        (lambda b: b.pop("verificationMaterial"), Code.BUNDLE_INVALID),
        (lambda b: b.pop("dsseEnvelope"), Code.BUNDLE_INVALID),
        (lambda b: b["verificationMaterial"].pop("publicKey"), Code.BUNDLE_MATERIAL),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint=""), Code.BUNDLE_MATERIAL),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint=7), Code.BUNDLE_INVALID),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64), Code.SIGNER_UNKNOWN),
        (
            lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}),
            Code.BUNDLE_MATERIAL,
        ),
        (_other_payload, Code.SIGNATURE_BAD),
        (_envelope(payload="e30="), Code.SIGNATURE_BAD),
        (_envelope(payload="%%%"), Code.ENVELOPE_INVALID),
        (_envelope(payload="A" * 2_000_000), Code.BUNDLE_INVALID),
        (_envelope(payloadType="application/json"), Code.ENVELOPE_PAYLOAD_TYPE),
        (_envelope(signatures=[]), Code.ENVELOPE_SIGNATURES),
        (
            lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]),
            Code.ENVELOPE_SIGNATURES,
        ),
        (
            lambda b: b["dsseEnvelope"]["signatures"].insert(0, {"sig": "AAAA", "keyid": ""}),
            Code.ENVELOPE_SIGNATURES,
        ),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64), Code.SIGNER_UNKNOWN),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), Code.SIGNATURE_BAD),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=None), Code.BUNDLE_INVALID),
    ],
)
def test_every_changed_field_is_refused(trusted: Trusted, change: Change, code: Code) -> None:
    refused(code, lambda: verify_bundle(_changed(change), trusted.policy))


@given(flip=st.integers(min_value=0))
def test_a_flipped_bit_anywhere_changes_nothing_or_is_refused(flip: int) -> None:
    data = bytearray(GOOD)
    data[flip // 8 % len(data)] ^= 1 << flip % 8
    keys = {RELEASE_KEY.key_hint: RELEASE_KEY.public()}
    try:
        verified = verify_bundle(bytes(data), keys)
    except IntegrityError:
        return
    # white space, the letter of an ignored field: what was signed is still exactly what is returned
    assert verified == verify_bundle(GOOD, keys)


def test_what_the_trusted_key_signed_must_still_be_a_statement(trusted: Trusted) -> None:
    refused(Code.STATEMENT_INVALID, lambda: verify_bundle(_signed(b"[]"), trusted.policy))
    refused(Code.ENVELOPE_PAYLOAD_TYPE, lambda: verify_bundle(_signed(b"{}", "text/plain"), trusted.policy))
    evil = build_statement(VARIANT, FILES, RELEASE).replace(b"golden.npz", b"../den.npz")
    refused(Code.STATEMENT_FILE_NAME, lambda: verify_bundle(_signed(evil), trusted.policy))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b"{}", b" " * 1_000_001])
def test_garbage_is_refused(trusted: Trusted, data: bytes) -> None:
    refused(Code.BUNDLE_INVALID, lambda: verify_bundle(data, trusted.policy))


def test_a_key_that_stands_twice_is_refused(trusted: Trusted) -> None:
    twice = GOOD.replace(b'"mediaType":', b'"mediaType":"x","mediaType":', 1)
    refused(Code.BUNDLE_INVALID, lambda: verify_bundle(twice, trusted.policy))


@given(st.binary(max_size=200))
def test_verifying_never_raises_anything_else(data: bytes) -> None:
    with pytest.raises(ModelfleetError):
        verify_bundle(data, {RELEASE_KEY.key_hint: RELEASE_KEY.public()})


def test_the_signer_checks_what_it_signs() -> None:
    refused(Code.STATEMENT_TYPE, lambda: sign_bundle(b"{}", RELEASE_KEY))
