"""Enrolment: the device makes its key, pins whom it trusts, and introduces itself once, with a token.

Order, so that a crash at any point can be repeated: key (once), request (the controller gives the same
answer to the same key), trust file, identity. The identity comes last: where it exists, the device is
enrolled."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from modelfleet_agent.identity.identity import (
    Identity,
    already_enrolled,
    read_identity,
    write_identity,
)
from modelfleet_agent.identity.keys import KeyProvider
from modelfleet_agent.state.files import write_atomic
from modelfleet_agent.state.folder import StateFolder
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import device_id
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.trust.policy import TrustFile, policy_of, read_trust_file, write_trust_file
from modelfleet_core.wire import codec
from modelfleet_core.wire.enroll import EnrollAnswer, EnrollRequest
from modelfleet_core.wire.operator import TrustView

from .client import ControllerClient, CorrectedClock, check
from .transport import Outgoing, Transport

TRUST_PATH: Final = "/v1/device/trust"
ENROLL_PATH: Final = "/v1/device/enroll"
MAX_TOKEN: Final = 512


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks for.

    Attributes:
        url: the controller's address, checked.
        token: enrolment token.
        trust: content of the trust file; None = take it from the controller (trust on first use).
        ca: PEM certificates for TLS, in place of the trust file's.
        name: display name.
        labels: labels of the device.
    """

    url: str
    token: str
    trust: bytes | None
    name: str
    ca: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An enrolled device, and what the controller said of its class."""

    identity: Identity
    fingerprint: str
    class_reasons: tuple[str, ...]


def enroll(
    folder: StateFolder,
    order: Order,
    facts: DeviceFacts,
    *,
    keys: KeyProvider,
    transport_of: Callable[[str | None], Transport],
    clock: Clock,
    entropy: Entropy,
) -> Outcome:
    """Enrols the device of a state directory.

    Args:
        folder: prepared.
        order: what is asked for.
        facts: of the device.
        keys: holds, or makes, the device's key.
        transport_of: CA (PEM) or None -> a transport to `order.url`.
        clock: for signatures; corrected by the controller's signed time if need be.
        entropy: for nonces.

    Raises:
        CallerError: MF-3006 enrolled already, MF-2050/MF-2051 the trust file cannot be used, or what the
            controller refuses (MF-1603 to MF-1611).
        IntegrityError: MF-3010, the controller is not the one that the trust file names.
        WorldError: MF-5010, MF-5003, MF-5001, MF-3004.
    """
    if folder.identity.exists():
        raise already_enrolled(read_identity(folder))
    first_use = order.trust is None
    if order.trust is not None:
        trust = read_trust_file(order.trust)
    else:
        trust = _fetch_trust(transport_of(order.ca), clock)
    signer, public = keys.obtain()
    device = device_id(public)
    corrected = CorrectedClock(clock)
    client = ControllerClient(
        transport_of(order.ca or trust.controller_ca), device, signer, policy_of(trust), corrected, entropy
    )
    body = codec.encode(
        EnrollRequest(
            token=order.token[:MAX_TOKEN],
            public_key=base64.b64encode(public).decode(),
            name=order.name,
            facts=facts,
            labels=order.labels,
        )
    )
    answer = codec.decode(
        client.exchange("POST", ENROLL_PATH, body).answer.body, EnrollAnswer, what="the enrolment's answer"
    )
    if not hmac.compare_digest(answer.audience, trust.audience) or answer.device_id != device:
        raise IntegrityError(
            Code.OTHER_CONTROLLER,
            f"{order.url} calls itself {answer.audience[:64]!r} and this device {answer.device_id[:64]!r}",
            expected=f"{trust.audience!r}, as the trust file says, and {device!r}",
            todo="use the trust file of this controller, or the address of the one that it names",
        )
    pinned = trust if order.ca is None else _with_ca(trust, order.ca)
    write_atomic(folder.trust, write_trust_file(pinned))
    identity = Identity(
        device=device,
        controller=order.url,
        audience=trust.audience,
        name=order.name,
        device_class=answer.device_class,
        enrolled_at=corrected.now(),
        trusted_on_first_use=first_use,
    )
    write_identity(folder, identity)
    return Outcome(identity, fingerprint(trust), answer.class_reasons)


def fingerprint(trust: TrustFile) -> str:
    """What two people compare over the telephone: sha256 over audience and keys, in groups of four."""
    text = codec.encode([trust.audience, sorted(trust.release_keys), sorted(trust.director_keys)])
    digest = hashlib.sha256(text).hexdigest()[:40]
    return " ".join(digest[n : n + 4] for n in range(0, 40, 4))


def no_trust_file() -> CallerError:
    """The refusal to enrol without knowing whom to trust (semantics section 4, "Trust anchor")."""
    return CallerError(
        Code.NO_TRUST_FILE,
        "no trust file is given",
        expected="--trust FILE: the keys that may sign releases and statements for this device",
        todo="export it with `fleetctl trust export -o trust.json` and bring it to the device by a way "
        "that you trust; --trust-on-first-use takes it from the controller and believes whoever answers",
    )


def _fetch_trust(transport: Transport, clock: Clock) -> TrustFile:
    """Whom the controller says that it and its releases are; believed because nothing else is known."""
    answer = transport.send(Outgoing("GET", TRUST_PATH, {}))
    check(answer)
    try:
        view = codec.decode(answer.body, TrustView, what="the controller's keys")
        trust = TrustFile(view.audience, view.release_keys, view.director_keys, issued_at=clock.now())
    except (ModelfleetError, ValueError) as error:
        raise CallerError(
            Code.CONTROLLER_ANSWER,
            f"the controller's keys cannot be used: {str(error)[:200]}",
            expected="its audience and public keys",
            todo="give a trust file by --trust FILE",
        ) from error
    policy_of(trust)
    return trust


def _with_ca(trust: TrustFile, ca: str) -> TrustFile:
    return TrustFile(
        trust.audience, trust.release_keys, trust.director_keys, trust.issued_at, controller_ca=ca
    )
