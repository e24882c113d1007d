"""Whom to trust: the file that is pinned at enrolment, and the policy made of it.

Release keys sign what may run (layer A) and must be ECDSA P-256; director keys choose among it (layer C) and
must be Ed25519. The two sets share no key: a stolen controller must not be able to make a release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.wire import codec

from .dsse import Verifier
from .keys import EcdsaP256Public, Ed25519Public, load_public_key

MAX_TRUST_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 32
MAX_CA_CHARACTERS: Final = 64 * 1024
_AUDIENCE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TODO: Final = "export it again with `fleetctl trust export -o FILE`"


@dataclass(frozen=True, slots=True)
class TrustFile:
    """Content of a trust file; public keys only.

    Attributes:
        audience: name of the controller; stands in the tag of every device's signature.
        release_keys: PEM (SubjectPublicKeyInfo), ECDSA P-256: who may sign releases.
        director_keys: PEM (SubjectPublicKeyInfo), Ed25519: who may say which device runs what.
        issued_at: aware instant.
        controller_ca: PEM certificates that the controller's TLS certificate must chain to, or None.
    """

    audience: str
    release_keys: tuple[str, ...]
    director_keys: tuple[str, ...]
    issued_at: datetime
    controller_ca: str | None = None
    schema: int = 1

    def __post_init__(self) -> None:
        """Refuses what no device could use."""
        if _AUDIENCE.fullmatch(self.audience) is None:
            raise ValueError(f"audience {self.audience[:80]!r} is not 1 to 64 characters of A-Za-z0-9._-")
        if self.issued_at.tzinfo is None:
            raise ValueError("issued_at must be an aware instant")
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known; this version reads 1")
        for keys in (self.release_keys, self.director_keys):
            if len(keys) > MAX_KEYS:
                raise ValueError(f"{len(keys)} keys of one kind; at most {MAX_KEYS} are allowed")
        if self.controller_ca is not None and len(self.controller_ca) > MAX_CA_CHARACTERS:
            raise ValueError(f"controller_ca has more than {MAX_CA_CHARACTERS} characters")


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The keys of a trust file, ready to verify, by hint."""

    audience: str
    release: dict[str, EcdsaP256Public]
    director: dict[str, Ed25519Public]

    def release_verifier(self, hint: str) -> Verifier | None:
        """The release key of that hint, if trusted."""
        return self.release.get(hint)

    def director_verifiers(self) -> tuple[Verifier, ...]:
        """All director keys."""
        return tuple(self.director.values())


def read_trust_file(data: bytes) -> TrustFile:
    """A trust file from its bytes; the keys in it are checked.

    Raises:
        CallerError: MF-2050 unreadable, MF-2051 no release key or no director key, MF-2001/MF-2002 a key is
            bad.
    """
    try:
        trust = codec.decode(data, TrustFile, what="the trust file", limit=MAX_TRUST_BYTES)
    except ModelfleetError as error:
        raise CallerError(
            Code.TRUST_FILE_INVALID,
            error.happened,
            expected="the JSON that `fleetctl trust export` writes",
            todo=_TODO,
        ) from error
    policy_of(trust)
    return trust


def write_trust_file(trust: TrustFile) -> bytes:
    """The bytes of a trust file, as `read_trust_file` takes them."""
    return codec.pretty(trust)


def policy_of(trust: TrustFile) -> TrustPolicy:
    """The policy that a trust file states.

    Raises:
        CallerError: MF-2051 no release key or no director key, MF-2001/MF-2002 a key is bad.
    """
    if not trust.release_keys or not trust.director_keys:
        missing = "release" if not trust.release_keys else "director"
        raise CallerError(
            Code.TRUST_FILE_NO_KEYS,
            f"the trust file holds no {missing} key",
            expected="at least one release key and one director key",
            todo="register one with `fleetctl trust init --release-key FILE`, then export again",
        )
    director: dict[str, Ed25519Public] = {}
    for pem in trust.director_keys:
        key = load_public_key(pem)
        if not isinstance(key, Ed25519Public):
            raise _wrong_kind("a director key is not Ed25519", "Ed25519")
        director[key.key_hint] = key
    return TrustPolicy(trust.audience, release_policy(trust.release_keys), director)


def release_policy(pems: Iterable[str]) -> dict[str, EcdsaP256Public]:
    """Release keys by hint.

    Raises:
        CallerError: MF-2001/MF-2002.
    """
    release: dict[str, EcdsaP256Public] = {}
    for pem in pems:
        key = load_public_key(pem)
        if not isinstance(key, EcdsaP256Public):
            raise _wrong_kind(
                "a release key is not ECDSA P-256", "ECDSA P-256, as `fleetctl release keygen` makes it"
            )
        release[key.key_hint] = key
    return release


def _wrong_kind(happened: str, expected: str) -> CallerError:
    return CallerError(Code.KEY_WRONG_KIND, happened, expected=expected, todo=_TODO)
