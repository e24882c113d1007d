"""Keys and a signed folder that every test of trust starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.trust.keys import (
    EcdsaP256Private,
    Ed25519Private,
    ed25519_from_seed,
    generate_ecdsa_p256,
)
from modelfleet_core.trust.policy import TrustFile, TrustPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTENT = {"release.json": b"{}\n", "contract.json": b"[]\n", "model.onnx": b"\x08\x07", "golden.npz": b"PK"}
FILES = {name: str(sha256_hex(data)) for name, data in CONTENT.items()}
RELEASE = FILES["release.json"]
VARIANT = "x86-onnxruntime.int8"
RELEASE_KEY = generate_ecdsa_p256()
STRANGER = generate_ecdsa_p256()
DIRECTOR = ed25519_from_seed(b"\x01" * 32)


@dataclass(frozen=True)
class Trusted:
    release_key: EcdsaP256Private
    stranger: EcdsaP256Private
    director: Ed25519Private
    file: TrustFile
    policy: TrustPolicy


def refused(code: Code, call: Callable[[], object]) -> ModelfleetError:
    """The error of a call that must be refused with exactly this code."""
    with pytest.raises(ModelfleetError) as caught:
        call()
    assert caught.value.code is code, caught.value
    assert all(caught.value.diagnostics().lines())
    return caught.value
