from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import for_task
from modelfleet_runtimes.truth import IGNORED

from .. import scenes

Mask = npt.NDArray[np.int64]

segmentation = for_task(Task.SEGMENTATION)
masks = hnp.arrays(np.int64, (2, 10, 10), elements=st.integers(0, 2))


def outputs(mask: Mask, sure: float = 8.0) -> dict[str, FloatArray]:
    """Logits of three classes [n, 3, h, w] that decide for the mask, ahead by `sure`."""
    return {"logits": (np.eye(3, dtype=np.float32)[mask] * np.float32(sure)).transpose(0, 3, 1, 2).copy()}


def flat(value: int) -> Mask:
    return np.full((1, 10, 10), value, np.int64)


def changed(count: int) -> Mask:
    """Class 0, of which the first pixels are 1."""
    mask = flat(0)
    mask.reshape(-1)[:count] = 1
    return mask


@pytest.mark.parametrize(("count", "agree"), [(0, True), (3, True), (4, False), (100, False)])
def test_a_declared_share_of_the_pixels_has_to_agree(count: int, agree: bool) -> None:
    found = segmentation.compare(outputs(changed(count)), outputs(flat(0)))
    assert (found.agree[0], found.close[0]) == (agree, False)


def test_pixels_on_which_the_incumbent_was_undecided_make_it_close() -> None:
    doubtful = outputs(flat(0))
    doubtful["logits"][0, :, 0] = 0.0
    doubtful["logits"][0, 0, 0] = 0.01
    found = segmentation.compare(outputs(changed(10)), doubtful)
    assert (found.agree[0], found.close[0]) == (False, True)
    found = segmentation.compare(outputs(changed(20)), doubtful)
    assert (found.agree[0], found.close[0]) == (False, False)
    turned = segmentation.compare(doubtful, outputs(changed(10)))
    assert (turned.agree[0], turned.close[0]) == (False, False), "the candidate's own doubt excuses nothing"


def test_severity_and_certainty() -> None:
    found = segmentation.compare(outputs(changed(50)), outputs(flat(0)))
    # Class 0: 50 of 100 shared; class 1: 0 of 50.
    assert found.severity[0] == pytest.approx(1 - 0.25)
    sure = 1 / (1 + 2 * np.exp(-8))
    assert found.candidate_score[0] == found.incumbent_score[0] == pytest.approx(sure)
    unsure = outputs(flat(0), sure=0.0)
    assert segmentation.compare(unsure, unsure).candidate_score[0] == pytest.approx(1 / 3)


@given(masks, masks)
def test_severity_is_a_bounded_distance(a: Mask, b: Mask) -> None:
    one, two = (segmentation.compare(outputs(x), outputs(y)) for x, y in ((a, b), (b, a)))
    assert ((one.severity >= 0) & (one.severity <= 1)).all()
    np.testing.assert_allclose(one.severity, two.severity)
    np.testing.assert_array_equal(one.severity == 0, (a == b).all(axis=(1, 2)))
    np.testing.assert_array_equal(one.agree, (a == b).mean(axis=(1, 2)) >= 0.97)


def slow_score(found: Mask, true: Mask) -> float:
    known = true != IGNORED
    values = []
    for number in np.unique(true[known]):
        ours, theirs = (found == number) & known, true == number
        values.append((ours & theirs).sum() / (ours | theirs).sum())
    return float(np.mean(values)) if values else float("nan")


@given(masks, hnp.arrays(np.uint8, (2, 10, 10), elements=st.sampled_from([0, 1, 2, IGNORED])))
def test_a_score_is_the_mean_iou_of_the_classes_that_are_there(found: Mask, true: Mask) -> None:
    scores = segmentation.score(outputs(found), {"masks": true})
    np.testing.assert_allclose(scores, [slow_score(a, b) for a, b in zip(found, true, strict=True)])


def test_an_image_that_is_ignored_has_no_score() -> None:
    ignored = np.full((1, 10, 10), IGNORED, np.uint8)
    assert np.isnan(segmentation.score(outputs(flat(0)), {"masks": ignored}))[0]


def test_what_is_not_finite_failed() -> None:
    bad = outputs(flat(0))
    bad["logits"][0, 2, 3, 3] = np.inf
    found = segmentation.compare(bad, outputs(flat(0)))
    assert (found.candidate_failed[0], found.agree[0], found.severity[0]) == (True, False, 1.0)
    assert segmentation.score(bad, {"masks": flat(0)})[0] == 0.0


def test_a_record_is_kept_by_its_clear_pixels() -> None:
    record = outputs(flat(0), sure=1.0)
    assert not segmentation.same(outputs(changed(1)), record, 0.9)[0]
    assert segmentation.same(outputs(changed(1)), record, 1.1)[0]
    assert segmentation.same(record, record, 0.0)[0]


@pytest.mark.parametrize("true", [np.zeros((1, 9, 10), np.uint8), np.full((1, 10, 10), 3, np.uint8)])
def test_a_mask_of_another_model_is_refused(true: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(CallerError) as caught:
        segmentation.score(outputs(flat(0)), {"masks": true})
    assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE


@pytest.mark.parametrize("shape", [(1, 10), (1, 1, 10, 10), (1, 3, 10)])
def test_other_outputs_are_refused(shape: tuple[int, ...]) -> None:
    values = {"logits": np.zeros(shape, np.float32)}
    with pytest.raises(CallerError):
        segmentation.compare(values, values)
    with pytest.raises(CallerError):
        segmentation.compare(outputs(flat(0)), {"logits": np.zeros((1, 4, 10, 10), np.float32)})


def test_a_trained_segmenter() -> None:
    answers = scenes.answers(scenes.SEGMENTER, 24)
    truth = {"masks": scenes.scenes()["masks"][:24]}
    score = segmentation.score(answers, truth)
    assert 0.55 < score.mean() < 0.8
    assert segmentation.compare(answers, answers).agree.all()
    shuffled = {"logits": np.roll(answers["logits"], 1, axis=0)}
    assert segmentation.score(shuffled, truth).mean() < 0.35
    assert not segmentation.compare(shuffled, answers).agree.any()
