from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.trust.dsse import open_envelope, pae, sign_envelope
from modelfleet_core.trust.keys import load_public_key
from modelfleet_core.wire import codec
from modelfleet_core.wire.enroll import Envelope, EnvelopeSignature

from tests.core.trust.support import DIRECTOR, RELEASE_KEY, STRANGER, refused

TYPE = "application/vnd.test"
GOOD = sign_envelope(TYPE, b"payload", RELEASE_KEY)
KEYS = (DIRECTOR.public(), RELEASE_KEY.public())


def _open(envelope: Envelope) -> bytes:
    return open_envelope(envelope, KEYS, TYPE, 100)


def _sig(**changes: str) -> Envelope:
    return replace(GOOD, signatures=(replace(GOOD.signatures[0], **changes),))


def test_pae_of_the_specification() -> None:
    # DSSE protocol.md, "Test Vectors"
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_signature_of_the_specification() -> None:
    # DSSE protocol.md, "Test Vectors": ECDSA P-256, signature as r | s
    numbers = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    )
    raw = base64.b64decode(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    pem = numbers.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
    envelope = Envelope(
        payload="aGVsbG8gd29ybGQ=",
        payloadType="http://example.com/HelloWorld",
        signatures=(EnvelopeSignature(base64.b64encode(der).decode()),),
    )
    key = load_public_key(pem)
    assert open_envelope(envelope, (key,), "http://example.com/HelloWorld", 100) == b"hello world"


@given(st.binary(max_size=100))
def test_round_trip(payload: bytes) -> None:
    envelope = sign_envelope(TYPE, payload, DIRECTOR)
    again = codec.decode(codec.encode(envelope), Envelope, what="envelope")
    assert _open(again) == payload


def test_an_empty_keyid_tries_every_key() -> None:
    assert _open(_sig(keyid="")) == b"payload"


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (replace(GOOD, payload=base64.b64encode(b"Payload").decode()), Code.SIGNATURE_BAD),
        (replace(GOOD, payload=GOOD.payload.rstrip("=")), Code.ENVELOPE_INVALID),
        (replace(GOOD, payload=GOOD.payload + "\n"), Code.ENVELOPE_INVALID),
        (replace(GOOD, payload="cGF5bG9hZE=="), Code.ENVELOPE_INVALID),
        (replace(GOOD, payload="pay_load"), Code.ENVELOPE_INVALID),
        (replace(GOOD, payload="\u00e4" * 4), Code.ENVELOPE_INVALID),
        (replace(GOOD, payload="A" * 140), Code.ENVELOPE_TOO_LARGE),
        (replace(GOOD, payloadType=TYPE + "x"), Code.ENVELOPE_PAYLOAD_TYPE),
        (replace(GOOD, payloadType=""), Code.ENVELOPE_PAYLOAD_TYPE),
        (replace(GOOD, signatures=()), Code.ENVELOPE_SIGNATURES),
        (replace(GOOD, signatures=GOOD.signatures * 2), Code.ENVELOPE_SIGNATURES),
        (
            replace(
                GOOD, signatures=(*sign_envelope(TYPE, b"payload", STRANGER).signatures, *GOOD.signatures)
            ),
            Code.ENVELOPE_SIGNATURES,
        ),
        (_sig(sig="!"), Code.ENVELOPE_INVALID),
        (_sig(sig=""), Code.SIGNATURE_BAD),
        (_sig(sig="A" * 600), Code.ENVELOPE_TOO_LARGE),
        (_sig(sig=sign_envelope(TYPE, b"payload", STRANGER).signatures[0].sig), Code.SIGNATURE_BAD),
        (_sig(sig=sign_envelope(TYPE + "x", b"payload", RELEASE_KEY).signatures[0].sig), Code.SIGNATURE_BAD),
        (_sig(keyid="0" * 64), Code.SIGNER_UNKNOWN),
        (_sig(keyid="x" * 200), Code.ENVELOPE_TOO_LARGE),
        (_sig(keyid=DIRECTOR.key_hint), Code.SIGNATURE_BAD),
        (sign_envelope(TYPE, b"payload", STRANGER), Code.SIGNER_UNKNOWN),
    ],
)
def test_every_tamper_is_refused(envelope: Envelope, code: Code) -> None:
    refused(code, lambda: _open(envelope))


def test_without_keys_nothing_is_trusted() -> None:
    refused(Code.SIGNER_UNKNOWN, lambda: open_envelope(_sig(keyid=""), (), TYPE, 100))


def test_the_limit_is_on_the_decoded_bytes() -> None:
    exact = sign_envelope(TYPE, b"x" * 100, RELEASE_KEY)
    assert len(_open(exact)) == 100
    refused(Code.ENVELOPE_TOO_LARGE, lambda: _open(sign_envelope(TYPE, b"x" * 103, RELEASE_KEY)))
