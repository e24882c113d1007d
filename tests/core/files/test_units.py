"""Amounts as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.files import units
from modelfleet_core.files.units import UnitError

positive = st.floats(1e-9, 1e15)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_duration, "500ms", 0.5),
        (units.parse_duration, "2s", 2.0),
        (units.parse_duration, "1.5 h", 5400.0),
        (units.parse_duration, "30m", 1800.0),
        (units.parse_duration, "3d", 259_200.0),
        (units.parse_ratio, "5%", 0.05),
        (units.parse_ratio, "0.1%", 0.001),
        (units.parse_ratio, "100%", 1.0),
        (units.parse_points, "2pt", 0.02),
        (units.parse_points, "0.5pt", 0.005),
        (units.parse_rate, "10Mbit/s", 1_250_000.0),
        (units.parse_rate, "2MB/s", 2_000_000.0),
        (units.parse_rate, "1KiB/s", 1024.0),
        (units.parse_size, "20MB", 20_000_000),
        (units.parse_size, "256MiB", 268_435_456),
    ],
)
def test_amounts_are_read_exactly(parse: Callable[[object], float], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "parse", [units.parse_duration, units.parse_ratio, units.parse_points, units.parse_rate]
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        5,
        0.05,
        None,
        True,
        "-5%",
        "5 percent",
        "%",
        "1e3s",
        "5%%",
        "\u0665%",
        "1" * 40 + "s",
        "5 m s",
    ],
)
def test_what_is_no_amount_is_refused(parse: Callable[[object], float], text: object) -> None:
    with pytest.raises(UnitError):
        parse(text)


def test_half_a_byte_is_refused() -> None:
    with pytest.raises(UnitError, match="whole number"):
        units.parse_size("0.5B")


@given(positive)
def test_amounts_come_back(value: float) -> None:
    assert units.parse_duration(units.format_duration(value)) == value
    assert units.parse_rate(units.format_rate(value)) == value


@given(st.floats(0, 1))
def test_ratios_come_back(value: float) -> None:
    if value == 0.0 or value >= 1e-9:
        assert units.parse_ratio(units.format_ratio(value)) == value
        assert units.parse_points(units.format_points(value)) == value


@given(st.integers(0, 10**15))
def test_sizes_come_back(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (units.format_duration, 1800.0, "30m"),
        (units.format_duration, 86_400.0, "1d"),
        (units.format_duration, 90.0, "90s"),
        (units.format_duration, 0.0, "0s"),
        (units.format_ratio, 0.05, "5%"),
        (units.format_ratio, 0.005, "0.5%"),
        (units.format_points, 0.02, "2pt"),
        (units.format_rate, 1_250_000.0, "10Mbit/s"),
        (units.format_size, 268_435_456, "256MiB"),
    ],
)
def test_amounts_are_written_as_people_would(write: Callable[[float], str], value: float, text: str) -> None:
    assert write(value) == text
