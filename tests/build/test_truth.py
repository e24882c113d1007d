"""Truth of every task: what is read, and everything that is refused, with the place where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfleet_build.facts import ModelFacts
from modelfleet_build.roles import Role
from modelfleet_build.truth import TruthRules, read_truth, rules_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.truth import IGNORED, MAX_BOXES, check_form

COUNT = 3
IMAGE = LogicalTensor("x", (BATCH, 1, 40, 60), Layout.NCHW)
BOXES = TruthRules(Task.DETECTION, 4, image=(60, 40))
MASKS = TruthRules(Task.SEGMENTATION, 4, (8, 9))
TARGETS = TruthRules(Task.REGRESSION, shape=(2,))


def read(rules: TruthRules, role: Role = Role.VALIDATION, **arrays: Any) -> dict[str, Any]:
    truth = read_truth(arrays, role, Path("v.npz"), COUNT, rules)
    check_form(truth, COUNT)  # whatever is read can go to a device
    return truth


def refused(rules: TruthRules, code: Code = Code.DATASET_TRUTH, **arrays: Any) -> str:
    with pytest.raises(CallerError) as caught:
        read(rules, **arrays)
    assert caught.value.code is code
    assert caught.value.expected
    assert "validation set v.npz" in caught.value.happened
    return caught.value.happened


def boxes(**changes: Any) -> dict[str, Any]:
    made = {"boxes": np.zeros((COUNT, 2, 4), np.float32), "classes": np.full((COUNT, 2), -1)}
    made["boxes"][0, 0], made["classes"][0, 0] = (5, 6, 20, 30), 3
    made["boxes"][2, 1], made["classes"][2, 1] = (0, 0, 60.5, 40), 0
    return {**made, **changes}


def with_box(*box: float) -> dict[str, Any]:
    made = boxes()
    made["boxes"][0, 0] = box
    return made


def test_boxes() -> None:
    truth = read(BOXES, **boxes())
    assert (truth["boxes"].dtype, truth["classes"].dtype) == (np.float32, np.int64)
    wide = read(
        BOXES, **boxes(boxes=boxes()["boxes"].astype(np.float64), classes=boxes()["classes"].astype(np.int8))
    )
    assert (wide["boxes"].dtype, wide["classes"].dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    "box",
    [(5, 6, 5, 30), (5, 6, 20, 6), (20, 30, 5, 6), (-3, 6, 20, 30), (5, 6, 63, 30), (5, 6, 20, 44)],
    ids=["no width", "no height", "corners swapped", "left of", "right of", "below"],
)
def test_impossible_boxes(box: tuple[float, ...]) -> None:
    said = refused(BOXES, **with_box(*box))
    assert "in sample 0" in said
    assert f"{box[2]:g}" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_boxes_that_are_not_finite(value: float) -> None:
    assert "first: 0" in refused(BOXES, **with_box(value, 6, 20, 30))


def test_boxes_of_the_wrong_form() -> None:
    good = boxes()
    assert "in sample 2" in refused(
        BOXES, **boxes(classes=np.where(good["classes"] == 0, 4, good["classes"]))
    )
    refused(BOXES, **boxes(classes=np.where(good["classes"] == 0, -2, good["classes"])))
    refused(BOXES, **boxes(classes=np.full((COUNT, 3), -1)))
    refused(BOXES, **boxes(classes=np.full(COUNT, -1)))
    refused(BOXES, **boxes(classes=good["classes"].astype(np.float32)))
    refused(BOXES, **boxes(boxes=good["boxes"].astype(np.int64)))
    refused(BOXES, **boxes(boxes=good["boxes"][:2]))
    refused(BOXES, boxes=good["boxes"])
    refused(BOXES, classes=good["classes"])
    many = MAX_BOXES + 1
    refused(BOXES, boxes=np.zeros((COUNT, many, 4), np.float32), classes=np.full((COUNT, many), -1))
    assert "no object" in refused(BOXES, **boxes(classes=np.full((COUNT, 2), -1)))


def test_a_detector_whose_classes_are_not_known_takes_any() -> None:
    free = TruthRules(Task.DETECTION, None, image=(60, 40))
    far = np.where(boxes()["classes"] == 3, 3000, boxes()["classes"])
    assert read(free, **boxes(classes=far))["classes"].max() == 3000


def test_masks() -> None:
    masks = np.zeros((COUNT, 8, 9), np.int64)
    masks[1] = 3
    masks[2, 4, 4] = IGNORED
    truth = read(MASKS, masks=masks)
    assert truth["masks"].dtype == np.uint8
    np.testing.assert_array_equal(truth["masks"], masks)
    np.testing.assert_array_equal(read(MASKS, masks=masks.astype(np.uint8))["masks"], masks)
    for value in (4, -1, 256):
        wrong = masks.copy()
        wrong[1, 2, 2] = value
        said = refused(MASKS, masks=wrong)
        assert f"class {value}" in said
        assert "sample 1" in said
    refused(MASKS, masks=masks[:, :7])
    refused(MASKS, masks=masks[:2])
    refused(MASKS, masks=masks.astype(np.float32))
    refused(MASKS, masks=np.full_like(masks, IGNORED))
    refused(MASKS, labels=np.zeros(COUNT, np.int64))


def test_targets() -> None:
    targets = np.asarray([[1, 2], [3, 4], [5, 6]], np.float64)
    assert read(TARGETS, targets=targets)["targets"].dtype == np.float32
    single = TruthRules(Task.REGRESSION, shape=(1,))
    assert read(single, targets=np.ones(COUNT, np.float32))["targets"].shape == (COUNT, 1)
    refused(TARGETS, targets=np.ones(COUNT, np.float32))
    refused(TARGETS, targets=targets[:, :1])
    refused(TARGETS, targets=targets.astype(np.int64))
    assert "first: 1" in refused(TARGETS, targets=np.where(targets == 4, np.nan, targets))
    assert "first: 2" in refused(TARGETS, targets=np.where(targets == 5, 1e300, targets)), "beyond float32"
    refused(TARGETS)


def test_identities_are_optional() -> None:
    rules = TruthRules(Task.EMBEDDING, shape=(16,))
    assert read(rules) == {}
    assert read(rules, labels=np.asarray([7, 90000, 7]))["labels"].dtype == np.int64
    refused(rules, Code.DATASET_LABELS, labels=np.zeros(COUNT, np.float32))


@pytest.mark.parametrize("rules", [BOXES, MASKS, TARGETS], ids=lambda rules: rules.task.value)
def test_calibration_needs_no_truth(rules: TruthRules) -> None:
    assert read(rules, Role.CALIBRATION, boxes=np.ones(1), masks="no") == {}


def facts(*shape: int) -> ModelFacts:
    output = LogicalTensor("y", (BATCH, *shape), Layout.NCHW if len(shape) == 3 else Layout.ANY)
    return ModelFacts("0", "0", 1, 17, False, (IMAGE,), (output,), {})


@pytest.mark.parametrize(
    ("task", "shape", "rules"),
    [
        (Task.CLASSIFICATION, (10,), TruthRules(Task.CLASSIFICATION, 10)),
        (Task.CLASSIFICATION, (10, 1, 1), TruthRules(Task.CLASSIFICATION, 10)),
        (Task.SEGMENTATION, (4, 8, 9), TruthRules(Task.SEGMENTATION, 4, (8, 9))),
        (Task.REGRESSION, (2, 3), TruthRules(Task.REGRESSION, shape=(2, 3))),
        (Task.EMBEDDING, (16,), TruthRules(Task.EMBEDDING, shape=(16,))),
        (Task.DETECTION, (7, 20), TruthRules(Task.DETECTION, image=(60, 40))),
    ],
)
def test_rules_follow_from_the_model(task: Task, shape: tuple[int, ...], rules: TruthRules) -> None:
    found = rules_of(task, facts(*shape), None)
    assert (found.task, found.classes, found.shape) == (rules.task, rules.classes, rules.shape)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Task.CLASSIFICATION, (10, 2)),
        (Task.SEGMENTATION, (10,)),
        (Task.SEGMENTATION, (1, 8, 9)),
        (Task.SEGMENTATION, (256, 8, 9)),
        (Task.EMBEDDING, (1,)),
    ],
)
def test_outputs_of_another_task_are_refused(task: Task, shape: tuple[int, ...]) -> None:
    with pytest.raises(CallerError) as caught:
        rules_of(task, facts(*shape), None)
    assert caught.value.code is Code.MODEL_SIGNATURE
