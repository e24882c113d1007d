"""Mean cosine similarity to the float parent's embedding of the same sample; of the parent itself it is 1.

Negative cosines count as 0. The truth's `embeddings` are what the parent answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelfleet_build.metrics.classification import share_of_samples
from modelfleet_build.quality import Quality
from modelfleet_runtimes.comparators import EmbeddingComparator, Outputs, finite_rows
from modelfleet_runtimes.truth import Truth

NAME = "cosine"


@dataclass(frozen=True, slots=True)
class MeanCosine:
    """See the module."""

    name: str = NAME

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """See `Metric.quality`."""
        similar = EmbeddingComparator().score(answers, truth)
        not_finite = int((~finite_rows(answers)).sum())
        return Quality(float(similar.mean()), len(similar), not_finite, self.name)

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """See `Metric.agreement`."""
        return share_of_samples(EmbeddingComparator(), answers, parent)
