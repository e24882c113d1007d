"""Sigstore bundles v0.3 in key mode: one per variant folder (semantics section 6).

Form: https://github.com/sigstore/protobuf-specs `Bundle`, with `verificationMaterial.publicKey.hint` = sha256
hex of the key's PEM, as OpenSSF Model Signing writes it. Certificates and transparency logs (keyless) are
refused here: they need another policy than a pinned key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.manifest import MAX_BUNDLE_BYTES
from modelfleet_core.wire import codec
from modelfleet_core.wire.enroll import Envelope

from .dsse import Signer, Verifier, open_envelope, sign_envelope
from .policy import TrustPolicy
from .statement import STATEMENT_PAYLOAD, FolderStatement, parse_statement, strict_json

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_TODO: Final = "do not use it; sign the release anew with `fleetctl release sign`"


@dataclass(frozen=True, slots=True)
class PublicKeyIdentifier:
    """Names the key that signed."""

    hint: str


@dataclass(frozen=True, slots=True)
class VerificationMaterial:
    """How to find the key; fields as in the Sigstore protobuf."""

    publicKey: PublicKeyIdentifier | None = None
    tlogEntries: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it stands in the file."""

    mediaType: str
    verificationMaterial: VerificationMaterial
    dsseEnvelope: Envelope


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """What a trusted key signed."""

    statement: FolderStatement
    key_hint: str


def sign_bundle(statement: bytes, signer: Signer) -> bytes:
    """The bundle over a statement (`build_statement`), as JSON.

    Raises:
        IntegrityError: the statement would not be accepted (codes of `parse_statement`).
    """
    parse_statement(statement)
    envelope = sign_envelope(STATEMENT_PAYLOAD, statement, signer)
    # Sigstore leaves keyid empty: the hint beside it names the key.
    signatures = [{"sig": s.sig, "keyid": ""} for s in envelope.signatures]
    return codec.pretty(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signer.key_hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": envelope.payload,
                "payloadType": envelope.payloadType,
                "signatures": signatures,
            },
        }
    )


def verify_bundle(data: bytes, policy: TrustPolicy | Mapping[str, Verifier]) -> VerifiedBundle:
    """The signed statement, once everything about the bundle is found right.

    Args:
        data: the bundle's bytes.
        policy: whom to trust: a policy, or release keys by hint.

    Raises:
        IntegrityError: MF-2020 malformed or too large, MF-2021 another media type, MF-2022 no public key
            named, MF-2014 key not trusted, MF-2011 to MF-2015 as `open_envelope`, MF-2030 to MF-2035 as
            `parse_statement`.
    """
    keys: Mapping[str, Verifier] = policy.release if isinstance(policy, TrustPolicy) else policy
    bundle = _read(data)
    if bundle.mediaType != MEDIA_TYPE:
        raise IntegrityError(
            Code.BUNDLE_MEDIA_TYPE,
            f"the bundle's media type is {bundle.mediaType[:100]!r}",
            expected=MEDIA_TYPE,
            todo=_TODO,
        )
    material = bundle.verificationMaterial
    if material.publicKey is None or not material.publicKey.hint:
        raise IntegrityError(
            Code.BUNDLE_MATERIAL,
            "the bundle does not name a public key",
            expected="verificationMaterial.publicKey.hint; certificates are not supported in this version",
            todo=_TODO,
        )
    verifier = keys.get(material.publicKey.hint)
    if verifier is None:
        raise IntegrityError(
            Code.SIGNER_UNKNOWN,
            f"the release is signed by key {material.publicKey.hint[:16]}, which is not trusted",
            expected=f"one of the release keys {', '.join(sorted(h[:16] for h in keys)) or '(none)'}",
            todo="sign with a trusted key; if this key is legitimate, add it with `fleetctl trust init`",
        )
    payload = open_envelope(bundle.dsseEnvelope, (verifier,), STATEMENT_PAYLOAD, MAX_BUNDLE_BYTES)
    return VerifiedBundle(parse_statement(payload), verifier.key_hint)


def bundle_signer(data: bytes) -> str:
    """Hint of the key that a bundle claims, unverified: for messages only; empty when it names none.

    Raises:
        IntegrityError: MF-2020.
    """
    material = _read(data).verificationMaterial
    return "" if material.publicKey is None else material.publicKey.hint


def _read(data: bytes) -> Bundle:
    if len(data) > MAX_BUNDLE_BYTES:
        raise _malformed(f"it has {len(data)} bytes", f"at most {MAX_BUNDLE_BYTES}")
    try:
        strict_json(data)
        return codec.decode(data, Bundle, what="the bundle", limit=MAX_BUNDLE_BYTES)
    except ModelfleetError as error:
        raise _malformed(error.happened, "a Sigstore bundle v0.3 with a DSSE envelope") from error


def _malformed(happened: str, expected: str) -> IntegrityError:
    return IntegrityError(Code.BUNDLE_INVALID, f"release bundle: {happened}", expected=expected, todo=_TODO)
