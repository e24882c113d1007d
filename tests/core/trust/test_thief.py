"""The drill: a thief holds the controller with its director key, and wants his model on a device.

The device is what `core.trust` makes of it: statement, bundle, release, files, in the order of
docs/guides/trust.md. Whatever he signs, nothing gets through that no release key signed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.ids import sha256_hex
from modelfleet_core.trust.bundle import sign_bundle, verify_bundle
from modelfleet_core.trust.director import check_statement, issue_statement
from modelfleet_core.trust.statement import build_statement, check_assignment, check_files
from modelfleet_core.wire.director import DirectorStatement, Mode, SlotAssignment
from modelfleet_core.wire.enroll import Envelope

from tests.core.trust.support import (
    CONTENT,
    DIRECTOR,
    FILES,
    NOW,
    RELEASE,
    RELEASE_KEY,
    STRANGER,
    VARIANT,
    Trusted,
    refused,
)

DEVICE = "dev_" + "0" * 32
AUTHORISED = sign_bundle(build_statement(VARIANT, FILES, RELEASE), RELEASE_KEY)
EVIL = CONTENT | {"model.onnx": b"evil"}
EVIL_FILES = {name: str(sha256_hex(data)) for name, data in EVIL.items()}


@dataclass(frozen=True)
class Attack:
    """What the controller hands out: a statement, and blobs by digest as it likes them."""

    statement: Envelope
    bundle: bytes
    files: dict[str, bytes]


def _order(bundle: bytes, release: str = RELEASE, variant: str = VARIANT) -> Envelope:
    slot = SlotAssignment(
        slot="digits",
        operation="op",
        reference="digits:9",
        bundle=str(sha256_hex(bundle)),
        mode=Mode.LIVE,
        release=release,
        variant=variant,
    )
    statement = DirectorStatement(DEVICE, 9, NOW, NOW + timedelta(hours=1), "nonce", (slot,))
    return issue_statement(statement, DIRECTOR)


def _device(trusted: Trusted, attack: Attack) -> dict[str, bytes]:
    """What the device would load."""
    statement = check_statement(
        attack.statement, trusted.policy, device=DEVICE, nonce="nonce", last_revision=0, now_floor=NOW
    )
    slot = statement.slots[0]
    assert sha256_hex(attack.bundle) == slot.bundle
    signed = verify_bundle(attack.bundle, trusted.policy).statement
    check_assignment(signed, slot.release, slot.variant)
    check_files(signed, {name: str(sha256_hex(data)) for name, data in attack.files.items()})
    return attack.files


def test_the_honest_controller_gets_through(trusted: Trusted) -> None:
    assert _device(trusted, Attack(_order(AUTHORISED), AUTHORISED, CONTENT)) == CONTENT


def test_changed_files_under_an_authorised_bundle(trusted: Trusted) -> None:
    refused(Code.FILE_DIGEST, lambda: _device(trusted, Attack(_order(AUTHORISED), AUTHORISED, EVIL)))
    more = CONTENT | {"plugin.so": b"evil"}
    refused(Code.FILE_UNSIGNED, lambda: _device(trusted, Attack(_order(AUTHORISED), AUTHORISED, more)))


@pytest.mark.parametrize("key", [DIRECTOR, STRANGER], ids=["director's", "own"])
def test_a_bundle_signed_by_a_key_that_makes_no_releases(trusted: Trusted, key: object) -> None:
    forged = sign_bundle(build_statement(VARIANT, EVIL_FILES, RELEASE), key)  # type: ignore[arg-type]
    refused(Code.SIGNER_UNKNOWN, lambda: _device(trusted, Attack(_order(forged), forged, EVIL)))
    named = json.loads(forged)
    named["verificationMaterial"]["publicKey"]["hint"] = RELEASE_KEY.key_hint
    claimed = json.dumps(named).encode()
    refused(Code.SIGNATURE_BAD, lambda: _device(trusted, Attack(_order(claimed), claimed, EVIL)))


def test_an_evil_statement_in_an_authorised_signature(trusted: Trusted) -> None:
    evil = json.loads(sign_bundle(build_statement(VARIANT, EVIL_FILES, RELEASE), STRANGER))
    mixed = json.loads(AUTHORISED)
    mixed["dsseEnvelope"]["payload"] = evil["dsseEnvelope"]["payload"]
    data = json.dumps(mixed).encode()
    refused(Code.SIGNATURE_BAD, lambda: _device(trusted, Attack(_order(data), data, EVIL)))


def test_an_authorised_bundle_under_another_name(trusted: Trusted) -> None:
    for order in (_order(AUTHORISED, release="9" * 64), _order(AUTHORISED, variant="arm-litert.int8")):
        attack = Attack(order, AUTHORISED, CONTENT)
        refused(Code.STATEMENT_OTHER_RELEASE, partial(_device, trusted, attack))


def test_his_own_director(trusted: Trusted) -> None:
    order = _order(AUTHORISED)
    foreign = replace(order, signatures=(replace(order.signatures[0], sig="AAAA"),))
    refused(Code.SIGNATURE_BAD, lambda: _device(trusted, Attack(foreign, AUTHORISED, CONTENT)))
