"""What a difference between two models on the same samples is worth. Pure.

Two models that answered the same samples are compared by the samples on which exactly one is right: McNemar's
test in its exact form (a binomial test of the discordant pairs; McNemar 1947, Psychometrika 12), and a paired
bootstrap over the samples for the interval (Efron and Tibshirani 1993, chapter 13). An accuracy alone has
Wilson's interval (Wilson 1927, JASA 22). Training is random as well: a gain counts
only where every seed shows it, a loss where one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]

LEVEL = 0.95
_Z = 1.959963984540054
_RESAMPLES = 10_000
_SEED = 1797


class Verdict(StrEnum):
    """What may be said of a difference."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "within noise"


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One model against another on the same samples.

    Attributes:
        points: Change of the accuracy, in points (positive = better).
        interval: Of the change, by a paired bootstrap, in points.
        won, lost: Samples on which only the new, only the old one is right.
        p_value: Of McNemar's exact test, two-sided.
        verdict: `better` or `worse` only where test and interval both say so.
    """

    points: float
    interval: Interval
    won: int
    lost: int
    p_value: float
    verdict: Verdict


def wilson(right: int, samples: int) -> Interval:
    """Interval of a share, 0 to 1; `samples` above 0."""
    share, square = right / samples, _Z * _Z / samples
    centre = (share + square / 2) / (1 + square)
    reach = _Z / (1 + square) * math.sqrt(share * (1 - share) / samples + square / (4 * samples))
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p-value of the exact test: both kinds of discordant pairs are equally likely."""
    pairs = won + lost
    if pairs == 0:
        return 1.0
    tail = sum(math.comb(pairs, count) for count in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / (1 << pairs))


def compare(old: Flags, new: Flags) -> Difference:
    """Compare two models.

    Args:
        old: [n] bool, the old one is right on that sample.
        new: [n] bool, the same samples in the same order.
    """
    change = new.astype(np.int8) - old.astype(np.int8)
    won, lost = int((change > 0).sum()), int((change < 0).sum())
    random = np.random.default_rng(_SEED)
    # Only how often each of the three values is drawn matters, not on which sample.
    draws = random.multinomial(
        len(change), [won / len(change), lost / len(change), 1 - (won + lost) / len(change)], _RESAMPLES
    )
    points = 100.0 * (draws[:, 0] - draws[:, 1]) / len(change)
    low, high = (float(item) for item in np.quantile(points, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    p_value = mcnemar(won, lost)
    verdict = Verdict.NOISE
    if p_value < 1 - LEVEL and (low > 0 or high < 0):
        verdict = Verdict.BETTER if won > lost else Verdict.WORSE
    return Difference(100.0 * (won - lost) / len(change), Interval(low, high), won, lost, p_value, verdict)


def together(differences: list[Difference]) -> Verdict:
    """What several seeds say together: a gain that all of them show, a loss that one of them shows."""
    found = {item.verdict for item in differences}
    if Verdict.WORSE in found:
        return Verdict.WORSE
    return Verdict.BETTER if found == {Verdict.BETTER} else Verdict.NOISE
