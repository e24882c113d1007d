from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor
from modelfleet_core.release.manifest import Decoder, Task
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import Comparator, Comparison, for_task
from modelfleet_runtimes.decoders import open_decoder

from .. import scenes

Row = tuple[tuple[float, float, float, float], float, int]
Outputs = dict[str, FloatArray]

IMAGE = (LogicalTensor("image", (BATCH, 1, 100, 100), Layout.NCHW),)
TENSORS = (
    LogicalTensor("boxes", (BATCH, 6, 4)),
    LogicalTensor("scores", (BATCH, 6)),
    LogicalTensor("classes", (BATCH, 6)),
)
detection = for_task(Task.DETECTION, decoder=open_decoder(Decoder("boxes"), IMAGE, TENSORS))

A = (10.0, 10.0, 30.0, 30.0)
A_MOVED = (12.0, 10.0, 32.0, 30.0)  # IoU with A: 0.82
A_FAR = (22.0, 10.0, 42.0, 30.0)  # IoU with A: 0.25
B = (50.0, 50.0, 90.0, 90.0)


def outputs(*images: list[Row]) -> Outputs:
    made = {
        "boxes": np.zeros((len(images), 6, 4), np.float32),
        "scores": np.zeros((len(images), 6), np.float32),
        "classes": np.full((len(images), 6), -1, np.float32),
    }
    for index, rows in enumerate(images):
        for place, (box, score, number) in enumerate(rows):
            made["boxes"][index, place] = box
            made["scores"][index, place] = score
            made["classes"][index, place] = number
    return made


def compared(ours: list[Row], theirs: list[Row]) -> Comparison:
    return detection.compare(outputs(ours), outputs(theirs))


def test_the_same_objects_agree_though_boxes_and_scores_move() -> None:
    found = compared([(A_MOVED, 0.5, 1), (B, 0.9, 2)], [(B, 0.8, 2), (A, 0.9, 1)])
    assert (found.agree[0], found.close[0], found.severity[0]) == (True, False, 0.0)
    assert (found.candidate_score[0], found.incumbent_score[0]) == pytest.approx((0.9, 0.9), abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "severity"),
    [
        ([], [(A, 0.9, 1)], 1.0),
        ([(A, 0.9, 1)], [], 1.0),
        ([(A, 0.9, 1)], [(A, 0.9, 2)], 1.0),
        ([(A_FAR, 0.9, 1)], [(A, 0.9, 1)], 1.0),
        ([(A, 0.9, 1)], [(A, 0.9, 1), (B, 0.9, 2)], 1 / 3),
        ([(A, 0.9, 1), (A_MOVED, 0.9, 1)], [(A, 0.9, 1)], 1 / 3),
    ],
)
def test_a_box_of_one_model_alone_disagrees(ours: list[Row], theirs: list[Row], severity: float) -> None:
    found = compared(ours, theirs)
    assert (found.agree[0], found.close[0]) == (False, False)
    assert found.severity[0] == pytest.approx(severity)


def test_nothing_on_both_sides_agrees() -> None:
    found = compared([(A, 0.29, 1)], [])
    assert (found.agree[0], found.severity[0]) == (True, 0.0)
    assert (found.candidate_score[0], found.incumbent_score[0]) == pytest.approx((0.29, 0.0), abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "close"),
    [
        # The incumbent has it, barely: its own threshold is 0.3.
        ([], [(A, 0.34, 1)], True),
        ([], [(A, 0.36, 1)], False),
        # The incumbent nearly had it.
        ([(A, 0.9, 1)], [(A_MOVED, 0.26, 1)], True),
        ([(A, 0.9, 1)], [(A_MOVED, 0.24, 1)], False),
        ([(A, 0.9, 1)], [(A_MOVED, 0.26, 2)], False),
        # The candidate's own indecision excuses nothing.
        ([(A, 0.31, 1)], [], False),
        # One excused and one not.
        ([(B, 0.9, 2)], [(A, 0.31, 1)], False),
    ],
)
def test_only_the_incumbents_indecision_makes_a_close_call(
    ours: list[Row], theirs: list[Row], close: bool
) -> None:
    found = compared(ours, theirs)
    assert (found.agree[0], found.close[0]) == (False, close)


def test_what_is_not_finite_failed() -> None:
    good, bad = outputs([(A, 0.9, 1)]), outputs([(A, 0.9, 1)])
    bad["boxes"][0, 5, 0] = np.nan
    found = detection.compare(bad, good)
    assert (found.candidate_failed[0], found.agree[0], found.severity[0]) == (True, False, 1.0)
    assert np.isnan(found.candidate_score[0])
    turned = detection.compare(good, bad)
    assert (turned.incumbent_failed[0], turned.comparable[0], turned.severity[0]) == (True, False, 0.0)
    assert detection.score(bad, _truth([(A, 1)]))[0] == 0.0


def _truth(*images: list[tuple[tuple[float, float, float, float], int]]) -> dict[str, np.ndarray]:
    boxes = np.zeros((len(images), 3, 4), np.float32)
    classes = np.full((len(images), 3), -1, np.int64)
    for index, rows in enumerate(images):
        for place, (box, number) in enumerate(rows):
            boxes[index, place], classes[index, place] = box, number
    return {"boxes": boxes, "classes": classes}


def test_a_score_is_the_f1_of_the_decided_boxes() -> None:
    answers = outputs(
        [(A_MOVED, 0.9, 1), (B, 0.9, 2)],
        [(A, 0.9, 1), (B, 0.2, 2)],
        [],
        [],
        [(A, 0.9, 1)],
        [(A, 0.9, 1), (A_MOVED, 0.8, 1)],
    )
    truth = _truth([(A, 1), (B, 2)], [(A, 1), (B, 2)], [], [(A, 1)], [], [(A, 1)])
    np.testing.assert_allclose(detection.score(answers, truth), [1, 2 / 3, 1, 0, 0, 2 / 3])


def test_a_record_is_kept_by_its_clear_boxes() -> None:
    record = outputs([(A, 0.9, 1), (B, 0.35, 2)])
    assert detection.same(outputs([(A_MOVED, 0.85, 1)]), record, 0.1)[0], "B was not clear"
    assert not detection.same(outputs([(A_MOVED, 0.85, 1)]), record, 0.01)[0]
    assert not detection.same(outputs([]), record, 0.1)[0]
    assert not detection.same(outputs([(A_FAR, 0.5, 1)]), record, 0.1)[0]
    assert not detection.same(outputs([(A, 0.9, 3)]), record, 0.1)[0], "of another class"
    assert detection.same(outputs([]), outputs([]), 0.1)[0]


ROWS = st.lists(
    st.tuples(st.sampled_from([A, A_MOVED, A_FAR, B]), st.floats(0, 1, width=32), st.integers(0, 1)),
    max_size=6,
)


@given(ROWS, ROWS)
def test_severity_is_a_bounded_distance(ours: list[Row], theirs: list[Row]) -> None:
    one, two = compared(ours, theirs), compared(theirs, ours)
    assert 0 <= one.severity[0] <= 1
    assert one.agree[0] == two.agree[0]
    assert one.agree[0] == (one.severity[0] == 0)
    assert compared(ours, ours).agree[0]
    assert not (one.agree & one.close).any()


@given(st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=4))
def test_every_sample_is_compared_alone(pairs: list[tuple[list[Row], list[Row]]]) -> None:
    whole = detection.compare(outputs(*(p[0] for p in pairs)), outputs(*(p[1] for p in pairs)))
    for index, (ours, theirs) in enumerate(pairs):
        alone = compared(ours, theirs)
        assert (whole.agree[index], whole.close[index]) == (alone.agree[0], alone.close[0])
        assert whole.severity[index] == alone.severity[0]


def test_without_a_decoder_a_detector_is_refused() -> None:
    with pytest.raises(CallerError, match="decoder") as caught:
        for_task(Task.DETECTION)
    assert caught.value.code is Code.DECODER_MISSING


def test_truth_without_boxes_is_refused() -> None:
    with pytest.raises(CallerError) as caught:
        detection.score(outputs([]), {"labels": np.zeros(1, np.int64)})
    assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE


@pytest.fixture(scope="module")
def trained() -> Comparator:
    return for_task(Task.DETECTION, decoder=open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS))


def test_a_trained_detector_scores_well_and_a_shuffled_one_does_not(trained: Comparator) -> None:
    answers = scenes.answers(scenes.DETECTOR, 48)
    truth = {name: scenes.scenes()[name] for name in ("boxes", "classes")}
    assert trained.score(answers, truth).mean() > 0.85
    shuffled = {name: np.roll(value, 1, axis=0) for name, value in answers.items()}
    assert trained.score(shuffled, truth).mean() < 0.2
    assert trained.compare(answers, answers).agree.all()
    assert trained.compare(shuffled, answers).severity.mean() > 0.8
    noise = np.random.default_rng(0).normal(0, 1e-3, answers["heatmap"].shape)
    near = {**answers, "heatmap": (answers["heatmap"] + noise).astype(np.float32)}
    assert trained.same(near, answers, 4e-3).all()
    # One class later: every box is there, and none is right.
    turned = {**answers, "heatmap": np.roll(answers["heatmap"], 1, axis=1)}
    assert trained.score(turned, truth).mean() < 0.1
    assert not trained.compare(turned, answers).agree.any()
