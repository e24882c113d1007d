"""Amounts as people write them: `30m`, `5%`, `2pt`, `10Mbit/s`, `20MB`. Exact both ways.

Reading and writing go through decimals, so `parse(format(x)) == x` for every finite float, and `0.1%` is
0.001. A bare number is refused wherever a unit is expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_AMOUNT: Final = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,30})?)\s?(?P<unit>[A-Za-z%/]{1,8})")
_DURATIONS: Final = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400"}
_SIZES: Final = {
    "B": "1",
    "kB": "1000",
    "MB": "1000000",
    "GB": "1000000000",
    "KiB": "1024",
    "MiB": "1048576",
    "GiB": "1073741824",
}
_RATES: Final = {
    **{f"{unit}/s": factor for unit, factor in _SIZES.items()},
    "bit/s": "0.125",
    "kbit/s": "125",
    "Mbit/s": "125000",
    "Gbit/s": "125000000",
}
_RATIOS: Final = {"%": "0.01"}
_POINTS: Final = {"pt": "0.01"}


class UnitError(ValueError):
    """The text is no amount of that kind; the message says what is expected."""


def _parse(text: object, units: Mapping[str, str], example: str) -> float:
    if isinstance(text, str):
        found = _AMOUNT.fullmatch(text.strip())
        if found is not None and found["unit"] in units:
            return float(Decimal(found["number"]) * Decimal(units[found["unit"]]))
    raise UnitError(f"a text such as {example} (units: {', '.join(units)})")


def _format(value: float, units: Mapping[str, str], order: tuple[str, ...], fallback: str) -> str:
    """In the first unit of `order` in which it is a whole number, else in the fallback."""
    exact = Decimal(repr(value))
    for unit in order:
        scaled = exact / Decimal(units[unit])
        if scaled >= 1 and scaled == scaled.to_integral_value() and scaled * Decimal(units[unit]) == exact:
            return f"{scaled:.0f}{unit}"
    scaled = exact / Decimal(units[fallback])
    text = f"{scaled:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{fallback}"


def parse_duration(text: object) -> float:
    """Seconds of `500ms`, `2s`, `30m`, `1h`, `3d`.

    Raises:
        UnitError: anything else.
    """
    return _parse(text, _DURATIONS, "30m")


def format_duration(seconds: float) -> str:
    """The inverse of `parse_duration`."""
    return _format(seconds, _DURATIONS, ("d", "h", "m", "s"), "s")


def parse_ratio(text: object) -> float:
    """0.05 of `5%`.

    Raises:
        UnitError: anything else; a bare number too, because 5 and 0.05 would be easily confused.
    """
    return _parse(text, _RATIOS, "5%")


def format_ratio(value: float) -> str:
    """The inverse of `parse_ratio`."""
    return _format(value, _RATIOS, (), "%")


def parse_points(text: object) -> float:
    """0.02 of `2pt` (points of accuracy).

    Raises:
        UnitError: anything else.
    """
    return _parse(text, _POINTS, "2pt")


def format_points(value: float) -> str:
    """The inverse of `parse_points`."""
    return _format(value, _POINTS, (), "pt")


def parse_rate(text: object) -> float:
    """Bytes per second of `10Mbit/s` or `2MB/s`.

    Raises:
        UnitError: anything else.
    """
    return _parse(text, _RATES, "10Mbit/s")


def format_rate(bytes_per_second: float) -> str:
    """The inverse of `parse_rate`."""
    return _format(bytes_per_second, _RATES, ("Gbit/s", "Mbit/s", "kbit/s", "B/s"), "B/s")


def parse_size(text: object) -> int:
    """Bytes of `20MB` or `256MiB`.

    Raises:
        UnitError: anything else, and what is no whole number of bytes.
    """
    value = _parse(text, _SIZES, "20MB")
    if value != int(value):
        raise UnitError("a whole number of bytes, such as 20MB")
    return int(value)


def format_size(size: int) -> str:
    """The inverse of `parse_size`."""
    return _format(size, _SIZES, ("GiB", "GB", "MiB", "MB", "KiB", "kB"), "B")
