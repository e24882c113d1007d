"""Many rollouts of one scenario, counted; with exact bounds for what the counts prove."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.progress import ClassState, RolloutOutcome
from modelfleet_core.simulation.fleet import Result, Scenario, run


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of some simulated rollouts.

    Attributes:
        rollouts: how many.
        outcomes: by outcome; None = still running at the end.
        stopped_in_first: rollouts in which every class that was rolled back was so in its first stage.
        promoted: rollouts in which a class left its first stage.
        gates: rollbacks of classes by the gate that decided.
        reports: device-reports of each class that was rolled back, until then, ascending.
        windows: windows of each rollout, ascending.
        served: mean share of the devices that ever served the candidate at once.
    """

    rollouts: int
    outcomes: dict[RolloutOutcome | None, int]
    stopped_in_first: int
    promoted: int
    gates: dict[Metric | None, int]
    reports: tuple[int, ...]
    windows: tuple[int, ...]
    served: float

    def count(self, *outcomes: RolloutOutcome) -> int:
        """Rollouts with one of these outcomes."""
        return sum(self.outcomes.get(outcome, 0) for outcome in outcomes)

    @property
    def any_rollback(self) -> int:
        """Rollouts in which at least one class was rolled back."""
        return self.count(RolloutOutcome.ROLLED_BACK) + self.outcomes.get(RolloutOutcome.PARTIAL, 0)


def campaign(scenario: Scenario, seeds: Iterable[int]) -> Tally:
    """Run the scenario once per seed. The same seeds give the same tally."""
    results = [run(scenario, Random(seed)) for seed in seeds]
    outcomes: dict[RolloutOutcome | None, int] = {}
    gates: dict[Metric | None, int] = {}
    reports: list[int] = []
    first = promoted = 0
    served = 0.0
    size = sum(scenario.classes.values())
    for result in results:
        outcomes[result.outcome] = outcomes.get(result.outcome, 0) + 1
        back = [c for c in result.classes.values() if c.state is ClassState.ROLLED_BACK]
        first += bool(back) and all(c.stage == 0 for c in back)
        promoted += any(c.stage > 0 for c in result.classes.values())
        served += sum(c.served for c in result.classes.values()) / size
        for item in back:
            gate = item.decisions[-1].gate
            gates[gate] = gates.get(gate, 0) + 1
            reports.append(item.reports)
    return Tally(
        rollouts=len(results),
        outcomes=outcomes,
        stopped_in_first=first,
        promoted=promoted,
        gates=gates,
        reports=tuple(sorted(reports)),
        windows=_windows(results),
        served=served / max(1, len(results)),
    )


def _windows(results: Sequence[Result]) -> tuple[int, ...]:
    return tuple(sorted(result.windows for result in results))


def quantile(ascending: Sequence[int], q: float) -> int | None:
    """The value at rank ceil(q n); None of nothing."""
    return ascending[max(0, math.ceil(q * len(ascending)) - 1)] if ascending else None


def tail(count: int, trials: int, share: float) -> float:
    """P(X >= count) for X binomial(trials, share): how surprising that many would be."""
    if count <= 0:
        return 1.0
    if share <= 0.0:
        return 0.0
    below = 0.0
    for k in range(count):
        log_term = (
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(share)
            + (trials - k) * math.log1p(-share)
        )
        below += math.exp(log_term)
    return max(0.0, 1.0 - below)


def upper_bound(count: int, trials: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of a share (Clopper and Pearson): 0 of 300 -> 1.0 %."""
    if count >= trials:
        return 1.0
    low, high = count / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if tail(count + 1, trials, middle) < confidence:
            low = middle
        else:
            high = middle
    return high
