"""Axes: which part of the numbers is shown, and at which of them a line is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from `low` to `high`, drawn from pixel `begin` to `end`.

    Attributes:
        log: Equal ratios are equally long.
        ticks: Numbers that are marked.
        spell: How they are written.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool
    ticks: tuple[float, ...]
    spell: Callable[[float], str]

    def at(self, value: float) -> float:
        """Pixel of a value; those outside land on the border."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + share * (self.end - self.begin)


def linear(
    values: Sequence[float],
    begin: float,
    end: float,
    spell: Callable[[float], str],
    *,
    least: float,
    top: float = math.inf,
) -> Axis:
    """An axis around the values, at least `least` wide, never above `top`."""
    low, high = min(values), max(values)
    missing = max(0.0, least - (high - low))
    low, high = low - missing / 2, high + missing / 2
    room = 0.12 * (high - low)
    low, high = low - room, high + room
    if high > top:
        low, high = min(low, top - least) if missing else low, top + 0.04 * (top - low)
    step = _step((high - low) / 4)
    first = math.ceil(low / step - 1e-9)
    ticks = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, begin, end, False, tuple(t for t in ticks if t <= top + 1e-9), spell)


def logarithmic(
    values: Sequence[float], begin: float, end: float, spell: Callable[[float], str], *, least: float
) -> Axis:
    """An axis of ratios around the values, from end to end at least a factor of `least`."""
    low, high = min(values), max(values)
    missing = max(1.0, least / (high / low))
    low, high = low / math.sqrt(missing), high * math.sqrt(missing)
    room = (high / low) ** 0.1
    low, high = low / room, high * room
    return Axis(low, high, begin, end, True, _log_ticks(low, high), spell)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Even steps where little of a decade is shown, else 1, 2, 5 of every decade, or fewer."""
    if high / low < 3:
        step = _step((high - low) / 4)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return tuple(index * step for index in range(first, last + 1))
    fine = _decades((1.0, 2.0, 5.0), low, high)
    if len(fine) <= 6:
        return fine
    coarse = _decades((1.0,), low, high)
    return coarse[:: math.ceil(len(coarse) / 6)]


def _decades(digits: tuple[float, ...], low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return tuple(v for d in decades for digit in digits if low <= (v := digit * 10.0**d) <= high)


def _step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * item for item in (1, 2, 2.5, 5, 10) if power * item >= rough * (1 - 1e-9))
