"""How good a variant's answers are: what is measured, and how far a device may differ from the record.

The metrics themselves, one per task, are in `modelfleet_build.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelfleet_core.release.manifest import Precision, SelfTestBounds, Task
from modelfleet_runtimes.comparators import Comparator, Outputs, finite_rows
from modelfleet_runtimes.truth import Truth

FloatArray = npt.NDArray[np.float32]

TOP1 = "top1"
MIN_CLASS_SAMPLES = 20
"""A class with fewer samples (of objects: boxes; of masks: images that show it) is not judged alone: one of
twenty is already worth five points."""
# Largest error a device may show against the record, as a share of the largest recorded value. Float kernels
# of other processors sum in another order (about 1e-6 here); int8 kernels round and saturate differently.
_RELATIVE_BOUNDS = {Precision.FP32: 1e-3, Precision.FP16: 1e-2, Precision.INT8: 0.1}
_LEAST_BOUND = 1e-6
_LEAST_RMS = 1e-12
_JUDGED_SHARE = 0.99
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ClassQuality:
    """The metric of one class, 0 to 1, and how many samples it stands on."""

    value: float
    samples: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Answers against the truth.

    Attributes:
        value: The metric, 0 to 1, higher is better; an answer that is not finite is wrong.
        samples: Samples with a truth.
        not_finite: Samples with an answer that is not finite or failed.
        metric: Its name.
        classes: The metric of each class that has a truth, by number; empty where there are none.
        raw_error: Error in units of the output, where `value` is made from one.
    """

    value: float
    samples: int
    not_finite: int
    metric: str = TOP1
    classes: tuple[tuple[int, ClassQuality], ...] = ()
    raw_error: float | None = None

    @property
    def by_class(self) -> dict[int, ClassQuality]:
        """Number of a class -> its metric."""
        return dict(self.classes)

    @property
    def points_per_sample(self) -> float | None:
        """What one sample is worth in points; None where samples are right in part."""
        return 100.0 / self.samples if self.metric == TOP1 and self.samples else None


@dataclass(frozen=True, slots=True)
class ClassDrop:
    """The class that lost most, and how much, in points."""

    worst_class: int
    points: float


def worst_class_drop(
    quality: Quality, parent: Quality, least_samples: int = MIN_CLASS_SAMPLES
) -> ClassDrop | None:
    """The largest loss of a single class against the float parent; of equal ones the lowest class.

    None where no class has `least_samples`. Negative points = even that class became better.
    """
    drops = [
        ClassDrop(number, 100.0 * (before.value - quality.by_class[number].value))
        for number, before in sorted(parent.by_class.items())
        if before.samples >= least_samples and number in quality.by_class
    ]
    return max(drops, key=lambda drop: drop.points, default=None)


def scored(answers: Outputs, truth: Truth, comparator: Comparator) -> Quality:
    """The mean score of the samples as devices compute it on the golden set, 0 to 1."""
    scores = comparator.score(answers, truth)
    known = scores[~np.isnan(scores)]
    value = float(known.mean()) if len(known) else 0.0
    return Quality(value, len(known), int((~finite_rows(answers)).sum()), metric="score")


def error_share(answers: Outputs, parent: Outputs) -> float:
    """Largest absolute difference of the answers, as a share of the parent's largest value of that output.

    Over the samples that both answer with finite numbers, without the hundredth of them that differ most: at
    single inputs a model may be so ill-conditioned that rounding alone shows (a root near zero, say), while a
    wrong conversion shows at all of them. Below 100 samples none is left out; 0 without any.
    """
    both = finite_rows(answers) & finite_rows(parent)
    chosen = np.flatnonzero(both)
    if not len(chosen):
        return 0.0
    shares: list[float] = []
    for name, theirs in parent.items():
        largest = _LEAST_BOUND
        differences = np.zeros(len(chosen), np.float64)
        for begin in range(0, len(chosen), _ROWS_AT_ONCE):
            part = chosen[begin : begin + _ROWS_AT_ONCE]
            ours_part, theirs_part = (item[part].astype(np.float64) for item in (answers[name], theirs))
            largest = max(largest, float(np.abs(theirs_part).max()))
            worst = np.abs(ours_part - theirs_part).reshape(len(part), -1).max(axis=1)
            differences[begin : begin + len(part)] = worst
        shares.append(float(np.quantile(differences, _JUDGED_SHARE, method="higher")) / largest)
    return max(shares)


def relative_error(answers: FloatArray, expected: FloatArray) -> float:
    """RMS of the difference / RMS of the expected values, over finite elements; 1 without any."""
    both = np.isfinite(answers) & np.isfinite(expected)
    if not both.any():
        return 1.0
    ours, theirs = answers[both].astype(np.float64), expected[both].astype(np.float64)
    return float(np.sqrt(np.mean((ours - theirs) ** 2)) / max(float(np.sqrt(np.mean(theirs**2))), _LEAST_RMS))


def self_test_bounds(recorded: Outputs, precision: Precision, task: Task) -> SelfTestBounds:
    """Bounds for the self-test on a device (semantics section 2).

    Two scores off by at most e each can change places only where they were less than 2 e apart, hence the
    margin. A box's score lies in 0 to 1, whatever else stands in the output that it is decoded from.
    """
    share = _RELATIVE_BOUNDS[precision]
    errors: list[float] = []
    for item in recorded.values():
        finite = item[np.isfinite(item)]
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        errors.append(max(_LEAST_BOUND, share * largest))
    margin = 2 * (share if task is Task.DETECTION else errors[0])
    per_output = tuple(errors) if len(errors) > 1 else ()
    return SelfTestBounds(max_abs_error=max(errors), margin=margin, per_output=per_output)
