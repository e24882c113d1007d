"""The log-bucket histogram: error bound, merging, wire form."""

from __future__ import annotations

import math
import random
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.sketch.histogram import (
    HIGHEST_S,
    LOWEST_S,
    MAX_COUNT,
    MAX_WIRE_CHARS,
    RELATIVE_ERROR,
    TOP_BUCKET,
    Histogram,
    HistogramBuilder,
    bucket_of,
    value_of,
)

durations = st.floats(LOWEST_S, HIGHEST_S, exclude_min=True)
histograms = st.dictionaries(st.integers(0, TOP_BUCKET), st.integers(1, 10**6), max_size=60).map(
    lambda counts: Histogram(tuple(sorted(counts.items())))
)


def lognormal(count: int, sd: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [0.040 * math.exp(rng.gauss(0, sd)) for _ in range(count)]


@given(durations)
def test_every_value_in_range_is_represented_within_the_error(value: float) -> None:
    assert abs(value_of(bucket_of(value)) / value - 1) <= RELATIVE_ERROR * (1 + 1e-9)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("sd", [0.1, 0.5, 1.0])
def test_quantiles_are_within_one_percent_of_the_true_order_statistic(q: float, sd: float) -> None:
    values = lognormal(5000, sd, seed=7)
    true = sorted(values)[math.ceil(q * len(values)) - 1]
    found = Histogram.of(values).quantile(q)
    assert found is not None
    assert abs(found / true - 1) <= RELATIVE_ERROR * (1 + 1e-9)


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_of_any_values_is_within_the_error(values: list[float], q: float) -> None:
    true = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = Histogram.of(values).quantile(q)
    assert found is not None
    assert abs(found / true - 1) <= RELATIVE_ERROR * (1 + 1e-9)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().count == 0


def test_values_outside_the_range_are_kept_in_the_outer_buckets() -> None:
    found = Histogram.of([0.0, 1e-9, 5e4])
    assert found.buckets == ((0, 2), (TOP_BUCKET, 1))
    assert found.quantile(0.0) == LOWEST_S
    assert found.quantile(1.0) == HIGHEST_S


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, -math.inf])
def test_what_is_no_duration_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        HistogramBuilder().add(value)


@given(histograms, histograms, histograms)
def test_merging_is_commutative_and_associative(a: Histogram, b: Histogram, c: Histogram) -> None:
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(b).count == a.count + b.count
    assert a.merged(Histogram()) == a


@given(st.lists(durations, max_size=80), st.randoms(use_true_random=False))
def test_merging_parts_in_any_order_equals_counting_at_once(values: list[float], rng: random.Random) -> None:
    whole = Histogram.of(values)
    parts = [Histogram.of([value]) for value in values]
    rng.shuffle(parts)
    merged = Histogram()
    for part in parts:
        merged = part.merged(merged)
    assert merged == whole
    assert merged.to_wire() == whole.to_wire()


@given(histograms)
def test_the_wire_form_comes_back(histogram: Histogram) -> None:
    assert Histogram.from_wire(histogram.to_wire()) == histogram


@pytest.mark.parametrize("count", [200, 500, 1000])
@pytest.mark.parametrize("sd", [0.1, 0.3, 0.6, 1.0])
def test_the_wire_form_of_lognormal_values_is_small(count: int, sd: float) -> None:
    sizes = [len(Histogram.of(lognormal(count, sd, seed)).to_wire()) for seed in range(20)]
    assert max(sizes) <= 400


def test_the_largest_useful_wire_form_is_accepted() -> None:
    full = Histogram(tuple((bucket, 10**6) for bucket in range(TOP_BUCKET + 1)))
    assert len(full.to_wire()) <= MAX_WIRE_CHARS
    assert Histogram.from_wire(full.to_wire()) == full


def wire(*packed: int) -> str:
    return "h1" + urlsafe_b64encode(bytes(packed)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "version prefix"),
        ("h2AA", "version prefix"),
        ("h1" + "A" * MAX_WIRE_CHARS, "characters"),
        ("h1\u00fc", "base64url"),
        ("h1!!!!", "canonical"),
        ("h1A", "base64url"),
        ("h1AB", "canonical"),  # stray bits behind the last byte
        ("h1AA==", "canonical"),
        (wire(0xE0), "ends inside"),
        (wire(0x1F), "ends inside"),
        (wire(0x1F, 0x80, 0x80), "ends inside"),
        (wire(0x1F, 0x80, 0x00), "padded"),
        (wire(0xE0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), "too long"),
        (wire(0xE0, 0xFF, 0x7F), "bucket 16390"),
        (wire(0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), "values"),
    ],
)
def test_a_hostile_wire_form_is_refused(text: str, why: str) -> None:
    with pytest.raises(CallerError, match=why) as refused:
        Histogram.from_wire(text)
    assert refused.value.code is Code.SKETCH_INVALID


@given(
    st.text(max_size=60)
    | st.binary(max_size=40).map(lambda b: "h1" + urlsafe_b64encode(b).decode().rstrip("="))
)
def test_any_text_is_read_as_itself_or_refused(text: str) -> None:
    try:
        histogram = Histogram.from_wire(text)
    except CallerError:
        return
    assert histogram.to_wire() == text  # one form only


@pytest.mark.parametrize(
    "buckets", [((1, 0),), ((2, 1), (1, 1)), ((1, 1), (1, 1)), ((TOP_BUCKET + 1, 1),), ((0, MAX_COUNT + 1),)]
)
def test_a_histogram_that_counting_cannot_give_is_refused(buckets: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(CallerError):
        Histogram(buckets)
