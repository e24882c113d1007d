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
from modelfleet_runtimes.comparators import finite, for_task, probabilities

classification = for_task(Task.CLASSIFICATION)


def outputs(rows: list[list[float]]) -> dict[str, FloatArray]:
    return {"scores": np.asarray(rows, np.float32)}


def test_equal_decisions_agree_whatever_the_logits() -> None:
    result = classification.compare(outputs([[1, 9, 0]]), outputs([[0, 4, 3]]))
    assert result.agree.tolist() == [True]
    assert result.close.tolist() == [False]
    assert 0 < result.severity[0] < 1


def test_a_changed_decision_disagrees() -> None:
    result = classification.compare(outputs([[9, 0, 0]]), outputs([[0, 9, 0]]))
    assert not result.agree[0]
    assert not result.close[0]
    assert result.severity[0] > 0.99


def test_a_changed_decision_of_an_undecided_incumbent_is_close() -> None:
    tie = [[5.0, 5.001, 0.0]]
    result = classification.compare(outputs([[9, 0, 0]]), outputs(tie))
    assert (result.agree[0], result.close[0]) == (False, True)
    # The candidate's own indecision excuses nothing.
    result = classification.compare(outputs(tie), outputs([[9, 0, 0]]))
    assert (result.agree[0], result.close[0]) == (False, False)


def test_an_equal_decision_is_never_close() -> None:
    tie = outputs([[5.0, 5.001, 0.0]])
    result = classification.compare(tie, tie)
    assert (result.agree[0], result.close[0]) == (True, False)


def test_what_is_not_finite_failed() -> None:
    bad = outputs([[np.nan, 0, 0], [1, np.inf, 0], [0, 1, 0]])
    good = outputs([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    result = classification.compare(bad, good)
    assert result.candidate_failed.tolist() == [True, True, False]
    assert result.agree.tolist() == [False, False, True]
    assert result.severity[:2].tolist() == [1.0, 1.0]
    assert np.isnan(result.candidate_score[:2]).all()
    assert result.comparable.tolist() == [False, False, True]
    assert not result.close.any()
    turned = classification.compare(good, bad)
    assert turned.incumbent_failed.tolist() == [True, True, False]
    assert turned.severity[:2].tolist() == [0.0, 0.0]
    assert finite(good)
    assert not finite(bad)


def test_probabilities_are_taken_as_they_are() -> None:
    given_rows = np.asarray([[0.25, 0.75], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(probabilities(given_rows), given_rows)


@given(
    hnp.arrays(np.float32, (4, 5), elements=st.floats(-50, 50, width=32)),
    hnp.arrays(np.float32, (4, 5), elements=st.floats(-50, 50, width=32)),
)
def test_severity_is_a_bounded_distance(a: FloatArray, b: FloatArray) -> None:
    one = classification.compare({"s": a}, {"s": b})
    two = classification.compare({"s": b}, {"s": a})
    assert ((one.severity >= 0) & (one.severity <= 1)).all()
    np.testing.assert_allclose(one.severity, two.severity, atol=1e-12)
    np.testing.assert_allclose(classification.compare({"s": a}, {"s": a}).severity, 0, atol=1e-12)
    assert not (one.agree & one.close).any()


def test_other_classes_are_refused() -> None:
    with pytest.raises(CallerError) as caught:
        classification.compare(outputs([[1, 2]]), outputs([[1, 2, 3]]))
    assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE


def test_right_counts_neither_nan_nor_unlabelled() -> None:
    rows = outputs([[0, 1], [1, 0], [np.nan, 0], [0, 1]])
    score = classification.score(rows, {"labels": np.asarray([1, 1, 0, -1])})
    np.testing.assert_array_equal(score, [1.0, 0.0, 0.0, np.nan])
