"""What a comparator is asked, and what it answers; the same for every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

from ..binding import FloatArray
from ..truth import Truth

Outputs = Mapping[str, FloatArray]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

DEFAULT_EPS = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """One entry per sample.

    Attributes:
        agree: The decisions are equal. Where `comparable` is False it says nothing.
        close: The decisions differ and the incumbent itself was undecided.
        severity: Distance of the answers, 0 (equal) to 1, float64.
        candidate_score, incumbent_score: How sure each is of its decision, 0 to 1; NaN where the output is
            not finite, or the task knows no such thing.
        candidate_failed, incumbent_failed: The output is not finite.
    """

    agree: Flags
    close: Flags
    severity: Values
    candidate_score: Values
    incumbent_score: Values
    candidate_failed: Flags
    incumbent_failed: Flags

    @property
    def comparable(self) -> Flags:
        """Where both models answered; agreement is counted over these."""
        return ~(self.candidate_failed | self.incumbent_failed)


class Comparator(Protocol):
    """Compares two models of one task, and either with the truth. All outputs are [n, ...] by name."""

    @property
    def tolerated(self) -> float:
        """Share of the samples that may decide otherwise than the record in a self-test, 0 to 1."""
        ...

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """Compare the logical outputs of both on the same samples.

        Raises:
            CallerError: MF-4011, the outputs do not belong together.
        """
        ...

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """How right each answer is, 0 to 1.

        An answer that is not finite scores 0; NaN where a sample has no truth.

        Args:
            outputs: Logical outputs.
            truth: Truth of the same samples (`modelfleet_runtimes.truth`).

        Raises:
            CallerError: MF-4011, outputs and truth do not belong together.
        """
        ...

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """Per sample: the answer decides as the record does, wherever that is ahead by more than `margin`."""
        ...


def finite(outputs: Outputs) -> bool:
    """Whether every element of every output is finite."""
    return all(bool(np.isfinite(value).all()) for value in outputs.values())


def finite_rows(outputs: Outputs) -> Flags:
    """Per sample: every element of every output is finite."""
    flags = [np.isfinite(value.reshape(len(value), -1)).all(axis=1) for value in outputs.values()]
    return np.asarray(np.logical_and.reduce(flags), np.bool_)


def first_output(outputs: Outputs, least: int, form: str) -> FloatArray:
    """The first output, which holds the decision of most tasks.

    Args:
        outputs: Logical outputs.
        least: Dimensions that it has at least.
        form: How a person spells that.

    Raises:
        CallerError: MF-4011.
    """
    first = next(iter(outputs.values()), None)
    if first is None or first.ndim < least:
        raise incomparable(
            "the model gives no " + form if first is None else f"the first output is {list(first.shape)}",
            f"a first output of shape {form}",
            "check the task of the release",
        )
    return first


def check_same_shape(candidate: FloatArray, incumbent: FloatArray) -> None:
    """Refuse answers of two forms.

    Raises:
        CallerError: MF-4011.
    """
    if candidate.shape != incumbent.shape:
        raise incomparable(
            f"the candidate answers {list(candidate.shape)}, the incumbent {list(incumbent.shape)}",
            "the same number of samples and classes",
            "give a model with other classes a release name of its own",
        )


def comparison(
    agree: Flags, close: Flags, severity: Values, scores: tuple[Values, Values], ours: Flags, theirs: Flags
) -> Comparison:
    """A comparison in which failed samples are marked as such.

    Args:
        agree, close, severity: As if all samples had been answered.
        scores: Of candidate and incumbent.
        ours, theirs: Samples that candidate and incumbent answered with finite numbers.
    """
    both = ours & theirs
    return Comparison(
        agree=agree & both,
        close=close & ~agree & both,
        severity=np.clip(np.where(both, severity, np.where(ours, 0.0, 1.0)), 0.0, 1.0),
        candidate_score=np.where(ours, scores[0], np.nan),
        incumbent_score=np.where(theirs, scores[1], np.nan),
        candidate_failed=~ours,
        incumbent_failed=~theirs,
    )


def no_scores(count: int) -> tuple[Values, Values]:
    """For tasks without a certainty of their own."""
    return np.full(count, np.nan), np.full(count, np.nan)


def truth_of(truth: Truth, name: str, samples: int) -> npt.NDArray[np.generic]:
    """The truth array of that name.

    Raises:
        CallerError: MF-4011, there is none, or it is of other samples.
    """
    array = truth.get(name)
    if array is None or len(array) != samples:
        raise incomparable(
            f"the truth has no {name} for {samples} samples",
            f"an array {name} beside the inputs",
            "give a golden set of the release's task",
        )
    return array


def incomparable(happened: str, expected: str, todo: str) -> CallerError:
    """The error of outputs that cannot be compared."""
    return CallerError(Code.OUTPUTS_NOT_COMPARABLE, happened, expected=expected, todo=todo)
