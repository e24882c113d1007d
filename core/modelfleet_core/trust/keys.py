"""Ed25519 and ECDSA P-256 keys: the only module of core that knows `cryptography`.

Ed25519 (RFC 8032) is for devices and the director; ECDSA P-256 with SHA-256 for releases, because OpenSSF
Model Signing verifies no Ed25519. Keys travel as PEM: PKCS8 (private, optionally under a passphrase),
SubjectPublicKeyInfo (public).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

MAX_PEM_BYTES: Final = 8192
ED25519_BYTES: Final = 32
MIN_PASSPHRASE: Final = 8

# Points of small order, as y coordinates in every encoding below 2**255: with such a "key" one signature fits
# every message. Source: the blocklist of libsodium's ge25519_has_small_order, sign bit masked.
_SMALL_ORDER: Final = frozenset(
    int.to_bytes(y, 32, "little")
    for y in (
        0,
        1,
        2**255 - 20,
        2**255 - 19,
        2**255 - 18,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    )
)


@dataclass(frozen=True, slots=True)
class Ed25519Public:
    """An Ed25519 public key (Verifier)."""

    raw: bytes
    key_hint: str
    _key: ed25519.Ed25519PublicKey

    def verify(self, signature: bytes, message: bytes) -> bool:
        """RFC 8032 section 5.1.7; False for anything but a good signature."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> str:
        """SubjectPublicKeyInfo."""
        return _public_pem(self._key)


@dataclass(frozen=True, slots=True)
class Ed25519Private:
    """An Ed25519 private key (Signer)."""

    _key: ed25519.Ed25519PrivateKey

    @property
    def key_hint(self) -> str:
        """Hint of the public half."""
        return _hint(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)

    def public(self) -> Ed25519Public:
        """The public half."""
        return _ed25519_public(self._key.public_key())

    def to_pem(self, passphrase: str | None = None) -> str:
        """PKCS8, encrypted when there is a passphrase."""
        return _private_pem(self._key, passphrase)


@dataclass(frozen=True, slots=True)
class EcdsaP256Public:
    """An ECDSA P-256 public key (Verifier); signatures are DER over SHA-256."""

    key_hint: str
    _key: ec.EllipticCurvePublicKey

    def verify(self, signature: bytes, message: bytes) -> bool:
        """FIPS 186-5 section 6.4.2; False for anything but a good signature."""
        try:
            self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> str:
        """SubjectPublicKeyInfo."""
        return _public_pem(self._key)


@dataclass(frozen=True, slots=True)
class EcdsaP256Private:
    """An ECDSA P-256 private key (Signer)."""

    _key: ec.EllipticCurvePrivateKey

    @property
    def key_hint(self) -> str:
        """Hint of the public half."""
        return _hint(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """DER signature over SHA-256 of `message`."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def public(self) -> EcdsaP256Public:
        """The public half."""
        public = self._key.public_key()
        return EcdsaP256Public(_hint(public), public)

    def to_pem(self, passphrase: str | None = None) -> str:
        """PKCS8, encrypted when there is a passphrase."""
        return _private_pem(self._key, passphrase)


PrivateKey = Ed25519Private | EcdsaP256Private
PublicKey = Ed25519Public | EcdsaP256Public


def generate_ed25519() -> Ed25519Private:
    """A fresh key from the cryptographic library's own generator."""
    return Ed25519Private(ed25519.Ed25519PrivateKey.generate())


def ed25519_from_seed(seed: bytes) -> Ed25519Private:
    """The key of a 32-byte RFC 8032 seed.

    Raises:
        CallerError: MF-2001, wrong length.
    """
    if len(seed) != ED25519_BYTES:
        raise _unreadable("the seed", f"{len(seed)} bytes", f"{ED25519_BYTES} bytes")
    return Ed25519Private(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


def generate_ecdsa_p256() -> EcdsaP256Private:
    """A fresh key from the cryptographic library's own generator."""
    return EcdsaP256Private(ec.generate_private_key(ec.SECP256R1()))


def ed25519_public_from_raw(raw: bytes) -> Ed25519Public:
    """The public key of 32 raw bytes, as devices send it at enrolment.

    Raises:
        CallerError: MF-2001 wrong length or not a point; MF-2002 a point of small order, which proves
            nothing.
    """
    if len(raw) != ED25519_BYTES:
        raise _unreadable("the Ed25519 key", f"{len(raw)} bytes", f"{ED25519_BYTES} bytes")
    try:
        return _ed25519_public(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable("the Ed25519 key", "not a point of the curve", "a public key") from error


def load_public_key(pem: str | bytes) -> PublicKey:
    """The key of a SubjectPublicKeyInfo PEM.

    Raises:
        CallerError: MF-2001 unreadable, MF-2002 of another kind than Ed25519 or ECDSA P-256.
    """
    data = _bounded(pem)
    if b"PRIVATE KEY" in data:
        raise _wrong_kind(
            "a private key where a public one is expected", "a public key; keep the private one secret"
        )
    try:
        key = ser.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable(
            "the public key", "not a public key in PEM", "-----BEGIN PUBLIC KEY-----"
        ) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _ed25519_public(key)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return EcdsaP256Public(_hint(key), key)
    raise _wrong_kind(f"a key of type {type(key).__name__}", "Ed25519 or ECDSA P-256")


def load_private_key(pem: str | bytes, passphrase: str | None = None) -> PrivateKey:
    """The key of a PKCS8 PEM.

    Raises:
        CallerError: MF-2001 unreadable, MF-2002 of another kind than Ed25519 or ECDSA P-256, MF-2003
            passphrase missing or wrong.
    """
    data = _bounded(pem)
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise _passphrase("the private key is encrypted and no passphrase was given")
    try:
        key = ser.load_pem_private_key(
            data, passphrase.encode() if encrypted and passphrase is not None else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise _passphrase("the private key cannot be decrypted with this passphrase") from error
        raise _unreadable(
            "the private key", "not a private key in PEM", "-----BEGIN PRIVATE KEY-----"
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519Private(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return EcdsaP256Private(key)
    raise _wrong_kind(f"a key of type {type(key).__name__}", "Ed25519 or ECDSA P-256")


def is_encrypted(pem: str | bytes) -> bool:
    """Whether a private key's PEM needs a passphrase."""
    return b"ENCRYPTED" in _bounded(pem)


def key_hint(key: PublicKey) -> str:
    """Lower-case hex sha256 of the key's PEM: its name in bundles, envelopes and on the screen."""
    return key.key_hint


def _ed25519_public(key: ed25519.Ed25519PublicKey) -> Ed25519Public:
    raw = key.public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw)
    if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER:
        raise _wrong_kind("an Ed25519 point of small order", "a key that was generated, not constructed")
    return Ed25519Public(raw, _hint(key), key)


def _public_pem(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo).decode()


def _hint(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_public_pem(key).encode()).hexdigest()


def _private_pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, passphrase: str | None) -> str:
    protection: ser.KeySerializationEncryption = ser.NoEncryption()
    if passphrase is not None:
        if len(passphrase) < MIN_PASSPHRASE:
            raise CallerError(
                Code.KEY_PASSPHRASE,
                f"the passphrase has {len(passphrase)} characters",
                expected=f"at least {MIN_PASSPHRASE}",
                todo="choose a longer one, or none",
            )
        protection = ser.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, protection).decode()


def _bounded(pem: str | bytes) -> bytes:
    data = pem.encode() if isinstance(pem, str) else pem
    if len(data) > MAX_PEM_BYTES:
        raise _unreadable("the key", f"{len(data)} bytes", f"at most {MAX_PEM_BYTES} bytes of PEM")
    return data


def _unreadable(what: str, happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.KEY_INVALID, f"{what}: {happened}", expected=expected, todo="give the file that `keygen` wrote"
    )


def _wrong_kind(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.KEY_WRONG_KIND, happened, expected=expected, todo="make one with `fleetctl release keygen`"
    )


def _passphrase(happened: str) -> CallerError:
    return CallerError(
        Code.KEY_PASSPHRASE, happened, expected="the passphrase given at keygen", todo="give it again"
    )
