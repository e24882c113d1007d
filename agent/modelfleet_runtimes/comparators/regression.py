"""Regression; the first output holds [samples, ...] numbers.

Errors are root mean squares over a sample's numbers, told in units of `scale`: the spread (standard
deviation) of the validation targets, signed with the release. A relative error of a number near zero would
say nothing.

- agree = the two answers are within `TOLERANCE` of one another; nothing is close;
- severity = their error, at most 1;
- score = 1 - error against the target, at least 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..binding import FloatArray
from ..truth import Truth
from .port import (
    Comparison,
    Flags,
    Outputs,
    Values,
    check_same_shape,
    comparison,
    finite_rows,
    first_output,
    no_scores,
    truth_of,
)

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class RegressionComparator:
    """See the module."""

    scale: float
    tolerance: float = TOLERANCE
    tolerated: float = 0.0

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = _numbers(candidate), _numbers(incumbent)
        check_same_shape(ours, theirs)
        error = errors(ours, theirs) / self.scale
        return comparison(
            agree=np.asarray(error <= self.tolerance, np.bool_),
            close=np.zeros(len(error), np.bool_),
            severity=np.minimum(error, 1.0),
            scores=no_scores(len(error)),
            ours=finite_rows(candidate),
            theirs=finite_rows(incumbent),
        )

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """See `Comparator.score`."""
        ours = _numbers(outputs)
        targets = np.asarray(truth_of(truth, "targets", len(ours)), np.float32)
        check_same_shape(ours, targets.reshape(len(targets), -1))
        error = errors(ours, targets.reshape(len(targets), -1)) / self.scale
        return np.where(finite_rows(outputs), 1.0 - np.minimum(error, 1.0), 0.0)

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """See `Comparator.same`: numbers decide nothing, the bound of the error judges them."""
        return np.ones(len(_numbers(answer)), np.bool_)


def errors(ours: FloatArray, theirs: FloatArray) -> Values:
    """Root mean square difference of each row, in units of the output; 0 where one is not finite."""
    difference = np.nan_to_num(ours.astype(np.float64) - theirs.astype(np.float64), posinf=0.0, neginf=0.0)
    return np.asarray(np.sqrt(np.mean(difference**2, axis=1)), np.float64)


def _numbers(outputs: Outputs) -> FloatArray:
    first = first_output(outputs, 2, "[samples, ...]")
    return first.reshape(len(first), -1)
