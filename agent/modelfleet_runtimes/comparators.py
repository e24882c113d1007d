"""Compares the outputs of two models on the same inputs: do they decide the same, and how far apart are they?

One comparator per task. This version has classification; a task without one is refused by name. Rules for
classification (research: gates, comparators; semantics section 2):

- decision = the largest element of the first output; probabilities = that output where it already is a
  distribution, else its softmax;
- a changed decision is *close* where the incumbent's own margin (first minus second probability) is below
  eps: it counts neither as agreement nor as disagreement;
- severity = half the L1 distance of the probabilities, 0 to 1;
- a sample whose candidate output is not finite is a failure: no agreement, severity 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Task

from .binding import FloatArray

Outputs = Mapping[str, FloatArray]
Flags = npt.NDArray[np.bool_]

DEFAULT_EPS = 0.05
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One entry per sample.

    Attributes:
        agree: The decisions are equal. Where `comparable` is False it says nothing.
        close: The decisions differ and the incumbent itself was undecided.
        severity: Distance of the answers, 0 (equal) to 1, float64.
        candidate_score, incumbent_score: Top probability, 0 to 1; NaN where the output is not finite.
        candidate_failed, incumbent_failed: The output is not finite.
    """

    agree: Flags
    close: Flags
    severity: npt.NDArray[np.float64]
    candidate_score: npt.NDArray[np.float64]
    incumbent_score: npt.NDArray[np.float64]
    candidate_failed: Flags
    incumbent_failed: Flags

    @property
    def comparable(self) -> Flags:
        """Where both models answered; agreement is counted over these."""
        return ~(self.candidate_failed | self.incumbent_failed)


class Comparator(Protocol):
    """Compares two models of one task, and either with the truth."""

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """Compare the logical outputs of both on the same samples.

        Raises:
            CallerError: MF-4011, the outputs do not belong together.
        """
        ...

    def right(self, outputs: Outputs, labels: npt.NDArray[np.int64]) -> Flags:
        """Per sample: the answer is right. A label of -1 never is, nor is an answer that is not finite."""
        ...

    def margin(self, outputs: Outputs) -> npt.NDArray[np.float64]:
        """Per sample: by how much the decision is ahead, in units of the output; NaN where not finite."""
        ...

    def decision(self, outputs: Outputs) -> npt.NDArray[np.int64]:
        """Per sample: the decision; meaningless where the output is not finite."""
        ...


def finite(outputs: Outputs) -> bool:
    """Whether every element of every output is finite."""
    return all(bool(np.isfinite(value).all()) for value in outputs.values())


def for_task(task: Task, eps: float = DEFAULT_EPS) -> Comparator:
    """The comparator of a task.

    Args:
        task: What the model does.
        eps: Margin of the incumbent's top probability below which a changed decision is close, 0 to 1.

    Raises:
        CallerError: MF-4008, the task has no comparator in this version.
    """
    if task is Task.CLASSIFICATION:
        return ClassificationComparator(eps)
    raise CallerError(
        Code.TASK_NOT_SUPPORTED,
        f"outputs of the task {task.value!r} cannot be compared",
        expected=f"one of: {Task.CLASSIFICATION.value}",
        todo="use a newer version of Modelfleet, or give the model's task as it is",
    )


@dataclass(frozen=True, slots=True)
class ClassificationComparator:
    """The comparator of single-label classification; the first output holds [samples, classes]."""

    eps: float = DEFAULT_EPS

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = _scores(candidate), _scores(incumbent)
        if ours.shape != theirs.shape:
            raise CallerError(
                Code.OUTPUTS_NOT_COMPARABLE,
                f"the candidate answers {list(ours.shape)}, the incumbent {list(theirs.shape)}",
                expected="the same number of samples and classes",
                todo="give a model with other classes a release name of its own",
            )
        ours_failed, theirs_failed = ~_finite_rows(ours), ~_finite_rows(theirs)
        p, q = probabilities(ours), probabilities(theirs)
        both = ~(ours_failed | theirs_failed)
        agree = (ours.argmax(axis=1) == theirs.argmax(axis=1)) & both
        close = ~agree & both & (_lead(q) < self.eps)
        severity = np.where(both, 0.5 * np.abs(p - q).sum(axis=1), np.where(ours_failed, 1.0, 0.0))
        return Comparison(
            agree=agree,
            close=close,
            severity=np.clip(severity, 0.0, 1.0),
            candidate_score=np.where(ours_failed, np.nan, p.max(axis=1)),
            incumbent_score=np.where(theirs_failed, np.nan, q.max(axis=1)),
            candidate_failed=ours_failed,
            incumbent_failed=theirs_failed,
        )

    def right(self, outputs: Outputs, labels: npt.NDArray[np.int64]) -> Flags:
        """See `Comparator.right`."""
        scores = _scores(outputs)
        right: Flags = (scores.argmax(axis=1) == labels) & _finite_rows(scores)
        return right

    def margin(self, outputs: Outputs) -> npt.NDArray[np.float64]:
        """See `Comparator.margin`."""
        scores = _scores(outputs).astype(np.float64)
        return np.where(_finite_rows(scores), _lead(np.nan_to_num(scores)), np.nan)

    def decision(self, outputs: Outputs) -> npt.NDArray[np.int64]:
        """See `Comparator.decision`."""
        return np.asarray(_scores(outputs).argmax(axis=1), np.int64)


def probabilities(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows that sum to 1: the scores themselves where they already do, else their softmax.

    Rows that are not finite give a uniform distribution; the caller masks them.
    """
    values = scores.astype(np.float64)
    bad = ~_finite_rows(scores)
    values[bad] = 0.0
    good = values[~bad]
    is_distribution = good.size > 0 and bool(
        (good >= 0).all() and (np.abs(good.sum(axis=1) - 1.0) < _SUM_TOLERANCE).all()
    )
    if is_distribution:
        values[bad] = 1.0 / values.shape[1]
        return values
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    normalised: npt.NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return normalised


def _scores(outputs: Outputs) -> FloatArray:
    first = next(iter(outputs.values()), None)
    if first is None or first.ndim < 2:
        raise CallerError(
            Code.OUTPUTS_NOT_COMPARABLE,
            "the model gives no scores per sample",
            expected="a first output of shape [samples, classes]",
            todo="check the task of the release",
        )
    return first.reshape(first.shape[0], -1)


def _finite_rows(scores: npt.NDArray[np.floating]) -> Flags:
    return np.asarray(np.isfinite(scores).all(axis=1), np.bool_)


def _lead(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """First minus second of each row; infinite where there is only one class."""
    if scores.shape[1] < 2:
        return np.full(scores.shape[0], np.inf)
    top = np.partition(scores, -2, axis=1)
    lead: npt.NDArray[np.float64] = top[:, -1] - top[:, -2]
    return lead
