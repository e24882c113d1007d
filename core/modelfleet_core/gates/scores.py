"""From one device report to one bet per gate (research: gates section 3, formulae; semantics section 2).

Latency: x = log(quantile of the candidate / quantile of the incumbent) on the same inputs, m = log(1 +
tolerance), s = 0.15, c = 1, so one outlier window moves the wealth by less than a factor of two. The `fine`
side is the mirror: g = clip((log(1 + limit) - x) / 0.15, -1, 1). Rates: x = failures / n of the report, m =
tolerance, s = m, c = 9. The `fine` side bets against "20 % of the reports are beyond the limit": g = (0.2 -
[x > limit]) / 0.8. It sees whether a report is a breach, never how the rate was capped, so a capped score
cannot hide failures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.gates.evidence import Score, Stratum
from modelfleet_core.gates.wealth import Wealth, clip, step
from modelfleet_core.rollout.gate import Gate, Metric
from modelfleet_core.sketch.histogram import Histogram
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import MAX_SKETCH, SCORE_BINS, LatencyPairs, Report

LATENCY_SCALE: Final = 0.15
LATENCY_CAP: Final = 1.0
RATE_CAP: Final = 9.0
BREACH_SHARE: Final = 0.2
MIN_PAIRS: Final = 5
"""Fewer latency pairs in a window are no evidence (their p95 is the largest of a handful)."""

_MOST: Final = 1 << 40
_LARGEST_SCORE: Final = 20.0
_UNIT: Final = 2.0**30
_QUANTILE: Final = {Metric.LATENCY_P50: 0.50, Metric.LATENCY_P95: 0.95, Metric.LATENCY_P99: 0.99}


def stratum_of(report: Report) -> Stratum:
    """With or without an incumbent."""
    return Stratum.WITHOUT_INCUMBENT if report.incumbent is None else Stratum.WITH_INCUMBENT


def score_report(report: Report, gates: Sequence[Gate]) -> tuple[Score, ...]:
    """One bet per gate that this report says something about; golden and silence are judged elsewhere.

    Raises:
        CallerError: MF-1031 if the report's numbers contradict each other, MF-1030 for a sketch.
    """
    check_report(report)
    scores: list[Score] = []
    for gate in gates:
        value = _value(report, gate.metric)
        if value is not None:
            scores.append(score(gate, value))
    return tuple(scores)


def score(gate: Gate, value: float) -> Score:
    """The bet of a betting gate on one value (log ratio for latency, rate 0-1 otherwise)."""
    if gate.metric.is_latency:
        worse = step(clip(value, math.log1p(gate.tolerance), LATENCY_SCALE, LATENCY_CAP))
        fine = step(-clip(value, math.log1p(gate.effective_limit), LATENCY_SCALE, LATENCY_CAP))
    else:
        worse = rate_step(value, gate.tolerance)
        fine = BREACH if value > gate.effective_limit else NO_BREACH
    exact = math.floor(max(-_LARGEST_SCORE, min(_LARGEST_SCORE, value)) * _UNIT) / _UNIT
    return Score(gate.metric, exact, worse, fine)


NO_BREACH: Final[Wealth] = step(BREACH_SHARE / (1 - BREACH_SHARE))
BREACH: Final[Wealth] = step(-1.0)


@lru_cache(maxsize=4096)
def rate_step(value: float, tolerance: float) -> Wealth:
    """Step of a rate against its tolerance; cached, since rates of small windows take few values."""
    return step(clip(value, tolerance, tolerance, RATE_CAP))


def _value(report: Report, metric: Metric) -> float | None:
    """The score's value, or None where the report is silent about it."""
    if metric.is_latency:
        return _log_ratio(report.latency, _QUANTILE[metric]) if report.latency else None
    if metric is Metric.DISAGREEMENT:
        seen = report.agreement
        if seen is None or seen.compared <= seen.close:
            return None
        return (seen.compared - seen.agreed - seen.close) / (seen.compared - seen.close)
    if metric is Metric.ERRORS:
        return _error_rate(report)
    return None


def _error_rate(report: Report) -> float | None:
    """Share of inputs on which the candidate failed and the incumbent did not.

    In live mode every request is such a pair as far as it matters: the previous model answers where the
    candidate fails; a request that fails altogether counts against the candidate, which serves.
    """
    if report.mode is Mode.LIVE:
        requests = report.served + report.served_failed
        if requests:
            return (report.answered_by_fallback + report.served_failed) / requests
    return report.candidate_only_failed / report.n if report.n else None


def _log_ratio(pairs: LatencyPairs, q: float) -> float | None:
    if pairs.count < MIN_PAIRS:
        return None
    candidate, incumbent = Histogram.from_wire(pairs.candidate), Histogram.from_wire(pairs.incumbent)
    if candidate.count != pairs.count or incumbent.count != pairs.count:
        raise _contradiction(
            f"latency sketches of {candidate.count} and {incumbent.count} values for {pairs.count} pairs",
            "both sketches hold every pair",
        )
    return math.log((candidate.quantile(q) or 1.0) / (incumbent.quantile(q) or 1.0))


def check_report(report: Report) -> None:
    """Refuse numbers that cannot come from counting.

    Raises:
        CallerError: MF-1031.
    """
    numbers = (
        report.served,
        report.served_failed,
        report.answered_by_fallback,
        report.candidate_answers,
        report.n,
        report.candidate_only_failed,
        report.incumbent_failed,
    )
    if min(numbers) < 0 or max(numbers) > _MOST:
        raise _contradiction(f"counts {numbers}", "counts of 0 or more")
    if report.candidate_only_failed + report.incumbent_failed > report.n:
        raise _contradiction(
            f"{report.candidate_only_failed} + {report.incumbent_failed} failures on n = {report.n} inputs",
            "no more failures than inputs",
        )
    if report.answered_by_fallback > report.served:
        raise _contradiction(
            f"{report.answered_by_fallback} of {report.served} served requests answered by the fallback",
            "answered_by_fallback is a part of served",
        )
    seen = report.agreement
    if seen is not None and (
        seen.compared > _MOST
        or min(seen.compared, seen.agreed, seen.close) < 0
        or seen.agreed + seen.close > seen.compared
    ):
        raise _contradiction(f"agreement {seen}", "agreed + close <= compared")
    golden = report.golden
    if golden is not None and not (
        golden.total <= _MOST
        and 0 <= golden.candidate_right <= golden.total
        and 0 <= (golden.incumbent_right or 0) <= golden.total
    ):
        raise _contradiction(f"golden {golden}", "right answers between 0 and total")
    pairs = report.latency
    if pairs is not None and pairs.count < 0:
        raise _contradiction(f"{pairs.count} latency pairs", "0 or more")
    if pairs is not None and max(len(pairs.candidate), len(pairs.incumbent)) > MAX_SKETCH:
        raise _contradiction("a latency sketch is too long for a window", f"at most {MAX_SKETCH} characters")
    told = [report.rss_candidate_bytes or 0, report.rss_incumbent_bytes or 0]
    if report.coverage is not None:
        coverage = report.coverage
        told += [coverage.offered, coverage.run, coverage.dropped_queue, coverage.dropped_budget]
    scores = report.scores
    if scores is not None:
        told += [*scores.candidate, *scores.incumbent]
    if min(told) < 0 or max(told) > _MOST:
        raise _contradiction("a count, size or bin out of range", f"0 to {_MOST}")
    if scores is not None and not len(scores.candidate) == len(scores.incumbent) == SCORE_BINS:
        raise _contradiction("score histograms of another size", f"{SCORE_BINS} bins each")


def _contradiction(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.REPORT_CONTRADICTS,
        f"a report contradicts itself: {happened}",
        expected=expected,
        todo="update the agent that sent it; the report is not counted",
    )
