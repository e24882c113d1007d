"""Top-1: the share of right answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelfleet_build.quality import TOP1, ClassQuality, Quality
from modelfleet_runtimes.comparators import ClassificationComparator, Comparator, Outputs, finite_rows
from modelfleet_runtimes.truth import Truth


@dataclass(frozen=True, slots=True)
class TopOne:
    """See the module. A class's value is its recall; samples without a label count only for finiteness."""

    name: str = TOP1

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """See `Metric.quality`."""
        right = ClassificationComparator().score(answers, truth)
        labels, known = truth["labels"], ~np.isnan(right)
        count = int(known.sum())
        classes = {
            int(number): ClassQuality(float(right[labels == number].mean()), int((labels == number).sum()))
            for number in np.unique(labels[known])
        }
        value = float(right[known].sum()) / count if count else 0.0
        return Quality(value, count, int((~finite_rows(answers)).sum()), self.name, tuple(classes.items()))

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """See `Metric.agreement`."""
        return share_of_samples(ClassificationComparator(), answers, parent)


def share_of_samples(comparator: Comparator, answers: Outputs, parent: Outputs) -> float:
    """Share of the comparable samples on which a comparator finds agreement; 0 without any."""
    found = comparator.compare(answers, parent)
    comparable = found.comparable
    return float(found.agree[comparable].mean()) if comparable.any() else 0.0
