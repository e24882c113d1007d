"""Signed requests of devices: the port, and its Ed25519 implementation (RFC 9421, core/trust/http_signature).

Order: form, key, digest, signature, audience, revocation, window, replay. Only a request whose signature
holds is answered with the signed time, told about revocation, or remembered as seen.

Replay. A nonce is remembered until the request's `created` leaves the window, per process. A restart
forgets them,
so requests that were signed before the process started are refused for time: the device signs again with
the time that the answer carries. What a clock running ahead could still replay in the window changes
nothing, because every
request of a device is idempotent: reports and events are keyed, enrolment of the same key gives the same
identity, and a check-in only repeats what the device said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.trust.dsse import Verifier
from modelfleet_core.trust.http_signature import (
    WINDOW_S,
    ParsedSignature,
    check_digest,
    check_signature,
    check_window,
    parse_signature,
)

from .actor import DeviceCaller

MAX_NONCES: Final = 4_000_000
_BUCKET_S: Final = 30


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came: raw path and query as on the wire, the sha256 of its body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A device's key, and since when it is not to be believed (None = it is)."""

    verifier: Verifier
    revoked: bool


class Keys(Protocol):
    """Where device keys come from."""

    def key_of(self, device: str) -> KnownKey | None:
        """The key of an enrolled device."""
        ...


class RequestVerifier(Protocol):
    """Proves who sent a request of a device."""

    def verify(self, request: SignedRequest) -> DeviceCaller:
        """The device that signed it.

        Raises: CallerError, IntegrityError: 22xx (MF-2205 only of a proven request), or MF-1611, a revoked
            device.
        """
        ...


class Nonces:
    """Which (device, nonce) were seen within the window; memory is bounded by MAX_NONCES."""

    def __init__(self, limit: int = MAX_NONCES) -> None:
        self._buckets: dict[int, set[tuple[str, str]]] = {}
        self._limit = limit
        self._count = 0

    def remember(self, device: str, nonce: str, created: int, now: float) -> None:
        """Notes a proven request.

        Raises:
            CallerError: MF-2207 it was seen before.
            WorldError: MF-5003 too many requests in the window to tell replays apart.
        """
        self._forget(now)
        bucket = self._buckets.setdefault(created // _BUCKET_S, set())
        entry = (device, nonce)
        if entry in bucket:
            raise CallerError(
                Code.REQUEST_REPLAYED,
                f"a request of {device} with nonce {nonce} was seen before",
                expected="a fresh nonce in every request",
                todo="sign each request anew; if nobody sent it twice, somebody replays it",
            )
        if self._count >= self._limit:
            raise WorldError(
                Code.CONTROLLER_BUSY,
                f"{self._count} requests came within the window of {WINDOW_S:.0f} s",
                expected=f"fewer than {self._limit}",
                todo="try again later; lengthen poll_s for a fleet of this size",
            )
        bucket.add(entry)
        self._count += 1

    def _forget(self, now: float) -> None:
        oldest = (now - WINDOW_S) // _BUCKET_S
        for bucket in [b for b in self._buckets if b < oldest]:
            self._count -= len(self._buckets.pop(bucket))


class Ed25519RequestVerifier:
    """RFC 9421 with the device's own key on every request."""

    def __init__(self, keys: Keys, audience: str, clock: Clock, nonces: Nonces | None = None) -> None:
        self._keys = keys
        self._audience = audience
        self._clock = clock
        self._nonces = nonces or Nonces()
        self._started = int(clock.now().timestamp())

    def verify(self, request: SignedRequest) -> DeviceCaller:
        """The device that signed the request (see the module docstring for the order of checks)."""
        parsed = parse_signature(request.headers)
        known = self._keys.key_of(parsed.keyid)
        if known is None:
            raise CallerError(
                Code.REQUEST_KEY_UNKNOWN,
                f"device {parsed.keyid} is not enrolled here",
                expected="the id of an enrolled device",
                todo="enrol it: modelfleet-agent enroll URL --token T --trust FILE",
            )
        self.prove(request, parsed, known.verifier)
        if known.revoked:
            raise CallerError(
                Code.DEVICE_REVOKED,
                f"device {parsed.keyid} was revoked",
                expected="a device that this fleet trusts",
                todo="enrol it anew with a new key if that was a mistake",
            )
        self.fresh(parsed)
        return DeviceCaller(parsed.keyid, parsed.nonce)

    def prove(self, request: SignedRequest, parsed: ParsedSignature, verifier: Verifier) -> None:
        """Checks digest, signature and audience."""
        check_digest(parsed, request.body_sha256)
        check_signature(
            parsed,
            method=request.method,
            path=request.path,
            query=request.query,
            verifier=verifier,
            audience=self._audience,
        )

    def fresh(self, parsed: ParsedSignature) -> None:
        """Checks window and replay of a request whose signature holds."""
        now = self._clock.now().timestamp()
        check_window(parsed, now)
        if parsed.created < self._started:
            raise CallerError(
                Code.REQUEST_CLOCK,
                f"the request was signed {self._started - parsed.created} s before this controller started",
                expected="a request signed after that",
                todo="sign it again; the agent takes the signed time of this answer by itself",
            )
        self._nonces.remember(parsed.keyid, parsed.nonce, parsed.created, now)


def sha256(body: bytes) -> bytes:
    """The digest that `SignedRequest` wants."""
    return hashlib.sha256(body).digest()
