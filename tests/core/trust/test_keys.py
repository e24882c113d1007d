from __future__ import annotations

import contextlib
import hashlib
from functools import partial

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.trust import keys

from tests.core.trust.support import refused

ED = keys.ed25519_from_seed(b"\x07" * 32)
EC = keys.generate_ecdsa_p256()

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493


# RFC 8032 section 7.1: tests 1, 2, 3 and the one with 1023 bytes left out for its length
@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25b"
            "f5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b"
            "2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c"
            "15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_rfc_8032_vectors(seed: str, public: str, message: str, signature: str) -> None:
    key = keys.ed25519_from_seed(bytes.fromhex(seed))
    assert key.public().raw.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verifier = keys.ed25519_public_from_raw(bytes.fromhex(public))
    assert verifier.verify(bytes.fromhex(signature), bytes.fromhex(message))


@pytest.mark.parametrize("key", [ED, EC], ids=["ed25519", "ecdsa"])
@given(message=st.binary(max_size=200), flip=st.integers(0, 10_000))
def test_a_flipped_bit_anywhere_is_noticed(key: keys.PrivateKey, message: bytes, flip: int) -> None:
    signature = key.sign(message)
    assert key.public().verify(signature, message)
    bad = bytearray(signature)
    bad[flip // 8 % len(bad)] ^= 1 << flip % 8
    assert not key.public().verify(bytes(bad), message)
    assert not key.public().verify(signature, message + b"\0")
    assert not key.public().verify(signature[:-1], message)
    assert not key.public().verify(signature + b"\0", message)
    assert not key.public().verify(b"", message)


def test_ed25519_refuses_a_scalar_above_the_order() -> None:
    # Wycheproof's kind of malleability: S + L verifies under a careless check
    signature = ED.sign(b"m")
    malleable = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    assert not ED.public().verify(malleable, b"m")


def test_ecdsa_refuses_zero_values_and_raw_signatures() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    r, s = decode_dss_signature(EC.sign(b"m"))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for bad in ((0, 0), (0, s), (r, 0), (r + order, s), (r, s + order), (1, 1)):
        assert not EC.public().verify(encode_dss_signature(*bad), b"m")
    assert not EC.public().verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), b"m")
    assert not EC.public().verify(b"\x30\x00", b"m")


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P) % P


def _x(y: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    return x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P


def test_points_of_small_order_are_no_keys() -> None:
    # found here by doubling three times, not copied from the module
    small = [y for y in _small_order_y() if y < 2**255]
    assert len({y % P for y in small}) == 5
    for y in small:
        for sign in (0, 1 << 255):
            raw = (y | sign).to_bytes(32, "little")
            with pytest.raises(Exception) as caught:
                keys.ed25519_public_from_raw(raw)
            assert getattr(caught.value, "code", None) in (Code.KEY_WRONG_KIND, Code.KEY_INVALID)
    # what such a key would mean: R = identity, S = 0 fits every message in a library that lets it in
    identity = (1).to_bytes(32, "little")
    refused(Code.KEY_WRONG_KIND, lambda: keys.ed25519_public_from_raw(identity))


def _small_order_y() -> list[int]:
    # 8-torsion: (0,1), (0,-1), (+-sqrt(-1),0), and the four points of order 8; plus spellings above p
    found = [1, P - 1, 0]
    for y in _order_eight():
        point = (_x(y), y)
        for _ in range(3):
            point = _add(point, point)
        assert point == (0, 1)
        found.append(y)
    return found + [y + P for y in found if y + P < 2**255]


def _order_eight() -> list[int]:
    # 2 * (x, y) = (x', 0) needs x^2 = -y^2, so d*y^4 + 2*y^2 - 1 = 0 on the curve
    root = _sqrt((1 + D) % P)
    candidates = [(-1 + r) * pow(D, -1, P) % P for r in (root, -root)]
    ys = []
    for square in candidates:
        y = _sqrt_or_none(square)
        if y is not None:
            ys += [y, P - y]
    return ys


def _sqrt(n: int) -> int:
    value = _sqrt_or_none(n)
    assert value is not None
    return value


def _sqrt_or_none(n: int) -> int | None:
    x = pow(n, (P + 3) // 8, P)
    for candidate in (x, x * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == n % P:
            return candidate
    return None


@pytest.mark.parametrize("raw", [b"", b"\x01" * 31, b"\x01" * 33])
def test_a_raw_key_has_32_bytes(raw: bytes) -> None:
    refused(Code.KEY_INVALID, lambda: keys.ed25519_public_from_raw(raw))
    refused(Code.KEY_INVALID, lambda: keys.ed25519_from_seed(raw))


@pytest.mark.parametrize("key", [ED, EC], ids=["ed25519", "ecdsa"])
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_pem_round_trip(key: keys.PrivateKey, passphrase: str | None) -> None:
    pem = key.to_pem(passphrase)
    assert keys.is_encrypted(pem) is (passphrase is not None)
    again = keys.load_private_key(pem, passphrase)
    assert again.key_hint == key.key_hint == keys.key_hint(key.public())
    assert keys.load_public_key(key.public().to_pem()).key_hint == key.key_hint
    assert keys.load_public_key(again.public().to_pem()).verify(again.sign(b"m"), b"m")


def test_the_hint_is_the_digest_of_the_pem() -> None:
    assert EC.key_hint == hashlib.sha256(EC.public().to_pem().encode()).hexdigest()


def test_passphrases() -> None:
    pem = EC.to_pem("correct horse")
    refused(Code.KEY_PASSPHRASE, lambda: keys.load_private_key(pem))
    refused(Code.KEY_PASSPHRASE, lambda: keys.load_private_key(pem, "battery staple"))
    refused(Code.KEY_PASSPHRASE, lambda: EC.to_pem("short"))
    assert keys.load_private_key(EC.to_pem(), "not needed").key_hint == EC.key_hint


def test_other_kinds_of_key_are_refused() -> None:
    p384 = ec.generate_private_key(ec.SECP384R1())
    big = rsa.generate_private_key(65537, 2048)
    for other in (p384, big):
        private = other.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        public = other.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
        refused(Code.KEY_WRONG_KIND, partial(keys.load_private_key, private))
        refused(Code.KEY_WRONG_KIND, partial(keys.load_public_key, public))


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    error = refused(Code.KEY_WRONG_KIND, lambda: keys.load_public_key(EC.to_pem()))
    assert "PRIVATE" not in str(error)


@pytest.mark.parametrize(
    "pem", ["", "no pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "x" * 9000]
)
def test_garbage_is_refused(pem: str) -> None:
    refused(Code.KEY_INVALID, lambda: keys.load_public_key(pem))
    refused(Code.KEY_INVALID, lambda: keys.load_private_key(pem))


@given(data=st.binary(max_size=300))
def test_reading_a_key_never_raises_anything_else(data: bytes) -> None:
    for read in (keys.load_public_key, keys.load_private_key, keys.ed25519_public_from_raw):
        with contextlib.suppress(CallerError):
            read(data)


def test_no_secret_in_the_representation() -> None:
    assert "bytes" not in repr(ED).lower()
    assert ED.to_pem() not in repr(ED)
