from __future__ import annotations

import numpy as np
import pytest

from modelfleet_build.quality import (
    MIN_CLASS_SAMPLES,
    ClassDrop,
    ClassQuality,
    Quality,
    error_share,
    scored,
    self_test_bounds,
    worst_class_drop,
)
from modelfleet_core.release.manifest import Precision, Task
from modelfleet_runtimes.comparators import for_task


def of(*classes: tuple[float, int]) -> Quality:
    return Quality(0.9, 100, 0, classes=tuple((k, ClassQuality(*item)) for k, item in enumerate(classes)))


def test_the_class_that_loses_most_is_named() -> None:
    parent = of((0.9, 50), (0.8, 50), (1.0, 50))
    worst = worst_class_drop(of((0.9, 50), (0.5, 50), (0.8, 50)), parent)
    assert worst is not None
    assert worst.worst_class == 1
    assert worst.points == pytest.approx(30.0)
    better = worst_class_drop(of((0.95, 50), (0.9, 50), (1.0, 50)), parent)
    assert better == ClassDrop(2, 0.0)
    assert worst_class_drop(parent, parent) == ClassDrop(0, 0.0)


def test_a_class_with_few_samples_is_not_judged() -> None:
    few = MIN_CLASS_SAMPLES - 1
    parent = of((0.9, few), (0.8, MIN_CLASS_SAMPLES))
    worst = worst_class_drop(of((0.0, few), (0.7, MIN_CLASS_SAMPLES)), parent)
    assert worst is not None
    assert worst.worst_class == 1
    assert worst.points == pytest.approx(10.0)
    assert worst_class_drop(of((0.0, few)), of((0.9, few))) is None
    assert worst_class_drop(of(), of()) is None


def test_the_score_on_devices_is_the_mean_of_the_samples_with_a_truth() -> None:
    answers = {"y": np.eye(2, dtype=np.float32)[[0, 1, 0, 0]]}
    quality = scored(answers, {"labels": np.asarray([0, 0, -1, 0])}, for_task(Task.CLASSIFICATION))
    assert quality.value == pytest.approx(2 / 3)
    assert quality.samples == 3
    nothing = scored(answers, {"labels": np.full(4, -1)}, for_task(Task.CLASSIFICATION))
    assert (nothing.value, nothing.samples) == (0.0, 0)


def test_the_error_is_a_share_of_the_largest_value_of_its_own_output() -> None:
    parent = {
        "small": np.asarray([[0.1]] * 200, np.float32),
        "large": np.asarray([[1000.0]] * 200, np.float32),
    }
    answers = {name: value.copy() for name, value in parent.items()}
    answers["small"][190:] += np.float32(0.05)
    assert error_share(answers, parent) == pytest.approx(0.5, rel=1e-5)
    answers["large"][190:] = np.nan
    assert error_share(answers, parent) == 0.0, "a sample that is not finite is somebody else's matter"


def test_bounds_follow_each_output() -> None:
    recorded = {"a": np.asarray([[1.0, -4.0]], np.float32), "b": np.asarray([[np.nan, 100.0]], np.float32)}
    bounds = self_test_bounds(recorded, Precision.FP32, Task.CLASSIFICATION)
    assert bounds.per_output == pytest.approx((4e-3, 0.1))
    assert bounds.max_abs_error == pytest.approx(0.1)
    assert bounds.margin == pytest.approx(8e-3)
    assert [bounds.error_of(i) for i in range(2)] == pytest.approx([4e-3, 0.1])
    boxes = self_test_bounds(recorded, Precision.INT8, Task.DETECTION)
    assert boxes.margin == pytest.approx(0.2), "scores lie in 0 to 1, whatever else the outputs hold"
    single = self_test_bounds({"a": recorded["a"]}, Precision.FP16, Task.SEGMENTATION)
    assert single.per_output == ()
    assert single.error_of(0) == pytest.approx(0.04)


def test_one_ill_conditioned_sample_in_a_hundred_does_not_make_a_conversion_wrong() -> None:
    parent = np.ones((200, 4), np.float32)
    one, three = parent.copy(), parent.copy()
    one[7] += 0.5
    three[7:10] += 0.5
    assert error_share({"y": one}, {"y": parent}) == 0.0
    assert error_share({"y": three}, {"y": parent}) == pytest.approx(0.5)
    assert error_share({"y": one[:50]}, {"y": parent[:50]}) == pytest.approx(0.5), "too few to leave any out"
