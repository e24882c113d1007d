"""How good a variant's answers are: against the truth, and against its float parent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelfleet_core.release.manifest import Precision, SelfTestBounds
from modelfleet_runtimes.comparators import Comparator
from modelfleet_runtimes.golden import NO_LABEL

FloatArray = npt.NDArray[np.float32]

METRIC = "top1"
# Largest error a device may show against the record, as a share of the largest recorded value. Float kernels
# of other processors sum in another order (about 1e-6 here); int8 kernels round and saturate differently.
_RELATIVE_BOUNDS = {Precision.FP32: 1e-3, Precision.FP16: 1e-2, Precision.INT8: 0.1}
_LEAST_BOUND = 1e-6


@dataclass(frozen=True, slots=True)
class Quality:
    """Answers against labels.

    Attributes:
        value: Share of right answers, 0 to 1; an answer that is not finite is wrong.
        samples: Labelled samples.
        not_finite: Samples whose answer is not finite or failed.
    """

    value: float
    samples: int
    not_finite: int


def quality(answers: FloatArray, labels: npt.NDArray[np.int64], comparator: Comparator) -> Quality:
    """Judge [n, ...] answers by [n] labels; `NO_LABEL` samples count for nothing but finiteness."""
    labelled = labels != NO_LABEL
    right = comparator.right({"answer": answers}, labels)
    finite = np.isfinite(answers.reshape(len(answers), -1)).all(axis=1)
    count = int(labelled.sum())
    value = float(right[labelled].sum()) / count if count else 0.0
    return Quality(value, count, int((~finite).sum()))


def agreement(answers: FloatArray, parent: FloatArray, comparator: Comparator) -> float:
    """Share of equal decisions among the samples that both answer with finite numbers; 0 without any."""
    comparison = comparator.compare({"answer": answers}, {"answer": parent})
    comparable = comparison.comparable
    return float(comparison.agree[comparable].mean()) if comparable.any() else 0.0


def error_share(answers: FloatArray, parent: FloatArray) -> float:
    """Largest absolute difference of the answers, as a share of the parent's largest value.

    Over the samples that both answer with finite numbers; 0 without any.
    """
    ours, theirs = (item.reshape(len(item), -1).astype(np.float64) for item in (answers, parent))
    both = np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1)
    if not both.any():
        return 0.0
    largest = max(float(np.abs(theirs[both]).max()), _LEAST_BOUND)
    return float(np.abs(ours[both] - theirs[both]).max()) / largest


def self_test_bounds(recorded: FloatArray, precision: Precision) -> SelfTestBounds:
    """Bounds for the self-test on a device (semantics section 2).

    Two outputs off by at most e each can change places only where they were less than 2 e apart, hence the
    margin.
    """
    finite = recorded[np.isfinite(recorded)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    error = max(_LEAST_BOUND, _RELATIVE_BOUNDS[precision] * largest)
    return SelfTestBounds(max_abs_error=error, margin=2 * error)
