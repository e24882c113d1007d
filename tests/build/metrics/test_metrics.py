from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from modelfleet_build.metrics import for_task, spread
from modelfleet_build.metrics.detection import average_precisions
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Decoder, Task
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.decoders import Detections, open_decoder
from modelfleet_runtimes.truth import IGNORED

from tests.runtimes import scenes

FAR = (500.0, 500.0, 510.0, 510.0)
HERE = (0.0, 0.0, 10.0, 10.0)


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    boxes = np.asarray([row[0] for row in rows], np.float32).reshape(-1, 4)
    scores = np.asarray([row[1] for row in rows], np.float32)
    return Detections(boxes, scores, np.asarray([row[2] for row in rows], np.int64))


def precision(*images: tuple[Detections, int]) -> float:
    """Average precision of class 0, when each image shows so many objects of it, at `HERE` and beyond."""
    boxes = np.zeros((len(images), 3, 4), np.float32)
    classes = np.full((len(images), 3), -1, np.int64)
    for row, (_, count) in enumerate(images):
        for place in range(count):
            boxes[row, place] = np.asarray(HERE) + 20 * place
            classes[row, place] = 0
    return average_precisions([item for item, _ in images], boxes, classes)[0].value


def test_the_area_under_the_envelope() -> None:
    right = found((HERE, 0.9, 0))
    assert precision((right, 1)) == 1.0
    assert precision((found(), 1)) == 0.0
    assert precision((right, 1), (found(), 1)) == 0.5
    # A wrong box with a lower score costs nothing, with a higher one half.
    assert precision((found((HERE, 0.9, 0), (FAR, 0.8, 0)), 1)) == 1.0
    assert precision((found((FAR, 0.95, 0), (HERE, 0.9, 0)), 1)) == 0.5
    # The same object twice is wrong the second time.
    assert precision(
        (found((HERE, 0.9, 0), (HERE, 0.85, 0)), 1), (found((HERE, 0.8, 0)), 1)
    ) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # Boxes of other classes do not matter, boxes in images without objects do.
    assert precision((found((FAR, 0.95, 1), (HERE, 0.9, 0)), 1)) == 1.0
    assert precision((found((HERE, 0.95, 0)), 0), (right, 1)) == 0.5
    # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    assert precision((found((HERE, 0.9, 0)), 1), (found((FAR, 0.8, 0), (HERE, 0.7, 0)), 1)) == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def heads(count: int) -> dict[str, FloatArray]:
    return dict(scenes.answers(scenes.DETECTOR, count))


def test_detection_on_a_trained_model() -> None:
    decoder = open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS)
    metric = for_task(Task.DETECTION, decoder)
    truth = {name: scenes.scenes()[name] for name in ("boxes", "classes")}
    good = metric.quality(heads(48), truth)
    assert 0.8 < good.value <= 1.0
    broken = {name: value.copy() for name, value in heads(48).items()}
    broken["offset"][:10, 0, 0, 0] = np.nan  # one element of one output, far from every object
    worse = metric.quality(broken, truth)
    assert worse.not_finite == 10
    assert worse.value < good.value - 0.1
    assert metric.agreement(heads(48), heads(48)) == 1.0
    assert metric.agreement(broken, heads(48)) == 1.0, "only what both answered is compared"
    turned = {**heads(48), "heatmap": np.roll(heads(48)["heatmap"], 1, axis=1)}
    assert metric.agreement(turned, heads(48)) < 0.05
    assert metric.quality(turned, truth).value < 0.1
    everything_nan = {name: np.full_like(value, np.nan) for name, value in heads(48).items()}
    assert metric.agreement(everything_nan, heads(48)) == 0.0


def test_top_one_and_its_classes() -> None:
    answers = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    answers[5] = np.nan
    quality = for_task(Task.CLASSIFICATION).quality(
        {"y": answers, "z": answers}, {"labels": np.asarray([0, 1, 1, -1, 2, 2])}
    )
    assert (quality.value, quality.samples, quality.not_finite) == (0.6, 5, 1)
    assert {k: (c.value, c.samples) for k, c in quality.by_class.items()} == {
        0: (1.0, 1),
        1: (0.5, 2),
        2: (0.5, 2),
    }
    other = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 2, 2]]
    assert for_task(Task.CLASSIFICATION).agreement({"y": answers}, {"y": other}) == 0.8


def logits(masks: npt.NDArray[np.int64]) -> dict[str, FloatArray]:
    return {"y": np.eye(3, dtype=np.float32)[masks].transpose(0, 3, 1, 2).copy()}


def test_intersection_over_union_of_the_whole_set() -> None:
    true = np.asarray([[[0, 0], [1, 1]], [[0, 0], [0, IGNORED]]], np.uint8)
    ours = np.asarray([[[0, 1], [1, 1]], [[0, 0], [2, 2]]])
    quality = for_task(Task.SEGMENTATION).quality(logits(ours), {"masks": true})
    # Class 0: 3 of 5 (one became 1, one 2); class 1: 2 of 3; class 2 is not in the truth.
    assert {k: c.samples for k, c in quality.by_class.items()} == {0: 2, 1: 1}
    assert [c.value for c in quality.by_class.values()] == pytest.approx([3 / 5, 2 / 3])
    assert quality.value == pytest.approx((3 / 5 + 2 / 3) / 2)
    broken = logits(ours)
    broken["y"][1, 0, 0, 0] = np.inf
    worse = for_task(Task.SEGMENTATION).quality(broken, {"masks": true})
    assert worse.not_finite == 1
    assert worse.by_class[0].value == pytest.approx(1 / 5), "1 right of 2 seen and 3 missed"
    other = ours.copy()
    other[0, 0, 1] = 0
    assert for_task(Task.SEGMENTATION).agreement(logits(ours), logits(other)) == pytest.approx(7 / 8)
    assert for_task(Task.SEGMENTATION).agreement(broken, logits(other)) == pytest.approx(3 / 4)


def test_regression_is_told_in_units_of_the_spread() -> None:
    targets = np.asarray([[0.0, 100.0], [2.0, 102.0], [4.0, 104.0]], np.float32)
    scale = spread(targets)
    assert scale == pytest.approx(np.sqrt(8 / 3)), "about the mean of each number"
    metric = for_task(Task.REGRESSION, scale=scale)
    exact = metric.quality({"y": targets}, {"targets": targets})
    assert (exact.value, exact.raw_error, exact.by_class) == (1.0, 0.0, {})
    mean = metric.quality({"y": np.broadcast_to(targets.mean(axis=0), (3, 2)).copy()}, {"targets": targets})
    assert mean.value == pytest.approx(0.0, abs=1e-6)
    off = metric.quality({"y": targets + np.float32(0.5)}, {"targets": targets})
    assert off.raw_error == pytest.approx(0.5)
    assert off.value == pytest.approx(1 - 0.5 / scale)
    assert metric.quality({"y": targets + 100}, {"targets": targets}).value == 0.0
    broken = targets.copy()
    broken[0, 0] = np.nan
    lost = metric.quality({"y": broken}, {"targets": targets})
    assert lost.not_finite == 1
    assert lost.raw_error == pytest.approx(scale / np.sqrt(3))
    near = targets + np.asarray([[0.1], [0.1], [9]], np.float32)
    assert metric.agreement({"y": near}, {"y": targets}) == pytest.approx(2 / 3)


def test_embeddings_are_compared_with_the_parents() -> None:
    parent = np.asarray([[1, 0], [0, 1], [1, 1]], np.float32)
    metric = for_task(Task.EMBEDDING)
    assert metric.quality({"y": parent * 3}, {"embeddings": parent}).value == pytest.approx(1.0)
    ours = np.asarray([[1, 0], [1, 0], [np.nan, 0]], np.float32)
    quality = metric.quality({"y": ours}, {"embeddings": parent})
    assert quality.value == pytest.approx(1 / 3)
    assert quality.not_finite == 1
    assert metric.agreement({"y": ours}, {"y": parent}) == 0.5


@pytest.mark.parametrize("task", [Task.DETECTION, Task.REGRESSION])
def test_a_task_without_what_belongs_to_it_is_refused(task: Task) -> None:
    with pytest.raises(CallerError, match=task.value) as caught:
        for_task(task)
    assert caught.value.code is Code.TASK_NOT_SUPPORTED


def test_the_decoders_own_threshold_decides_what_agrees() -> None:
    parent = heads(8)
    weak = {**parent, "heatmap": parent["heatmap"] * np.float32(0.2)}
    strict = open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS)
    lax = open_decoder(Decoder("centernet", {"confident": 0.05}), (scenes.IMAGE,), scenes.HEADS)
    assert for_task(Task.DETECTION, strict).agreement(weak, parent) == 0.0
    assert for_task(Task.DETECTION, lax).agreement(weak, parent) > 0.8
