"""How well numbers are met: 1 - RMSE / spread of the targets, clipped to 0..1.

0 = no better than always saying the mean; 1 = exact. The spread is the standard deviation of the targets
about the mean of each number, over all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelfleet_build.metrics.classification import share_of_samples
from modelfleet_build.quality import Quality
from modelfleet_runtimes.comparators import Outputs, RegressionComparator, finite_rows
from modelfleet_runtimes.comparators.port import first_output
from modelfleet_runtimes.comparators.regression import errors
from modelfleet_runtimes.truth import Truth

NAME = "1-nrmse"


@dataclass(frozen=True, slots=True)
class Fit:
    """See the module. An answer that is not finite counts as being off by one spread, or by the worst of the
    others if that is more.
    """

    scale: float
    name: str = NAME

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """See `Metric.quality`."""
        ours = first_output(answers, 2, "[samples, ...]")
        targets = np.asarray(truth["targets"], np.float32)
        good = finite_rows(answers)
        error = errors(ours.reshape(len(ours), -1), targets.reshape(len(targets), -1))
        worst = max(self.scale, float(error[good].max())) if good.any() else self.scale
        error[~good] = worst
        rmse = float(np.sqrt(np.mean(error**2)))
        value = min(1.0, max(0.0, 1.0 - rmse / self.scale))
        return Quality(value, len(ours), int((~good).sum()), self.name, raw_error=rmse)

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """See `Metric.agreement`."""
        return share_of_samples(RegressionComparator(self.scale), answers, parent)


def spread(targets: npt.NDArray[np.generic]) -> float:
    """Standard deviation of targets [n, ...] about the mean of each number; 0 where they do not vary."""
    values = np.asarray(targets, np.float64).reshape(len(targets), -1)
    return float(np.sqrt(np.mean((values - values.mean(axis=0)) ** 2)))
