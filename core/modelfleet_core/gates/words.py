"""Numbers in plain words: the same spelling in verdicts, decisions, tables and docs."""

from __future__ import annotations

from collections.abc import Sequence

from modelfleet_core.gates.wealth import HUGE
from modelfleet_core.rollout.gate import Metric

_NAMES = {
    Metric.LATENCY_P50: "median latency",
    Metric.LATENCY_P95: "p95 latency",
    Metric.LATENCY_P99: "p99 latency",
    Metric.ERRORS: "errors",
    Metric.DISAGREEMENT: "disagreement",
    Metric.GOLDEN: "golden accuracy",
    Metric.SILENCE: "silence",
}


def name_of(metric: Metric) -> str:
    """How people call the metric."""
    return _NAMES[metric]


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h`, `2 d`; short values with one decimal."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(max(0.0, seconds))} s"


def odds(evidence: float) -> str:
    """`41:1`; below ten one decimal."""
    if evidence >= HUGE:
        return "over 1e300:1"
    if evidence >= 1e6:
        return f"{evidence:.0e}:1".replace("e+0", "e").replace("e+", "e")
    return f"{_short(evidence)}:1"


def share(value: float) -> str:
    """`3.2 %` of 0.032."""
    return f"{_short(100 * value)} %"


def amount(metric: Metric, value: float) -> str:
    """An effect or a tolerance of that metric: `+18 %`, `0.5 %`, `2 pt`."""
    if metric is Metric.GOLDEN:
        return f"{_short(100 * value)} pt"
    if metric.is_latency:
        return f"{'+' if value >= 0 else ''}{_short(100 * value)} %"
    return share(value)


def count(number: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and 3 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _short(value: float) -> str:
    """Two significant digits below ten, none behind the point above; no trailing zeros."""
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    text = f"{value:.1f}" if abs(value) >= 0.95 else f"{value:.2g}"
    return text.removesuffix(".0")
