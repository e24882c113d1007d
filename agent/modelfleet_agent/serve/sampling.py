"""Which inputs are mirrored: a deterministic choice by content, so that it favours no model and devices
compare."""

from __future__ import annotations

import zlib
from typing import Final

_GOLDEN_RATIO: Final = 0x9E3779B1
_SPACE: Final = 1 << 32


def input_id(data: bytes | bytearray | memoryview) -> int:
    """A number in 0 .. 2**32 - 1 from the input's bytes: CRC-32, spread by Fibonacci hashing (Knuth, TAOCP
    6.4)."""
    return zlib.crc32(data) * _GOLDEN_RATIO % _SPACE


def is_mirrored(data: bytes | bytearray | memoryview, share: float) -> bool:
    """Whether an input belongs to the mirrored share (0-1). The same input always gets the same answer, and
    what a smaller share mirrors a larger one mirrors too."""
    if share >= 1.0:
        return True
    return share > 0.0 and input_id(data) < share * _SPACE
