"""Semantic segmentation; the first output holds [samples, classes, h, w], one score per class and pixel.

- decision = the class of every pixel;
- agree = at least `PIXEL_LEVEL` of the pixels have the same class; *close* = they do, once pixels at which
  the incumbent's own margin (first minus second probability) is below eps count as the same;
- severity = 1 - mean intersection over union of the two masks, over the classes that either of them has;
- certainty = mean over the pixels of the largest probability;
- score = mean intersection over union with the true mask, over the classes that it has, where it has any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..binding import FloatArray
from ..truth import IGNORED, Truth
from .classification import lead, probabilities
from .port import (
    DEFAULT_EPS,
    Comparison,
    Flags,
    Outputs,
    Values,
    check_same_shape,
    comparison,
    finite_rows,
    first_output,
    incomparable,
    truth_of,
)

Counts = npt.NDArray[np.int64]

PIXEL_LEVEL = 0.97
"""A tenth of the object pixels of an image whose objects cover a third of it may differ."""


@dataclass(frozen=True, slots=True)
class SegmentationComparator:
    """See the module."""

    eps: float = DEFAULT_EPS
    level: float = PIXEL_LEVEL
    tolerated: float = 0.0

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = pixel_scores(candidate), pixel_scores(incumbent)
        check_same_shape(ours, theirs)
        p, q = _by_pixel(ours), _by_pixel(theirs)
        count = len(ours)
        equal = (ours.argmax(axis=1) == theirs.argmax(axis=1)).reshape(count, -1)
        undecided = (lead(q) < self.eps).reshape(count, -1)
        return comparison(
            agree=equal.mean(axis=1) >= self.level,
            close=(equal | undecided).mean(axis=1) >= self.level,
            severity=np.asarray([1.0 - _between(a, b) for a, b in zip(ours, theirs, strict=True)]),
            scores=(_certainty(p, count), _certainty(q, count)),
            ours=finite_rows(candidate),
            theirs=finite_rows(incumbent),
        )

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """See `Comparator.score`."""
        ours = pixel_scores(outputs)
        masks = truth_of(truth, "masks", len(ours))
        good = finite_rows(outputs)
        values = np.full(len(ours), np.nan)
        for row in range(len(ours)):
            matrix = confusion(ours[row].argmax(axis=0), masks[row], ours.shape[1])
            present = matrix.sum(axis=1) > 0
            if present.any():
                values[row] = float(ious(matrix)[present].mean()) if good[row] else 0.0
        return values

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """See `Comparator.same`: of every pixel."""
        ours, theirs = pixel_scores(answer), pixel_scores(record)
        ahead = lead(np.nan_to_num(_rows(theirs))) > margin
        differ = (ours.argmax(axis=1) != theirs.argmax(axis=1)).reshape(-1)
        return np.asarray(~(differ & ahead).reshape(len(ours), -1).any(axis=1), np.bool_)


def pixel_scores(outputs: Outputs) -> FloatArray:
    """The first output as [n, classes, h, w].

    Raises:
        CallerError: MF-4011, it is not of that form.
    """
    form = "[samples, classes, h, w]"
    first = first_output(outputs, 4, form)
    if first.ndim != 4 or first.shape[1] < 2:
        raise incomparable(f"the first output is {list(first.shape)}", form, "check the task of the release")
    return first


def confusion(predicted: npt.NDArray[np.generic], true: npt.NDArray[np.generic], classes: int) -> Counts:
    """Pixels by [true class, predicted class]; ignored ones are left out.

    Args:
        predicted, true: Whole numbers of the same shape.
        classes: Number of classes.

    Raises:
        CallerError: MF-4011, the masks are not of the output's size or name a class that it has not.
    """
    ours, theirs = np.asarray(predicted, np.int64), np.asarray(true, np.int64)
    known = theirs != IGNORED
    if ours.shape != theirs.shape or (
        known.any() and not 0 <= theirs[known].min() <= theirs[known].max() < classes
    ):
        raise incomparable(
            f"the true mask has the shape {list(theirs.shape)} or a class beyond {classes - 1}",
            f"{list(ours.shape)}, classes 0 to {classes - 1}, {IGNORED} where there is no truth",
            "give a golden set of the release's model",
        )
    pairs = theirs[known] * classes + ours[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def ious(matrix: Counts) -> Values:
    """Intersection over union of each class of a confusion matrix; 0 for a class that occurs nowhere."""
    hit = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    each: Values = hit / np.maximum(union, 1)
    return each


def _between(ours: FloatArray, theirs: FloatArray) -> float:
    matrix = confusion(ours.argmax(axis=0), theirs.argmax(axis=0), len(ours))
    present = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return float(ious(matrix)[present].mean())


def _rows(scores: FloatArray) -> Values:
    return scores.transpose(0, 2, 3, 1).reshape(-1, scores.shape[1]).astype(np.float64)


def _by_pixel(scores: FloatArray) -> Values:
    return probabilities(_rows(scores))


def _certainty(pixels: Values, count: int) -> Values:
    return np.asarray(pixels.max(axis=1).reshape(count, -1).mean(axis=1), np.float64)
