from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelfleet_runtimes.decoders.geometry import match, overlap, suppress

Boxes = npt.NDArray[np.float64]

# Coordinates in eighths, so that exact ties of overlaps are rare but possible.
SIDES = st.integers(0, 400).map(lambda value: value / 8)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.asarray(rows, np.float64).reshape(-1, 4)


@st.composite
def some_boxes(draw: st.DrawFn, most: int = 12) -> Boxes:
    count = draw(st.integers(0, most))
    low = draw(hnp.arrays(np.float64, (count, 2), elements=SIDES))
    size = draw(hnp.arrays(np.float64, (count, 2), elements=SIDES))
    return np.concatenate([low, low + size], axis=1)


def slow_overlap(a: Boxes, b: Boxes) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return float(wide * high / both) if both > 0 else 0.0


@given(some_boxes(), some_boxes())
def test_overlap_is_intersection_over_union(a: Boxes, b: Boxes) -> None:
    found = overlap(a, b)
    assert found.shape == (len(a), len(b))
    for row in range(len(a)):
        for column in range(len(b)):
            assert found[row, column] == pytest.approx(slow_overlap(a[row], b[column]))


def test_a_half_shared_box() -> None:
    assert overlap(boxes((0, 0, 2, 2)), boxes((1, 0, 3, 2)))[0, 0] == pytest.approx(1 / 3)


@given(some_boxes(), st.floats(0, 0.99), st.integers(1, 12), st.data())
def test_what_stays_does_not_overlap_and_what_goes_is_overlapped(
    given_boxes: Boxes, threshold: float, most: int, data: st.DataObject
) -> None:
    count = len(given_boxes)
    scores = data.draw(hnp.arrays(np.float64, count, elements=st.floats(0, 1)))
    kept = suppress(given_boxes, scores, threshold, most)
    assert len(kept) <= most
    assert len(set(kept.tolist())) == len(kept)
    assert (np.diff(scores[kept]) <= 0).all()
    among = overlap(given_boxes[kept], given_boxes[kept])
    assert (among[~np.eye(len(kept), dtype=bool)] <= threshold).all()
    if len(kept) < most:
        for row in set(range(count)) - set(kept.tolist()):
            better = kept[scores[kept] >= scores[row]]
            assert overlap(given_boxes[row : row + 1], given_boxes[better]).max() > threshold


def test_other_classes_suppress_only_where_told() -> None:
    same_place = boxes((0, 0, 4, 4), (0, 0, 4, 4), (0, 0, 4, 4))
    scores, classes = np.asarray([0.9, 0.8, 0.7]), np.asarray([1, 2, 1])
    assert suppress(same_place, scores, 0.5, 9).tolist() == [0]
    assert suppress(same_place, scores, 0.5, 9, classes).tolist() == [0, 1]
    assert suppress(same_place, scores, 1.0, 2).tolist() == [0, 1], "1 suppresses nothing"


@given(some_boxes(), some_boxes(), st.data())
def test_matches_are_one_to_one_of_one_class_and_near(a: Boxes, b: Boxes, data: st.DataObject) -> None:
    a_classes = data.draw(hnp.arrays(np.int64, len(a), elements=st.integers(0, 2)))
    b_classes = data.draw(hnp.arrays(np.int64, len(b), elements=st.integers(0, 2)))
    rows, columns = match(a, a_classes, b, b_classes, 0.5)
    assert len(set(rows.tolist())) == len(rows) == len(columns) == len(set(columns.tolist()))
    over = overlap(a, b)
    assert (over[rows, columns] >= 0.5).all()
    assert (a_classes[rows] == b_classes[columns]).all()
    # Nothing that could still be paired is left.
    free_a = np.setdiff1d(np.arange(len(a)), rows)
    free_b = np.setdiff1d(np.arange(len(b)), columns)
    left = over[np.ix_(free_a, free_b)] * (a_classes[free_a][:, None] == b_classes[free_b][None, :])
    assert not (left >= 0.5).any()


def test_the_nearest_pair_comes_first() -> None:
    ours = boxes((0, 0, 10, 10), (0, 0, 10, 9))
    theirs = boxes((0, 0, 10, 9))
    rows, columns = match(ours, np.zeros(2, np.int64), theirs, np.zeros(1, np.int64), 0.5)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])
