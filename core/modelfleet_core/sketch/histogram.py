"""A log-bucket histogram of latencies: fixed buckets, merge is addition, a few hundred bytes on the wire.

The idea is DDSketch's (relative error by logarithmic buckets) without its collapsing and its dependency:
the range is fixed, so two histograms always have the same buckets and merging them is adding counts.

Bucket ``i`` (1 <= i <= TOP_BUCKET - 1) holds the values x with

    LOWEST_S * GAMMA**(i - 1)  <  x  <=  LOWEST_S * GAMMA**i          GAMMA = (1 + a) / (1 - a), a = 0.01

and is represented by ``LOWEST_S * GAMMA**i * 2 / (1 + GAMMA)``, which differs from every value in the
bucket by at most the share ``a``. Bucket 0 holds everything up to LOWEST_S, bucket TOP_BUCKET everything
above HIGHEST_S; their representatives are LOWEST_S and HIGHEST_S, and there the error is not bounded.

Wire form: ``h1`` followed by unpadded base64url of one byte per non-empty bucket in ascending order:
high three bits = number of empty buckets before it (7 = a varint of gap - 7 follows), low five bits =
count - 1 (31 = a varint of count - 32 follows, after that of the gap). Varints are LEB128, minimal; so
a histogram has exactly one wire form. Portable to C without floating point on the reading side.
"""

from __future__ import annotations

import binascii
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

RELATIVE_ERROR: Final = 0.01
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LOWEST_S: Final = 1e-6
HIGHEST_S: Final = 1e3
_LOG_GAMMA: Final = math.log(GAMMA)
TOP_BUCKET: Final = math.ceil(math.log(HIGHEST_S / LOWEST_S) / _LOG_GAMMA) + 1

WIRE_PREFIX: Final = "h1"
MAX_WIRE_CHARS: Final = 8192
"""Longest wire form that is read. Every bucket filled with a million values stays below it."""
MAX_COUNT: Final = 1 << 40
"""Largest count of one bucket, and of the whole histogram, that is read."""

_GAP_ESCAPE: Final = 7
_COUNT_ESCAPE: Final = 31
_MAX_VARINT_BYTES: Final = 6


def bucket_of(value_s: float) -> int:
    """The bucket, 0..TOP_BUCKET, of a value in seconds.

    Raises:
        ValueError: the value is negative or not finite.
    """
    if not (value_s >= 0.0 and value_s != math.inf):
        raise ValueError(f"{value_s!r} is not a duration: a finite number of seconds, 0 or more, is needed")
    if value_s <= LOWEST_S:
        return 0
    return min(math.ceil(math.log(value_s / LOWEST_S) / _LOG_GAMMA), TOP_BUCKET)


def value_of(bucket: int) -> float:
    """The value in seconds that stands for a bucket (the relative midpoint of its bounds)."""
    if bucket <= 0:
        return LOWEST_S
    if bucket >= TOP_BUCKET:
        return HIGHEST_S
    return LOWEST_S * math.exp(bucket * _LOG_GAMMA) * 2 / (1 + GAMMA)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bucket: pairs (bucket, count), buckets ascending within 0..TOP_BUCKET, counts positive."""

    buckets: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        last = -1
        for bucket, count in self.buckets:
            if not last < bucket <= TOP_BUCKET or not 0 < count <= MAX_COUNT:
                raise _refused(
                    f"bucket {bucket} with count {count} after bucket {last}",
                    expected=f"ascending buckets up to {TOP_BUCKET}, counts 1..{MAX_COUNT}",
                )
            last = bucket

    @classmethod
    def of(cls, values_s: Iterable[float]) -> Histogram:
        """The histogram of these values in seconds.

        Raises:
            ValueError: a value is negative or not finite.
        """
        builder = HistogramBuilder()
        for value in values_s:
            builder.add(value)
        return builder.build()

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(count for _, count in self.buckets)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values. Commutative and associative, exactly."""
        counts = dict(self.buckets)
        for bucket, count in other.buckets:
            counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(tuple(sorted(counts.items())))

    def quantile(self, q: float) -> float | None:
        """The value in seconds at rank ceil(q * count) (nearest rank), or None of an empty histogram.

        Within RELATIVE_ERROR of the value of that rank where it lies in LOWEST_S..HIGHEST_S.

        Raises:
            ValueError: q is outside 0..1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"quantile {q!r} is outside 0..1")
        rank = max(1, math.ceil(q * self.count))
        seen = 0
        for bucket, count in self.buckets:
            seen += count
            if seen >= rank:
                return value_of(bucket)
        return None

    def to_wire(self) -> str:
        """The wire form; at most 400 characters for 1000 lognormal values of log sd <= 1."""
        packed = bytearray()
        expected = 0
        for bucket, count in self.buckets:
            gap, rest = bucket - expected, count - 1
            packed.append(min(gap, _GAP_ESCAPE) << 5 | min(rest, _COUNT_ESCAPE))
            if gap >= _GAP_ESCAPE:
                _put_varint(packed, gap - _GAP_ESCAPE)
            if rest >= _COUNT_ESCAPE:
                _put_varint(packed, rest - _COUNT_ESCAPE)
            expected = bucket + 1
        return WIRE_PREFIX + urlsafe_b64encode(packed).decode("ascii").rstrip("=")

    @classmethod
    def from_wire(cls, text: str) -> Histogram:
        """Read a wire form that may come from anybody.

        Raises:
            CallerError: MF-1030, too long, not of this version, not canonical, or out of range.
        """
        if len(text) > MAX_WIRE_CHARS:
            raise _refused(f"{len(text)} characters", expected=f"at most {MAX_WIRE_CHARS}")
        if not text.startswith(WIRE_PREFIX):
            raise _refused(f"it begins with {text[:8]!r}", expected=f"the version prefix {WIRE_PREFIX!r}")
        packed = _unbase64(text[len(WIRE_PREFIX) :])
        buckets: list[tuple[int, int]] = []
        at, bucket, total = 0, -1, 0
        while at < len(packed):
            token = packed[at]
            gap, rest = token >> 5, token & 0x1F
            at += 1
            if gap == _GAP_ESCAPE:
                more, at = _take_varint(packed, at)
                gap += more
            if rest == _COUNT_ESCAPE:
                more, at = _take_varint(packed, at)
                rest += more
            bucket += gap + 1
            total += rest + 1
            if bucket > TOP_BUCKET or total > MAX_COUNT:
                raise _refused(
                    f"bucket {bucket}, {total} values", expected=f"up to {TOP_BUCKET} and {MAX_COUNT} values"
                )
            buckets.append((bucket, rest + 1))
        return cls(tuple(buckets))


class HistogramBuilder:
    """Collects values one by one; the mutable side of :class:`Histogram`. Not safe for several threads."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, value_s: float) -> None:
        """Count one value in seconds.

        Raises:
            ValueError: it is negative or not finite.
        """
        bucket = bucket_of(value_s)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def build(self) -> Histogram:
        """What was counted so far; the builder may be used on."""
        return Histogram(tuple(sorted(self._counts.items())))


def _refused(happened: str, *, expected: str) -> CallerError:
    return CallerError(
        Code.SKETCH_INVALID,
        f"a histogram cannot be read: {happened}",
        expected=expected,
        todo="send what `Histogram.to_wire` gives",
    )


def _put_varint(into: bytearray, value: int) -> None:
    while value >= 0x80:
        into.append(value & 0x7F | 0x80)
        value >>= 7
    into.append(value)


def _take_varint(packed: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if at >= len(packed):
            raise _refused("it ends inside a number", expected="complete numbers")
        byte = packed[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            if shift and not byte:
                raise _refused("a number is padded with zeros", expected="the shortest form")
            return value, at
    raise _refused("a number is too long", expected=f"at most {_MAX_VARINT_BYTES} bytes")


def _unbase64(text: str) -> bytes:
    try:
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _refused("it is not base64url", expected="unpadded base64url") from error
    # b64decode skips foreign characters and ignores stray bits, so only the exact inverse is accepted.
    if urlsafe_b64encode(packed).decode("ascii").rstrip("=") != text:
        raise _refused("it is not canonical base64url", expected="unpadded base64url")
    return packed
