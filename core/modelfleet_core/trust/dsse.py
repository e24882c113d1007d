"""DSSE envelopes: a payload, its type and exactly one signature over both.

Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md. Stricter than it: standard base64
alone (padded, canonical), one signature, and the caller says which payload type it expects.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final, Protocol

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError
from modelfleet_core.wire.enroll import Envelope, EnvelopeSignature

MAX_SIGNATURE_CHARACTERS: Final = 512
MAX_KEYID_CHARACTERS: Final = 128
_TODO: Final = "fetch it again; if it stays so, do not use it and ask who made it"


class Signer(Protocol):
    """Holds a private key, wherever that lives."""

    @property
    def key_hint(self) -> str:
        """Lower-case hex sha256 of the public key's PEM (SubjectPublicKeyInfo)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`."""
        ...


class Verifier(Protocol):
    """Holds a public key."""

    @property
    def key_hint(self) -> str:
        """Lower-case hex sha256 of the public key's PEM (SubjectPublicKeyInfo)."""
        ...

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` was made with the private half of this key; never raises."""
        ...


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: the bytes that are signed (DSSE protocol, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, signer: Signer) -> Envelope:
    """The envelope around `payload`, signed; `keyid` is the signer's hint."""
    signature = signer.sign(pae(payload_type, payload))
    return Envelope(
        payload=base64.b64encode(payload).decode(),
        payloadType=payload_type,
        signatures=(EnvelopeSignature(sig=base64.b64encode(signature).decode(), keyid=signer.key_hint),),
    )


def open_envelope(envelope: Envelope, verifiers: Iterable[Verifier], payload_type: str, limit: int) -> bytes:
    """The payload, once its signature is found good.

    Args:
        envelope: as received.
        verifiers: the trusted keys. A non-empty `keyid` picks among them; an empty one tries each.
        payload_type: the only type accepted.
        limit: largest payload accepted, in bytes.

    Raises:
        IntegrityError: MF-2010 malformed, MF-2011 too large, MF-2012 another payload type, MF-2013 not
            exactly one signature, MF-2014 no trusted key of that name, MF-2015 signature does not match.
    """
    # Cheap refusals first: nothing is decoded that is too large to be right.
    if len(envelope.payload) > 4 * ((limit + 2) // 3):
        raise IntegrityError(
            Code.ENVELOPE_TOO_LARGE,
            f"the envelope's payload has {len(envelope.payload)} characters of base64",
            expected=f"at most {limit} bytes of payload",
            todo=_TODO,
        )
    if envelope.payloadType != payload_type:
        raise IntegrityError(
            Code.ENVELOPE_PAYLOAD_TYPE,
            f"the envelope's payload is of type {envelope.payloadType[:100]!r}",
            expected=payload_type,
            todo=_TODO,
        )
    if len(envelope.signatures) != 1:
        raise IntegrityError(
            Code.ENVELOPE_SIGNATURES,
            f"the envelope has {len(envelope.signatures)} signatures",
            expected="exactly one",
            todo=_TODO,
        )
    signature = envelope.signatures[0]
    if len(signature.sig) > MAX_SIGNATURE_CHARACTERS or len(signature.keyid) > MAX_KEYID_CHARACTERS:
        raise IntegrityError(
            Code.ENVELOPE_TOO_LARGE,
            "the envelope's signature or key id is too long",
            expected=f"at most {MAX_SIGNATURE_CHARACTERS} and {MAX_KEYID_CHARACTERS} characters",
            todo=_TODO,
        )
    raw = decode_base64(signature.sig, "the signature")
    payload = decode_base64(envelope.payload, "the payload")
    candidates = [v for v in verifiers if signature.keyid in ("", v.key_hint)]
    if not candidates:
        raise IntegrityError(
            Code.SIGNER_UNKNOWN,
            f"it is signed by key {signature.keyid[:16] or '(unnamed)'}, which is not trusted",
            expected="a signature by a key of the pinned trust file",
            todo="if the key is legitimate, add it to the trust file and hand that out anew",
        )
    message = pae(payload_type, payload)
    if not any(v.verify(raw, message) for v in candidates):
        raise IntegrityError(
            Code.SIGNATURE_BAD,
            f"the signature by key {candidates[0].key_hint[:16]} does not match the content",
            expected="content exactly as it was signed",
            todo=_TODO,
        )
    return payload


def decode_base64(text: str, what: str) -> bytes:
    """Bytes of strict standard base64: padded, canonical, no other characters.

    Raises:
        IntegrityError: MF-2010.
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        data = None
    # The last group's unused bits must be zero, so that one content has one spelling.
    if data is None or base64.b64encode(data).decode() != text:
        raise IntegrityError(
            Code.ENVELOPE_INVALID,
            f"{what} is not base64",
            expected="standard base64 with padding",
            todo=_TODO,
        )
    return data
