"""From reports to values: what is counted, what is no evidence, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.gates.scores import MIN_PAIRS, score_report, stratum_of
from modelfleet_core.rollout.gate import DEFAULT_GATES, Gate, Metric
from modelfleet_core.sketch.histogram import Histogram
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import Agreement, GoldenCount, LatencyPairs, Report, Scores

BASE = Report(
    window=1, window_s=300.0, slot="digits", operation="op", release="r", incumbent="i", mode=Mode.SHADOW
)
ALL = (*DEFAULT_GATES, Gate(Metric.LATENCY_P50, 0.05), Gate(Metric.LATENCY_P99, 0.05))


def values(report: Report) -> dict[Metric, float]:
    return {score.metric: score.value for score in score_report(report, ALL)}


def pairs(candidate: list[float], incumbent: list[float]) -> LatencyPairs:
    return LatencyPairs(len(candidate), Histogram.of(candidate).to_wire(), Histogram.of(incumbent).to_wire())


def test_a_window_without_inputs_says_alive_and_nothing_else() -> None:
    assert values(BASE) == {}


def test_latency_is_the_log_ratio_of_quantiles_on_the_same_inputs() -> None:
    incumbent = [0.010 + 0.001 * k for k in range(100)]
    candidate = [1.2 * x for x in incumbent[:90]] + [2.0 * x for x in incumbent[90:]]
    found = values(replace(BASE, latency=pairs(candidate, incumbent)))
    assert math.isclose(found[Metric.LATENCY_P50], math.log(1.2), abs_tol=0.021)
    assert math.isclose(found[Metric.LATENCY_P95], math.log(2.0), abs_tol=0.021)
    assert math.isclose(found[Metric.LATENCY_P99], math.log(2.0), abs_tol=0.021)


def test_a_handful_of_pairs_is_no_evidence() -> None:
    few = [0.01] * (MIN_PAIRS - 1)
    assert values(replace(BASE, latency=pairs(few, few))) == {}
    enough = [0.01] * MIN_PAIRS
    assert values(replace(BASE, latency=pairs(enough, enough)))[Metric.LATENCY_P95] == 0.0


def test_disagreement_leaves_close_calls_out() -> None:
    found = values(replace(BASE, agreement=Agreement(compared=50, agreed=44, close=2)))
    assert math.isclose(found[Metric.DISAGREEMENT], 4 / 48, abs_tol=1e-8)
    assert values(replace(BASE, agreement=Agreement(compared=2, agreed=0, close=2))) == {}


def test_shadow_errors_are_those_of_the_candidate_alone() -> None:
    found = values(replace(BASE, n=200, candidate_only_failed=3, incumbent_failed=9))
    assert math.isclose(found[Metric.ERRORS], 3 / 200, abs_tol=1e-8)


def test_live_errors_count_requests_that_the_candidate_did_not_answer() -> None:
    live = replace(
        BASE, mode=Mode.LIVE, served=98, served_failed=2, answered_by_fallback=3, candidate_answers=95
    )
    assert math.isclose(values(live)[Metric.ERRORS], 5 / 100, abs_tol=1e-8)
    idle = replace(BASE, mode=Mode.LIVE, n=50, candidate_only_failed=1)  # no request, pairs on golden inputs
    assert math.isclose(values(idle)[Metric.ERRORS], 1 / 50, abs_tol=1e-8)


def test_the_stratum_is_whether_there_was_an_incumbent() -> None:
    assert stratum_of(BASE) is Stratum.WITH_INCUMBENT
    assert stratum_of(replace(BASE, incumbent=None)) is Stratum.WITHOUT_INCUMBENT


@pytest.mark.parametrize(
    "report",
    [
        replace(BASE, n=-1),
        replace(BASE, n=5, candidate_only_failed=6),
        replace(BASE, n=5, candidate_only_failed=3, incumbent_failed=3),
        replace(BASE, n=1 << 50),
        replace(BASE, mode=Mode.LIVE, served=3, answered_by_fallback=4),
        replace(BASE, agreement=Agreement(compared=5, agreed=4, close=2)),
        replace(BASE, agreement=Agreement(compared=5, agreed=-1)),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=6)),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=5.001)),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=-0.001)),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=float("nan"))),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=1.5, incumbent_right=float("inf"))),
        replace(BASE, golden=GoldenCount(total=5, candidate_right=5, incumbent_right=6)),
        replace(BASE, latency=LatencyPairs(-1, "h1", "h1")),
        replace(BASE, latency=LatencyPairs(9, "h1" + "A" * 1200, "h1")),
        replace(BASE, scores=Scores((1,) * 19, (1,) * 20)),
        replace(BASE, latency=replace(pairs([0.01] * 9, [0.01] * 9), count=8)),
        replace(
            BASE,
            latency=LatencyPairs(9, Histogram.of([0.01] * 8).to_wire(), Histogram.of([0.01] * 9).to_wire()),
        ),
        replace(
            BASE,
            latency=LatencyPairs(9, Histogram.of([0.01] * 9).to_wire(), Histogram.of([0.01] * 8).to_wire()),
        ),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(report: Report) -> None:
    with pytest.raises(CallerError) as refused:
        score_report(report, ALL)
    assert refused.value.code is Code.REPORT_CONTRADICTS


def test_a_broken_sketch_is_refused() -> None:
    with pytest.raises(CallerError) as refused:
        score_report(replace(BASE, latency=LatencyPairs(9, "h1!", "h1")), ALL)
    assert refused.value.code is Code.SKETCH_INVALID
