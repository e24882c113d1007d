"""What a metric is asked."""

from __future__ import annotations

from typing import Protocol

from modelfleet_build.quality import Quality
from modelfleet_runtimes.comparators import Outputs
from modelfleet_runtimes.truth import Truth


class Metric(Protocol):
    """Judges the answers to a whole data set. All outputs are [n, ...] by name."""

    @property
    def name(self) -> str:
        """Name of the metric, as reports and manifests spell it."""
        ...

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """The metric against the truth; a sample whose answer is not finite is wrong.

        Raises:
            CallerError: MF-4011, answers and truth do not belong together.
        """
        ...

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """Share of decisions that are the float parent's, 0 to 1, among the samples that both answer with
        finite numbers; 0 without any."""
        ...
