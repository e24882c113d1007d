"""Single-label classification; the first output holds [samples, classes].

- decision = the largest element of the first output; probabilities = that output where it already is a
  distribution, else its softmax;
- a changed decision is *close* where the incumbent's own margin (first minus second probability) is below
  eps: it counts neither as agreement nor as disagreement;
- severity = half the L1 distance of the probabilities, 0 to 1;
- a sample whose candidate output is not finite is a failure: no agreement, severity 1;
- score = 1 for the right class, else 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..binding import FloatArray
from ..truth import NO_LABEL, Truth
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
    truth_of,
)

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ClassificationComparator:
    """See the module."""

    eps: float = DEFAULT_EPS
    tolerated: float = 0.0

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = class_scores(candidate), class_scores(incumbent)
        check_same_shape(ours, theirs)
        p, q = probabilities(ours), probabilities(theirs)
        return comparison(
            agree=ours.argmax(axis=1) == theirs.argmax(axis=1),
            close=lead(q) < self.eps,
            severity=0.5 * np.abs(p - q).sum(axis=1),
            scores=(p.max(axis=1), q.max(axis=1)),
            ours=finite_rows(candidate),
            theirs=finite_rows(incumbent),
        )

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """See `Comparator.score`."""
        scores = class_scores(outputs)
        labels = truth_of(truth, "labels", len(scores))
        right = (scores.argmax(axis=1) == labels) & finite_rows(outputs)
        return np.where(labels == NO_LABEL, np.nan, right.astype(np.float64))

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """See `Comparator.same`."""
        ours, theirs = class_scores(answer), class_scores(record)
        ahead = lead(np.nan_to_num(theirs.astype(np.float64))) > margin
        return np.asarray((ours.argmax(axis=1) == theirs.argmax(axis=1)) | ~ahead, np.bool_)


def probabilities(scores: npt.NDArray[np.floating]) -> Values:
    """Rows that sum to 1: the scores themselves where they already do, else their softmax.

    Rows that are not finite give a uniform distribution; the caller masks them.
    """
    values = scores.astype(np.float64)
    bad = ~_finite(scores)
    values[bad] = 0.0
    good = values[~bad]
    is_distribution = good.size > 0 and bool(
        (good >= 0).all() and (np.abs(good.sum(axis=1) - 1.0) < _SUM_TOLERANCE).all()
    )
    if is_distribution:
        values[bad] = 1.0 / values.shape[1]
        return values
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    normalised: Values = exponents / exponents.sum(axis=1, keepdims=True)
    return normalised


def class_scores(outputs: Outputs) -> FloatArray:
    """The first output as [n, classes].

    Raises:
        CallerError: MF-4011, it is not of that form.
    """
    first = first_output(outputs, 2, "[samples, classes]")
    return first.reshape(first.shape[0], -1)


def lead(scores: Values) -> Values:
    """First minus second of each row; infinite where there is only one class."""
    if scores.shape[1] < 2:
        return np.full(scores.shape[0], np.inf)
    top = np.partition(scores, -2, axis=1)
    ahead: Values = top[:, -1] - top[:, -2]
    return ahead


def _finite(scores: npt.NDArray[np.floating]) -> Flags:
    return np.asarray(np.isfinite(scores).all(axis=1), np.bool_)
