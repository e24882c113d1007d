"""Calibration ranges: what each method keeps, and in how much memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.optimizers.onnxruntime_ranges import (
    BINS,
    METHODS,
    entropy_threshold,
    percentile_range,
    ranges,
)

from .graphs import model, node


def doubled(folder: Path) -> Path:
    """y = relu(2 x), [1, 1000]."""
    nodes = [node("Mul", ["x", "two"], "a"), node("Relu", ["a"], "b"), node("Mul", ["b", "two"], "y")]
    path = folder / "model.onnx"
    onnx.save(model(nodes, [1, 1000], {"two": np.float32(2)}), path)
    return path


def tailed(count: int = 20) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Normal values and one outlier of 100."""
    values = np.random.default_rng(5).normal(0, 1, (count, 1000)).astype(np.float32)
    values[3, 7] = 100.0
    return values


def test_minmax_is_least_and_greatest_of_every_value(tmp_path: Path) -> None:
    samples = tailed()
    found = ranges(doubled(tmp_path), samples, "minmax", 100.0)
    assert set(found) == {"x", "a", "b", "y"}
    assert found["x"] == (float(samples.min()), 100.0)
    assert found["b"] == (0.0, 200.0)


@pytest.mark.parametrize(("method", "percentile"), [("percentile", 99.9), ("entropy", 100.0)])
def test_an_outlier_is_clipped_within_and_kept_in_the_answer(
    tmp_path: Path, method: str, percentile: float
) -> None:
    found = ranges(doubled(tmp_path), tailed(), method, percentile)
    assert found["a"][1] < 40, "the outlier of 200 would take all the levels"
    assert found["b"][0] == 0.0
    assert found["y"][1] == 400.0, "an answer is never clipped"


def test_values_that_are_not_finite_or_never_change(tmp_path: Path) -> None:
    samples = np.zeros((4, 1000), np.float32)
    samples[0, 0], samples[1, 0] = np.nan, np.inf
    for method in METHODS:
        found = ranges(doubled(tmp_path), samples, method, 99.0)
        assert all(np.isfinite(bounds).all() for bounds in found.values()), method


@given(
    counts=st.lists(st.integers(0, 50), min_size=16, max_size=64).filter(any),
    percentile=st.floats(50, 100),
    low=st.floats(-10, 0),
    width=st.floats(0.5, 20),
)
def test_a_percentile_keeps_at_least_its_share(
    counts: list[int], percentile: float, low: float, width: float
) -> None:
    histogram = np.array(counts, np.int64)
    least, greatest = percentile_range(histogram, (low, low + width), percentile)
    assert low - 1e-9 <= least < greatest <= low + width + 1e-9
    edges = np.linspace(low, low + width, len(counts) + 1)
    kept = histogram[(edges[:-1] >= least - 1e-9) & (edges[1:] <= greatest + 1e-9)].sum()
    assert kept >= histogram.sum() * percentile / 100 - 1e-6


def test_the_whole_percentile_drops_empty_margins_only() -> None:
    counts = np.array([0, 0, 3, 1, 4, 0], np.int64)
    assert percentile_range(counts, (0.0, 6.0), 100.0) == (2.0, 5.0)


def test_entropy_keeps_an_even_distribution_and_cuts_a_tail() -> None:
    assert entropy_threshold(np.full(BINS, 100, np.int64), 1.0) == 1.0
    tail = np.zeros(BINS, np.int64)
    tail[:256], tail[-1] = 1000, 1
    assert entropy_threshold(tail, 1.0) < 0.2


def test_entropy_does_not_let_zeros_drown_the_rest() -> None:
    """After ReLU most values are zero; what is left is spread evenly and must not be clipped away."""
    counts = np.full(BINS, 10, np.int64)
    counts[0] = 100_000_000
    assert entropy_threshold(counts, 1.0) > 0.9


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    path = doubled(tmp_path)

    def peak(count: int) -> int:
        samples = tailed(count)
        tracemalloc.start()
        try:
            ranges(path, samples, "percentile", 99.9)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    few, many = peak(20), peak(600)
    # Kept, the values of 600 samples would take 10 MB.
    assert many < few + 1_000_000
