"""The gates of a plan: what is watched, what is tolerated, and what makes such a wish refusable.

Amounts are ratios: latency relative to the incumbent, rates and accuracies 0-1 (`plan.py`, rule 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

from modelfleet_core.error_codes import Code
from modelfleet_core.rollout.refusal import in_range, refuse


class Metric(StrEnum):
    """What a gate watches."""

    LATENCY_P50 = "latency_p50"
    LATENCY_P95 = "latency_p95"
    LATENCY_P99 = "latency_p99"
    ERRORS = "errors"
    DISAGREEMENT = "disagreement"
    GOLDEN = "golden"
    SILENCE = "silence"

    @property
    def is_latency(self) -> bool:
        """Whether it compares a quantile of latency with the incumbent's."""
        return self in _LATENCY

    @property
    def is_bet(self) -> bool:
        """Whether it is an e-process that takes a share of alpha; golden is none (semantics section 2)."""
        return self is not Metric.GOLDEN

    @property
    def is_paired(self) -> bool:
        """Whether it needs an incumbent beside the candidate."""
        return self in _LATENCY or self is Metric.DISAGREEMENT


_LATENCY: Final = frozenset({Metric.LATENCY_P50, Metric.LATENCY_P95, Metric.LATENCY_P99})


class Unless(StrEnum):
    """What excuses a gate that would be worse."""

    GOLDEN_BETTER = "golden_better"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate.

    Attributes:
        metric: what is watched.
        tolerance: what is tolerated. Latency: relative increase over the incumbent; errors, disagreement,
            silence: rate 0-1; golden: drop of accuracy 0-1 (`2pt` = 0.02).
        limit: what is unacceptable; promotion needs evidence against it. Latency: relative increase. Errors,
            disagreement: a report beyond it is a breach. None = twice the tolerance. Not for golden, silence.
        unless: what excuses the gate (disagreement only).
        floor: golden only: least accuracy 0-1 where there is no incumbent; None = not applicable there.
        after_missed: silence only: windows that must be missed in a row before a device counts as silent.
    """

    metric: Metric
    tolerance: float
    limit: float | None = None
    unless: Unless | None = None
    floor: float | None = None
    after_missed: int | None = None

    @property
    def effective_limit(self) -> float:
        """The limit, or twice the tolerance where none is given (research: section 3)."""
        return 2 * self.tolerance if self.limit is None else self.limit

    @property
    def missed(self) -> int:
        """Windows in a row after which a device is silent (3 where the plan does not say)."""
        return DEFAULT_AFTER_MISSED if self.after_missed is None else self.after_missed


DEFAULT_AFTER_MISSED: Final = 3
SILENCE_GATE: Final = Gate(Metric.SILENCE, tolerance=0.05, after_missed=DEFAULT_AFTER_MISSED)
DEFAULT_GATES: Final = (
    Gate(Metric.LATENCY_P95, tolerance=0.05, limit=0.10),
    Gate(Metric.ERRORS, tolerance=0.005),
    Gate(Metric.DISAGREEMENT, tolerance=0.02),
    Gate(Metric.GOLDEN, tolerance=0.02),
    SILENCE_GATE,
)
"""What an absent `gates` means (semantics section 3)."""

_HIGHEST_TOLERANCE: Final = {
    Metric.ERRORS: 0.4,
    Metric.DISAGREEMENT: 0.4,
    Metric.SILENCE: 0.4,
    Metric.GOLDEN: 1.0,
}
"""Latency: 10 (eleven times as slow). Rates: a breach (twice the tolerance) must stay possible."""


def check_gates(gates: Sequence[Gate], no_gates_reason: str | None) -> None:
    """Refuse gates that cannot be meant.

    Raises:
        CallerError: with the path of the field, as in the file.
    """
    if not gates and not (no_gates_reason or "").strip():
        refuse(
            Code.PLAN_NO_GATES,
            "gates",
            "it is empty, so nothing but hard stops would stop a bad release",
            expected="gates, or --no-gates with --reason",
            todo="leave `gates` out for the defaults, or say why none are wanted",
        )
    if gates and no_gates_reason is not None:
        refuse(
            Code.PLAN_NO_GATES,
            "gates",
            "a reason for having no gates is given, but there are gates",
            expected="gates: [] with --no-gates --reason, or gates without it",
            todo="drop one of the two",
        )
    seen: set[Metric] = set()
    for index, gate in enumerate(gates):
        _check_gate(f"gates[{index}]", gate)
        if gate.metric in seen:
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                f"gates[{index}].metric",
                f"a second gate on {gate.metric}",
                expected="one gate per metric",
                todo="drop one of them",
            )
        seen.add(gate.metric)
    excused = any(gate.unless is Unless.GOLDEN_BETTER for gate in gates)
    if excused and Metric.GOLDEN not in seen:
        refuse(
            Code.PLAN_GATE_FIELD,
            "gates",
            "disagreement is excused by goldenBetter, but there is no golden gate",
            expected="a golden gate beside `unless: goldenBetter`",
            todo="add {metric: golden, tolerance: 2pt} or drop `unless`",
        )


def _check_gate(path: str, gate: Gate) -> None:
    metric = gate.metric
    in_range(f"{path}.tolerance", gate.tolerance, 1e-6, _HIGHEST_TOLERANCE.get(metric, 10.0), "")
    if gate.limit is not None:
        if metric in (Metric.GOLDEN, Metric.SILENCE):
            _not_for(f"{path}.limit", metric, "latency, errors and disagreement")
        if gate.limit <= gate.tolerance:
            refuse(
                Code.PLAN_LIMIT,
                f"{path}.limit",
                f"{gate.limit:g} is not above the tolerance {gate.tolerance:g}",
                expected="a limit above the tolerance: between them is the zone of indifference",
                todo=f"raise {path}.limit or drop it (then it is twice the tolerance)",
            )
        in_range(f"{path}.limit", gate.limit, 0.0, 20.0 if metric.is_latency else 0.99, "")
    if gate.unless is not None and metric is not Metric.DISAGREEMENT:
        _not_for(f"{path}.unless", metric, "disagreement")
    if gate.floor is not None:
        if metric is not Metric.GOLDEN:
            _not_for(f"{path}.floor", metric, "golden")
        in_range(f"{path}.floor", gate.floor, 0.0, 1.0, "")
    if gate.after_missed is not None:
        if metric is not Metric.SILENCE:
            _not_for(f"{path}.afterMissed", metric, "silence")
        in_range(f"{path}.afterMissed", gate.after_missed, 1, 100_000, "windows")


def _not_for(path: str, metric: Metric, where: str) -> NoReturn:
    refuse(
        Code.PLAN_GATE_FIELD,
        path,
        f"a gate on {metric} has no such setting",
        expected=f"this setting on {where} only",
        todo=f"drop {path}",
    )
