"""Betting against "this release is fine": log-wealth sums whose exponential is an anytime-valid e-value.

One report is one bet. With score x, tolerated mean m, scale s and cap c (research: gates section 3)

    g = clip((x - m) / s, -1, c)          W[d, k] = sum over the reports of device d of log(1 + LAMBDAS[k] g)
    L[k] = sum over devices of W[d, k], the j largest left out          E = mean over k of exp(L[k])

Under "apart from some j devices the others are within tolerance on average" E is below an e-process, so by
Ville's inequality it ever reaches 1/alpha with probability at most alpha, however often one looks. LAMBDAS is
the same for all devices and constant (so the mean over devices, not each device, is the hypothesis).
Source: betting martingales, Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting" (2024); the mean over devices by AM-GM and the trimming are derived in docs/reference/gates.md.

Every step is rounded **down** to a multiple of 2**-30. Rounding down never creates evidence, and sums of such
numbers are exact in double precision (up to 2**22), so wealth is the same bit for bit in whatever order, on
whatever replica and however often partial sums are regrouped.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from math import floor, log1p
from operator import add
from typing import Final

GRID: Final = 16
LAMBDAS: Final = tuple(0.02 * 45 ** (k / (GRID - 1)) for k in range(GRID))
"""Fractions of the wealth that are bet, 0.02 to 0.9, log-spaced; constant."""

Wealth = tuple[float, ...]
"""GRID log-wealth sums, one per fraction, in nats."""

NONE: Final[Wealth] = (0.0,) * GRID

HUGE: Final = 1e300
"""Evidence is reported up to this, so that it always fits a JSON number."""

_UNIT: Final = 2.0**30
_PACKED: Final = struct.Struct(f"<{GRID}d")


def clip(score: float, tolerated: float, scale: float, cap: float) -> float:
    """How strongly one score speaks against "at most `tolerated`" (the formula's g), -1..cap."""
    return max(-1.0, min(cap, (score - tolerated) / scale))


def step(g: float) -> Wealth:
    """What one bet with outcome g >= -1 adds to the log-wealths, rounded down to multiples of 2**-30."""
    return tuple([floor(log1p(fraction * g) * _UNIT) / _UNIT for fraction in LAMBDAS])


def added(one: Wealth, other: Wealth) -> Wealth:
    """The sum, element by element; exact."""
    return tuple(map(add, one, other))


def times(one: Wealth, count: int) -> Wealth:
    """The sum of `count` equal steps; exact."""
    return tuple([value * count for value in one])


def sums(wealths: Sequence[Wealth], set_aside: int = 0) -> Wealth:
    """L of the formula: for each fraction the sum over devices without its `set_aside` richest ones.

    The order of the devices does not matter, bit for bit.
    """
    if not wealths:
        return NONE
    keep = max(0, len(wealths) - set_aside)
    columns = zip(*wealths, strict=True)
    if set_aside <= 0:
        return tuple([sum(column) for column in columns])
    return tuple([sum(sorted(column)[:keep]) for column in columns])


def log_evidence(wealths: Sequence[Wealth], set_aside: int = 0) -> float:
    """The logarithm of E over devices; for each fraction its `set_aside` richest devices are left out.

    No devices: 0.0 (E = 1).
    Order of the devices does not matter, bit for bit: the sums are exact.
    """
    return log_mean_exp(sums(wealths, set_aside))


def log_mean_exp(logs: Sequence[float]) -> float:
    """The logarithm of the mean of exp(logs), without overflow."""
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in logs) / len(logs))


def ratio(log_value: float) -> float:
    """exp(log_value), at most HUGE."""
    return HUGE if log_value >= math.log(HUGE) else math.exp(log_value)


def trimmed(devices: int) -> int:
    """How many of the worst are set aside: none below 5, else a tenth, rounded up (semantics section 2)."""
    return 0 if devices < 5 else max(1, math.ceil(0.1 * devices))


def pack(wealth: Wealth) -> bytes:
    """128 bytes for a database column: GRID little-endian doubles."""
    return _PACKED.pack(*wealth)


def unpack(data: bytes) -> Wealth:
    """The inverse of `pack`.

    Raises:
        ValueError: `data` has not 128 bytes.
    """
    if len(data) != _PACKED.size:
        raise ValueError(f"{len(data)} bytes instead of {_PACKED.size}")
    return _PACKED.unpack(data)
