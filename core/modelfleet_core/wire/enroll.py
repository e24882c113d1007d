"""`POST /v1/device/enroll`: a device introduces its own key, once, with a token.

The request is signed by the very key it introduces (RFC 9421), so possession is proven.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from modelfleet_core.ids import is_name
from modelfleet_core.release.device_class import DeviceFacts

MAX_LABELS: Final = 64
MAX_TEXT: Final = 256


def check_labels(labels: dict[str, str]) -> None:
    """Refuses labels that cannot stand in a selector `k=v,k2=v2`.

    Raises:
        ValueError: more than `MAX_LABELS`, a key that is not a plain name, or a value that is longer than 63
            characters or holds a comma, an equals sign, a space or a control character.
    """
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels; at most {MAX_LABELS} are allowed")
    for key, value in labels.items():
        if not is_name(key):
            raise ValueError(f"label {key[:80]!r} is not a plain name")
        if len(value) > 63 or not value.isprintable() or any(c in ",= " for c in value):
            raise ValueError(
                f"label {key}: value {value[:80]!r} is not up to 63 printable characters without ',= '"
            )


@dataclass(frozen=True, slots=True)
class EnrollRequest:
    """Token, raw Ed25519 public key (base64, 32 bytes), display name, labels, facts."""

    token: str
    public_key: str
    name: str
    facts: DeviceFacts
    labels: dict[str, str] = field(default_factory=dict)
    schema: int = 1

    def __post_init__(self) -> None:
        """Refuses what no honest device sends."""
        if len(self.token) > MAX_TEXT or len(self.public_key) > 64:
            raise ValueError("token or public key is too long")
        if len(self.name) > 128 or not self.name.isprintable():
            raise ValueError("the name is not up to 128 printable characters")
        check_labels(self.labels)


@dataclass(frozen=True, slots=True)
class EnrollAnswer:
    """The device's id and class; `audience` names this controller, in every later signature's tag."""

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
    payloadType: str
    signatures: tuple[EnvelopeSignature, ...]


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature of an envelope; `keyid` is only a hint."""

    sig: str
    keyid: str = ""
