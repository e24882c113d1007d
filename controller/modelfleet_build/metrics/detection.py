"""mAP at IoU 0.5: for every class the area under its precision-recall curve, and the mean of the classes.

Boxes of a class are taken over all images, best score first. A box is right where the true box of its class
that it overlaps most is not taken yet and the overlap is at least 0.5; every other one is wrong. Precision is
made monotone and summed at every step of recall (all-point interpolation): Everingham et al., "The PASCAL
Visual Object Classes Challenge: A Retrospective" (2015), section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelfleet_build.quality import ClassQuality, Quality
from modelfleet_runtimes.comparators import Outputs, finite_rows
from modelfleet_runtimes.comparators.detection import IOU, f1, true_objects
from modelfleet_runtimes.decoders import BoxDecoder, Detections
from modelfleet_runtimes.decoders.geometry import match, overlap
from modelfleet_runtimes.truth import Truth

NAME = "map50"
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MeanAveragePrecision:
    """See the module. A class's value is its average precision; its samples are its true boxes."""

    decoder: BoxDecoder
    name: str = NAME

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """See `Metric.quality`."""
        found, good = self._found(answers)
        boxes, classes = truth["boxes"], np.asarray(truth["classes"], np.int64)
        precisions = average_precisions(found, np.asarray(boxes, np.float32), classes)
        value = float(np.mean([item.value for item in precisions.values()])) if precisions else 0.0
        return Quality(value, len(found), int((~good).sum()), self.name, tuple(precisions.items()))

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """See `Metric.agreement`: the share of decided boxes that match, 2 m / (ours + theirs)."""
        (ours, ours_good), (theirs, theirs_good) = self._found(answers), self._found(parent)
        matched = mine = other = 0
        for row in np.flatnonzero(ours_good & theirs_good):
            a, b = (item[row].above(self.decoder.confident) for item in (ours, theirs))
            pairs, _ = match(a.boxes, a.classes, b.boxes, b.classes, IOU)
            matched, mine, other = matched + len(pairs), mine + len(a), other + len(b)
        return f1(matched, mine, other) if (ours_good & theirs_good).any() else 0.0

    def _found(self, answers: Outputs) -> tuple[list[Detections], Flags]:
        """The boxes of every sample, none where the answer is not finite; and where it is."""
        good = finite_rows(answers)
        found: list[Detections] = []
        for row, fine in enumerate(good):
            sample = {name: value[row : row + 1] for name, value in answers.items()}
            one = self.decoder.decode(sample)[0]
            found.append(one if fine else one.above(np.inf))
        return found, good


def average_precisions(
    found: list[Detections], boxes: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]
) -> dict[int, ClassQuality]:
    """Average precision of every class that the truth has.

    Args:
        found: Boxes of each image.
        boxes, classes: Truth [n, k, 4] and [n, k], padded with class -1.
    """
    truth = [true_objects(boxes[row], classes[row]) for row in range(len(found))]
    numbers = sorted({int(number) for _, known in truth for number in known})
    return {number: _average_precision(found, truth, number) for number in numbers}


def _average_precision(
    found: list[Detections],
    truth: list[tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]],
    number: int,
) -> ClassQuality:
    right: list[Flags] = []
    scores: list[npt.NDArray[np.float32]] = []
    total = 0
    for detections, (boxes, classes) in zip(found, truth, strict=True):
        mine, real = detections.classes == number, boxes[classes == number]
        total += len(real)
        scores.append(detections.scores[mine])
        right.append(_right(detections.boxes[mine], real))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(right)[order])
    recall = hits / total
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return ClassQuality(float(np.sum(steps * envelope)), total)


def _right(boxes: npt.NDArray[np.float32], real: npt.NDArray[np.floating]) -> Flags:
    """Which boxes of one class and image, best score first, are right."""
    right = np.zeros(len(boxes), np.bool_)
    if not len(real) or not len(boxes):
        return right
    over = overlap(boxes, real)
    used = np.zeros(len(real), np.bool_)
    for row, best in enumerate(over.argmax(axis=1).tolist()):
        if over[row, best] >= IOU and not used[best]:
            used[best] = right[row] = True
    return right
