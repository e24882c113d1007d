"""Reads what is true of labelled samples: labels, boxes, masks or targets, checked against the model.

Names and forms are those of `modelfleet_runtimes.truth`; whole numbers and floats of other widths are taken
and converted. Calibration data needs no truth, and what it has is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.facts import ModelFacts
from modelfleet_build.roles import Role, refused
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import LogicalTensor
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.decoders import BoxDecoder
from modelfleet_runtimes.truth import IGNORED, MAX_BOXES, NO_LABEL

Arrays = Mapping[str, npt.NDArray[Any]]

MAX_MASK_CLASSES = IGNORED
"""Classes of a segmenter: masks are bytes, and 255 means that there is no truth."""
# Boxes drawn by people end a rounding beyond the image.
_SLACK_PIXELS = 1.0


@dataclass(frozen=True, slots=True)
class TruthRules:
    """What the truth of a model's samples has to look like.

    Attributes:
        task: What the model does.
        classes: How many classes it tells apart, None where that is not known or there are none.
        shape: Of one sample's mask or targets.
        image: (width, height) of the input in pixels, (0, 0) where it is no image.
    """

    task: Task
    classes: int | None = None
    shape: tuple[int, ...] = ()
    image: tuple[int, int] = (0, 0)


def rules_of(task: Task, facts: ModelFacts, decoder: BoxDecoder | None) -> TruthRules:
    """The rules for a model; refuses outputs that are not those of the task.

    Raises:
        CallerError: MF-1406, the first output has not the form of the task.
    """
    output, image = facts.outputs[0], facts.inputs[0]
    size = (image.shape[3], image.shape[2]) if len(image.shape) == 4 else (0, 0)
    if task is Task.DETECTION:
        return TruthRules(task, decoder.classes if decoder is not None else None, image=size)
    if task is Task.CLASSIFICATION:
        if output.shape[1] != output.elements_per_sample():
            raise _no_such_output(output, "one score per class, [n, classes], for classification")
        return TruthRules(task, output.shape[1])
    if task is Task.SEGMENTATION:
        if len(output.shape) != 4 or not 2 <= output.shape[1] <= MAX_MASK_CLASSES:
            wanted = f"one score per class and pixel, [n, classes, h, w], 2 to {MAX_MASK_CLASSES} classes"
            raise _no_such_output(output, wanted)
        return TruthRules(task, output.shape[1], output.shape[2:])
    if task is Task.EMBEDDING and output.elements_per_sample() < 2:
        raise _no_such_output(output, "two numbers or more for each sample: an embedding is a direction")
    return TruthRules(task, shape=output.shape[1:])


def read_truth(
    arrays: Arrays, role: Role, path: Path, count: int, rules: TruthRules
) -> dict[str, npt.NDArray[Any]]:
    """The truth in the arrays of a file, in the types that golden sets hold.

    Args:
        arrays: What the file holds.
        role: Calibration data has no truth; validation labels must all be given.
        path: For the refusal.
        count: Number of samples.
        rules: Of the model.

    Raises:
        CallerError: MF-1415 (labels), MF-1419 (anything else).
    """
    if role is Role.CALIBRATION:
        return {}
    return _READERS[rules.task](_File(arrays, role, path, count), rules)


@dataclass(frozen=True, slots=True)
class _File:
    """A data set that is being read."""

    arrays: Arrays
    role: Role
    path: Path
    count: int

    def whole(self, name: str, code: Code, shape: str) -> npt.NDArray[np.int64]:
        """An array of whole numbers."""
        array = self._array(name, code, shape)
        if array.dtype.kind not in "iu":
            raise self.refused(code, f"has {name} of {array.dtype}", "whole numbers")
        return array.astype(np.int64)

    def real(self, name: str, shape: str) -> npt.NDArray[np.float32]:
        """An array of finite numbers."""
        code = Code.DATASET_TRUTH
        array = self._array(name, code, shape)
        if array.dtype.kind != "f":
            raise self.refused(code, f"has {name} of {array.dtype}", "float32")
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(values.reshape(self.count, -1)).all(axis=1))
        if len(bad):
            told = f"has NaN or infinite {name} in {len(bad)} of {self.count} samples (first: {bad[0]})"
            raise self.refused(code, told, "finite values")
        return values

    def refused(self, code: Code, what: str, expected: str) -> CallerError:
        return refused(code, self.role, self.path, what, expected)

    def _array(self, name: str, code: Code, shape: str) -> npt.NDArray[Any]:
        array = self.arrays.get(name)
        if array is None:
            raise self.refused(code, f"has no {name}", f"an array {name}, {shape}")
        if array.ndim < 1 or len(array) != self.count:
            raise self.refused(code, f"has {name} of shape {list(array.shape)}", shape)
        return array


def _labels(file: _File, rules: TruthRules) -> dict[str, npt.NDArray[Any]]:
    code = Code.DATASET_LABELS
    values = file.whole("labels", code, f"[{file.count}]")
    if values.ndim != 1:
        raise file.refused(code, f"has labels of shape {list(values.shape)}", f"{file.count} whole numbers")
    least = 0 if file.role is Role.VALIDATION else NO_LABEL
    most = rules.classes - 1 if rules.classes is not None else np.iinfo(np.int64).max
    if values.min() < least or values.max() > most:
        told = f"has labels from {values.min()} to {values.max()}"
        raise file.refused(code, told, f"{least} to {most}, the classes of the model")
    return {"labels": values}


def _boxes(file: _File, rules: TruthRules) -> dict[str, npt.NDArray[Any]]:
    code = Code.DATASET_TRUTH
    classes = file.whole("classes", code, f"[{file.count}, k]")
    boxes = file.real("boxes", f"[{file.count}, k, 4]")
    if classes.ndim != 2 or boxes.shape != (*classes.shape, 4) or classes.shape[1] > MAX_BOXES:
        told = f"has boxes of shape {list(boxes.shape)} and classes of shape {list(classes.shape)}"
        raise file.refused(code, told, f"[{file.count}, k, 4] and [{file.count}, k], k at most {MAX_BOXES}")
    real = classes != NO_LABEL
    most = rules.classes - 1 if rules.classes is not None else np.iinfo(np.int64).max
    wrong = real & ((classes < 0) | (classes > most))
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        told = f"has the class {classes[row, place]} in sample {row}"
        raise file.refused(code, told, f"0 to {most}, the classes of the model; {NO_LABEL} for padding")
    width, height = rules.image
    low, high = boxes[..., :2], boxes[..., 2:]
    inside = (low >= -_SLACK_PIXELS).all(axis=-1) & (high <= np.asarray([width, height]) + _SLACK_PIXELS).all(
        axis=-1
    )
    bad = real & ~((high > low).all(axis=-1) & inside)
    if bad.any():
        row, place = np.argwhere(bad)[0]
        spelled = ", ".join(f"{value:g}" for value in boxes[row, place])
        raise file.refused(
            code,
            f"has {int(bad.sum())} impossible boxes (first: [{spelled}] in sample {row})",
            f"x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1, inside {width} x {height}",
        )
    if not real.any():
        raise file.refused(code, "shows no object at all", "at least one box with its class")
    return {"boxes": boxes, "classes": classes}


def _masks(file: _File, rules: TruthRules) -> dict[str, npt.NDArray[Any]]:
    code = Code.DATASET_TRUTH
    shape = (file.count, *rules.shape)
    masks = file.whole("masks", code, f"{list(shape)}")
    if masks.shape != shape:
        raise file.refused(
            code, f"has masks of shape {list(masks.shape)}", f"{list(shape)}, the size of the output"
        )
    most = (rules.classes or 1) - 1
    wrong = (masks != IGNORED) & ((masks < 0) | (masks > most))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        told = f"has the class {masks[wrong][0]} in the mask of sample {row}"
        raise file.refused(code, told, f"0 to {most}, the classes of the model; {IGNORED} to ignore a pixel")
    if not (masks != IGNORED).any():
        raise file.refused(code, "has a truth for no pixel", f"masks that are not wholly {IGNORED}")
    return {"masks": masks.astype(np.uint8)}


def _targets(file: _File, rules: TruthRules) -> dict[str, npt.NDArray[Any]]:
    shape = (file.count, *rules.shape)
    targets = file.real("targets", f"{list(shape)}")
    if targets.ndim == 1 and shape == (file.count, 1):
        targets = targets[:, None]
    if targets.shape != shape:
        raise file.refused(
            Code.DATASET_TRUTH,
            f"has targets of shape {list(targets.shape)}",
            f"{list(shape)}, the shape of the first output",
        )
    return {"targets": targets}


def _identities(file: _File, rules: TruthRules) -> dict[str, npt.NDArray[Any]]:
    return _labels(file, rules) if "labels" in file.arrays else {}


_READERS: dict[Task, Callable[[_File, TruthRules], dict[str, npt.NDArray[Any]]]] = {
    Task.CLASSIFICATION: _labels,
    Task.DETECTION: _boxes,
    Task.SEGMENTATION: _masks,
    Task.REGRESSION: _targets,
    Task.EMBEDDING: _identities,
}


def _no_such_output(output: LogicalTensor, expected: str) -> CallerError:
    return CallerError(
        Code.MODEL_SIGNATURE,
        f"the first output {output.name!r} has shape {['n', *output.shape[1:]]}",
        expected=expected,
        todo="check --task, or export the scores as the first output",
    )
