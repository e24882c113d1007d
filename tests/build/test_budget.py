from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.budget import Candidate, choose, judge, judge_conversion
from modelfleet_build.child.jobs import Spread
from modelfleet_build.quality import Quality, error_share
from modelfleet_build.request import Objective
from modelfleet_core.error_codes import Code
from modelfleet_core.release.manifest import Precision

PARENT = Quality(0.99, 300, 0)
QUIET = Spread(1.0, 0.98, 1.02)


def of(right: int, not_finite: int = 0) -> Quality:
    return Quality(right / 300, 300, not_finite)


@pytest.mark.parametrize(
    ("right", "accepted"), [(300, True), (297, True), (294, True), (293, False), (0, False)]
)
def test_the_budget_is_in_points_against_the_parent(right: int, accepted: bool) -> None:
    refusal = judge(of(right), PARENT, 1.0)
    assert (refusal is None) is accepted
    if refusal is not None:
        assert refusal.code is Code.BUDGET_EXCEEDED
        assert "99.00 % to" in refusal.reason
        assert "one of the 300 samples is worth 0.33" in refusal.reason


def test_exactly_the_budget_is_within_it() -> None:
    # 100 * (0.99 - 0.98) is a little more than 1 in binary.
    assert judge(Quality(0.98, 300, 0), Quality(0.99, 300, 0), 1.0) is None
    assert judge(of(297), PARENT, 0.0) is None


def test_nan_is_judged_against_the_parents_own() -> None:
    refusal = judge(of(297, not_finite=1), PARENT, 100.0)
    assert refusal is not None
    assert refusal.code is Code.VARIANT_NOT_FINITE
    assert judge(of(280, not_finite=23), of(280, not_finite=23), 1.0) is None
    assert judge(of(280, not_finite=24), of(280, not_finite=23), 1.0) is not None


def test_an_fp32_variant_has_to_compute_what_its_parent_computes() -> None:
    assert judge_conversion(1e-4, Precision.FP32) is None
    refusal = judge_conversion(0.05, Precision.FP32)
    assert refusal is not None
    assert refusal.code is Code.CONVERSION_FAILED
    assert "5 %" in refusal.reason
    assert judge_conversion(0.05, Precision.INT8) is None
    assert judge_conversion(0.05, Precision.FP16) is None


def test_the_error_is_a_share_of_the_parents_largest_value() -> None:
    parent = np.asarray([[8.0, -10.0], [1.0, 2.0], [np.nan, 0.0]], np.float32)
    answers = np.asarray([[8.0, -9.0], [1.0, 2.5], [5.0, 5.0]], np.float32)
    assert error_share({"y": answers}, {"y": parent}) == pytest.approx(0.1)
    assert error_share({"y": parent[2:]}, {"y": answers[2:]}) == 0.0


def float_variant(size: int = 1000) -> Candidate:
    return Candidate("c.fp32", size, None, QUIET)


def other(name: str, ratio: Spread, size: int = 300, control: Spread = QUIET) -> Candidate:
    return Candidate(name, size, ratio, control)


def test_int8_has_to_be_faster_beyond_the_noise() -> None:
    fast = other("c.int8", Spread(0.7, 0.6, 0.8))
    assert choose([float_variant(), fast], Objective.LATENCY).order == ("c.int8", "c.fp32")
    for spread in (Spread(1.1, 1.0, 1.2), Spread(0.9, 0.7, 1.01), Spread(0.96, 0.95, 0.99)):
        slow = other("c.int8", spread)
        choice = choose([float_variant(), slow], Objective.LATENCY)
        assert choice.order == ("c.fp32", "c.int8")
        assert "not faster beyond the noise" in choice.why


def test_a_noisy_machine_asks_for_more() -> None:
    noisy = Spread(1.0, 0.6, 1.5)
    assert choose(
        [float_variant(), other("c.int8", Spread(0.7, 0.65, 0.8), control=noisy)], Objective.LATENCY
    ).order == ("c.fp32", "c.int8")


def test_the_fastest_of_several_wins() -> None:
    candidates = [
        float_variant(),
        other("c.fp16", Spread(0.8, 0.75, 0.85)),
        other("c.int8", Spread(0.6, 0.5, 0.7)),
        other("c.odd", Spread(1.3, 1.2, 1.4)),
    ]
    assert choose(candidates, Objective.LATENCY).order == ("c.int8", "c.fp16", "c.fp32", "c.odd")


def test_size_is_an_objective_of_its_own() -> None:
    slow = other("c.int8", Spread(2.0, 1.9, 2.1), size=300)
    choice = choose([float_variant(), slow], Objective.SIZE)
    assert choice.order == ("c.int8", "c.fp32")
    assert "300 bytes" in choice.why


spreads = st.tuples(st.floats(0.1, 3), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda t: Spread(t[0], t[0] * (1 - t[1]), t[0] * (1 + t[2]))
)


@given(st.lists(spreads, max_size=4), st.sampled_from(list(Objective)))
def test_every_candidate_stays_and_no_slower_one_leads(ratios: list[Spread], objective: Objective) -> None:
    candidates = [float_variant(), *(other(f"v{i}", ratio) for i, ratio in enumerate(ratios))]
    order = choose(candidates, objective).order
    assert sorted(order) == sorted(item.name for item in candidates)
    best = next(item for item in candidates if item.name == order[0])
    if objective is Objective.LATENCY and best.ratio is not None:
        assert best.ratio.high < 1.0
