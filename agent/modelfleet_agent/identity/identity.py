"""The device's identity: written once at enrolment, read ever after (semantics section 4, "Trust anchor")."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelfleet_agent.state.files import read_limited, unreadable, write_atomic
from modelfleet_agent.state.folder import StateFolder
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import device_id
from modelfleet_core.trust.dsse import Signer
from modelfleet_core.trust.policy import MAX_TRUST_BYTES, TrustFile, TrustPolicy, policy_of, read_trust_file
from modelfleet_core.wire import codec

from .keys import KeyProvider, not_enrolled

_MAX_IDENTITY: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Content of `identity.json`.

    Attributes:
        device: id, derived from the key.
        controller: its address, `https://host[:port]`.
        audience: the controller's name; stands in every signature.
        name: display name at enrolment.
        device_class: class that the controller found for the facts at enrolment, or None.
        enrolled_at: aware instant.
        trusted_on_first_use: the trust file came from the controller itself.
    """

    device: str
    controller: str
    audience: str
    name: str
    device_class: str | None
    enrolled_at: datetime
    trusted_on_first_use: bool = False
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An enrolled device, ready to speak: identity, key, and whom it trusts."""

    identity: Identity
    signer: Signer
    trust: TrustFile
    policy: TrustPolicy


def read_identity(folder: StateFolder) -> Identity | None:
    """The identity, or None where the device is not enrolled.

    Raises:
        WorldError: MF-3004, the file is there and cannot be read.
    """
    data = read_limited(folder.identity, _MAX_IDENTITY)
    if data is None:
        return None
    try:
        return codec.decode(data, Identity, what=str(folder.identity))
    except ModelfleetError as error:
        raise unreadable(folder.identity, error.happened) from error


def write_identity(folder: StateFolder, identity: Identity) -> None:
    """Writes the identity, once.

    Raises:
        CallerError: MF-3006, there is one.
        WorldError: MF-3004, MF-5001.
    """
    if folder.identity.exists():
        raise already_enrolled(read_identity(folder))
    write_atomic(folder.identity, codec.pretty(identity))


def already_enrolled(identity: Identity | None) -> CallerError:
    """The refusal to enrol twice."""
    known = f"{identity.device} at {identity.controller}" if identity is not None else "a device"
    return CallerError(
        Code.ALREADY_ENROLLED,
        f"this state directory is enrolled already: {known}",
        expected="a state directory without an identity",
        todo="use another --state-dir, or remove this one if the device shall become a new one",
    )


def read_trust(folder: StateFolder) -> TrustFile | None:
    """The pinned trust file, or None where there is none.

    Raises:
        CallerError: MF-2050, MF-2051, it cannot be used.
        WorldError: MF-3004.
    """
    data = read_limited(folder.trust, MAX_TRUST_BYTES)
    return None if data is None else read_trust_file(data)


def load(folder: StateFolder, keys: KeyProvider) -> Enrolled:
    """Identity, key and trust of an enrolled device; they must belong together.

    Raises:
        CallerError: MF-3005 not enrolled, MF-3007 no trust file. IntegrityError: MF-3009, the key is not
        the one of the identity, or the trust file names another controller. WorldError: MF-3004.
    """
    identity = read_identity(folder)
    if identity is None:
        raise not_enrolled(folder.root)
    trust = read_trust(folder)
    if trust is None:
        raise CallerError(
            Code.NO_TRUST_FILE,
            f"{folder.trust} is missing",
            expected="the trust file that was pinned at enrolment",
            todo="restore it (`fleetctl trust export`): without it no release can be verified",
        )
    if not keys.exists():
        raise _broken("the device's key is missing", "restore it from a backup, or enrol anew")
    signer, public = keys.obtain()
    if not hmac.compare_digest(device_id(public), identity.device):
        raise _broken(
            f"the key belongs to {device_id(public)}, the identity is {identity.device}", "restore both"
        )
    if not hmac.compare_digest(trust.audience, identity.audience):
        raise _broken(
            f"the trust file is of {trust.audience!r}, the identity of {identity.audience!r}", "restore both"
        )
    return Enrolled(identity, signer, trust, policy_of(trust))


def _broken(happened: str, todo: str) -> IntegrityError:
    return IntegrityError(
        Code.IDENTITY_BROKEN, happened, expected="key, identity and trust file of one enrolment", todo=todo
    )
