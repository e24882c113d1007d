"""Embeddings; the first output holds [samples, ...] and stands for a direction.

- agree = the cosine of the two embeddings is at least `LEVEL`; nothing is close: who searches by embeddings
  needs those of one space, so a model with another space disagrees, however good it is;
- severity = (1 - cosine) / 2;
- score = the cosine to the float parent's embedding, which the golden set holds, at least 0.
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

LEVEL = 0.99
_TINY = 1e-200


@dataclass(frozen=True, slots=True)
class EmbeddingComparator:
    """See the module."""

    level: float = LEVEL
    tolerated: float = 0.0

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = embeddings(candidate), embeddings(incumbent)
        check_same_shape(ours, theirs)
        similar = cosines(ours, theirs)
        return comparison(
            agree=np.asarray(similar >= self.level, np.bool_),
            close=np.zeros(len(similar), np.bool_),
            severity=(1.0 - similar) / 2.0,
            scores=no_scores(len(similar)),
            ours=finite_rows(candidate),
            theirs=finite_rows(incumbent),
        )

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """See `Comparator.score`."""
        ours = embeddings(outputs)
        recorded = np.asarray(truth_of(truth, "embeddings", len(ours)), np.float32)
        theirs = recorded.reshape(len(recorded), -1)
        check_same_shape(ours, theirs)
        return np.where(finite_rows(outputs), np.clip(cosines(ours, theirs), 0.0, 1.0), 0.0)

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """See `Comparator.same`: directions decide nothing, the bound of the error judges them."""
        return np.ones(len(embeddings(answer)), np.bool_)


def embeddings(outputs: Outputs) -> FloatArray:
    """The first output as [n, d].

    Raises:
        CallerError: MF-4011, it is not of that form.
    """
    first = first_output(outputs, 2, "[samples, ...]")
    return first.reshape(len(first), -1)


def cosines(ours: FloatArray, theirs: FloatArray) -> Values:
    """Cosine of each pair of rows, -1 to 1; 0 where one has no direction or is not finite."""
    a, b = (np.nan_to_num(item.astype(np.float64), posinf=0.0, neginf=0.0) for item in (ours, theirs))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    similar = (a * b).sum(axis=1) / np.maximum(lengths, _TINY)
    return np.asarray(np.clip(similar, -1.0, 1.0), np.float64)
