"""`POST /v1/device/enroll`: a device introduces its own key, once, with a token.

The request is signed by the very key it introduces (RFC 9421), so possession is proven.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..release.device_class import DeviceFacts


@dataclass(frozen=True, slots=True)
class EnrollRequest:
    """Token, raw Ed25519 public key (base64, 32 bytes), display name, labels, facts."""

    token: str
    public_key: str
    name: str
    facts: DeviceFacts
    labels: dict[str, str] = field(default_factory=dict)
    schema: int = 1


@dataclass(frozen=True, slots=True)
class EnrollAnswer:
    """The device's id and class; `audience` names this controller and stands in every later signature's tag."""

    device_id: str
    audience: str
    poll_s: float
    device_class: str | None
    class_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeStatement:
    """The controller's time, signed by the director key, answering a request with a wrong clock.

    `nonce` is the refused request's nonce (semantics section 4, Clock).
    """

    time_unix_s: float
    nonce: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope as JSON: payload and signatures in standard base64."""

    payload: str
    payloadType: str  # noqa: N815 - the name is DSSE's
    signatures: tuple[EnvelopeSignature, ...]


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature of an envelope; `keyid` is only a hint."""

    sig: str
    keyid: str = ""
