"""Regression and embeddings: tasks whose answers are near or far rather than right or wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import Comparator, for_task

regression = for_task(Task.REGRESSION, scale=10.0)
embedding = for_task(Task.EMBEDDING)
NUMBERS = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def out(*rows: list[float]) -> dict[str, FloatArray]:
    return {"y": np.asarray(rows, np.float32)}


def test_errors_are_told_in_units_of_the_spread() -> None:
    found = regression.compare(out([5, 5], [5, 5], [105, 5]), out([5.9, 4.1], [5, 7], [5, 5]))
    assert found.agree.tolist() == [True, False, False]
    np.testing.assert_allclose(found.severity, [0.09, np.sqrt(2) / 10, 1.0], rtol=1e-6)
    assert not found.close.any()
    assert np.isnan(found.candidate_score).all()


def test_a_number_is_scored_by_its_error() -> None:
    targets = {"targets": np.asarray([[5, 5], [5, 8], [0, 0]], np.float32)}
    scores = regression.score(out([5, 5], [8, 5], [100, 0]), targets)
    np.testing.assert_allclose(scores, [1.0, 0.7, 0.0], rtol=1e-6)
    assert regression.score(out([np.nan, 5]), {"targets": np.asarray([[5, 5]], np.float32)})[0] == 0.0


def test_directions_are_compared_and_lengths_are_not() -> None:
    found = embedding.compare(out([1, 0], [1, 0], [1, 0], [0, 0]), out([9, 0], [9, 2], [-1, 0], [1, 0]))
    assert found.agree.tolist() == [True, False, False, False]
    np.testing.assert_allclose(found.severity, [0, (1 - 9 / np.sqrt(85)) / 2, 1, 0.5], atol=1e-9)
    assert not found.close.any()


def test_an_embedding_is_scored_by_the_float_parents() -> None:
    truth = {"embeddings": np.asarray([[1, 0], [1, 1], [1, 0]], np.float32)}
    scores = embedding.score(out([3, 0], [1, 0], [-1, 0]), truth)
    np.testing.assert_allclose(scores, [1, np.sqrt(0.5), 0], atol=1e-9)
    assert embedding.score(out([np.inf, 0]), {"embeddings": truth["embeddings"][:1]})[0] == 0.0


@pytest.mark.parametrize("comparator", [regression, embedding])
@given(a=NUMBERS, b=NUMBERS)
def test_severity_is_a_bounded_distance(comparator: Comparator, a: FloatArray, b: FloatArray) -> None:
    one, two = comparator.compare({"y": a}, {"y": b}), comparator.compare({"y": b}, {"y": a})
    assert ((one.severity >= 0) & (one.severity <= 1)).all()
    np.testing.assert_allclose(one.severity, two.severity, atol=1e-12)
    np.testing.assert_array_equal(one.agree, two.agree)
    same = comparator.compare({"y": a}, {"y": a})
    long = np.abs(a).max(axis=1) > 0  # an embedding of zeros has no direction, not even its own
    np.testing.assert_allclose(same.severity[long], 0, atol=1e-9)
    assert comparator.same({"y": a}, {"y": b}, 0.0).all()


@pytest.mark.parametrize("comparator", [regression, embedding])
def test_what_is_not_finite_failed(comparator: Comparator) -> None:
    found = comparator.compare(out([np.nan, 1], [1, 1]), out([1, 1], [np.inf, 1]))
    assert found.candidate_failed.tolist() == [True, False]
    assert found.incumbent_failed.tolist() == [False, True]
    assert found.severity.tolist() == [1.0, 0.0]
    assert not found.agree.any()


@pytest.mark.parametrize("comparator", [regression, embedding])
def test_other_shapes_are_refused(comparator: Comparator) -> None:
    with pytest.raises(CallerError) as caught:
        comparator.compare(out([1, 2]), out([1, 2, 3]))
    assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE
    short = {"targets": np.zeros((1, 3), np.float32), "embeddings": np.zeros((1, 3), np.float32)}
    with pytest.raises(CallerError):
        comparator.score(out([1, 2]), short)


def test_regression_without_its_scale_is_refused() -> None:
    with pytest.raises(CallerError, match="regression") as caught:
        for_task(Task.REGRESSION)
    assert caught.value.code is Code.TASK_NOT_SUPPORTED
