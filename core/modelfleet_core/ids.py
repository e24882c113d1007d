"""Names of things: typed identifiers and how they are made.

Refuses to read clocks or randomness: the instant and the random bytes are arguments.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import NewType

DeviceId = NewType("DeviceId", str)
ReleaseId = NewType("ReleaseId", str)
"""Lower-case hex sha256 of the bytes of `release.json` (semantics section 6)."""
RolloutId = NewType("RolloutId", str)
ClassName = NewType("ClassName", str)
SlotName = NewType("SlotName", str)
VariantName = NewType("VariantName", str)
Digest = NewType("Digest", str)
"""Lower-case hex sha256 of a file's bytes, 64 characters, without a prefix."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
"""Names of releases, slots, classes, variants, labels' keys: at most 63 characters, safe in a path."""
VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._+-]{0,62})")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_name(text: str) -> bool:
    """Whether `text` may name a release, slot, class or variant."""
    return NAME.fullmatch(text) is not None and ".." not in text


def is_version(text: str) -> bool:
    """Whether `text` may be the version of a release."""
    return VERSION.fullmatch(text) is not None and ".." not in text


def is_file_name(text: str) -> bool:
    """Whether `text` is a plain file name that cannot leave its folder, hide in it or confuse a terminal."""
    return _FILE_NAME.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a lower-case hex sha256."""
    return _DIGEST.fullmatch(text) is not None


def sha256_hex(data: bytes) -> Digest:
    """The digest of `data`."""
    return Digest(hashlib.sha256(data).hexdigest())


def device_id(public_key: bytes) -> DeviceId:
    """`dev_` + the first 32 hex characters of the sha256 of the raw 32-byte Ed25519 key (surfaces,
    Spelling).
    """
    return DeviceId("dev_" + hashlib.sha256(public_key).hexdigest()[:32])


def new_id(prefix: str, now: datetime, entropy: bytes) -> str:
    """`prefix_` + a UUIDv7 (RFC 9562 section 5.7) in hex: sortable by `now`, 74 random bits.

    Args:
        prefix: kind of the thing, for example `ro`.
        now: an aware instant.
        entropy: at least 10 random bytes.

    Raises:
        ValueError: `now` is naive or `entropy` too short.
    """
    if now.tzinfo is None or len(entropy) < 10:
        raise ValueError("an aware instant and at least 10 random bytes are needed")
    milliseconds = int(now.timestamp() * 1000).to_bytes(6, "big")
    body = bytearray(milliseconds + entropy[:10])
    body[6] = 0x70 | (body[6] & 0x0F)
    body[8] = 0x80 | (body[8] & 0x3F)
    return f"{prefix}_{bytes(body).hex()}"
