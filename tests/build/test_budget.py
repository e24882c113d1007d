from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.budget import Candidate, choose, judge, judge_conversion, judge_limits
from modelfleet_build.child.jobs import Spread
from modelfleet_build.quality import Quality, error_share
from modelfleet_build.request import Objective
from modelfleet_core.error_codes import Code
from modelfleet_core.release.device_class import VariantLimits
from modelfleet_core.release.manifest import AcceleratorUse, Measurements, Precision

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
    for spread in (
        Spread(1.1, 1.0, 1.2),
        Spread(0.9, 0.7, 1.01),
        Spread(0.96, 0.95, 0.99),
        Spread(0.96, 0.955, 0.965),
    ):
        slow = other("c.int8", spread)
        choice = choose([float_variant(), slow], Objective.LATENCY)
        assert choice.order == ("c.fp32", "c.int8")
        assert "not faster by 5 % beyond the noise" in choice.why


def test_a_noisy_machine_asks_for_more() -> None:
    noisy = Spread(1.0, 0.6, 1.5)
    assert choose(
        [float_variant(), other("c.int8", Spread(0.7, 0.65, 0.8), control=noisy)], Objective.LATENCY
    ).order == ("c.fp32", "c.int8")


def test_without_a_float_variant_the_fastest_leads_and_says_why() -> None:
    """The float variant breaks a limit of the class: the others were timed against it, it is no candidate."""
    slow, slower = other("c.int8", Spread(1.1, 1.0, 1.2)), other("c.odd", Spread(1.3, 1.2, 1.4))
    choice = choose([slower, slow], Objective.LATENCY)
    assert choice.order == ("c.int8", "c.odd")
    assert "no float variant is within the limits of the class; it takes 1.10" in choice.why
    assert "no other variant" in choose([slow], Objective.LATENCY).why


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


def untimed(name: str, size: int, *, is_float: bool = False, cycles: int | None = None) -> Candidate:
    return Candidate(name, size, None, None, is_float, cycles=cycles)


def test_without_a_measured_time_the_float_variant_leads_unless_cycles_are_known() -> None:
    small, plain = untimed("c.int8", 10), untimed("c.fp32", 40, is_float=True)
    choice = choose([plain, small], Objective.LATENCY)
    assert choice.order == ("c.fp32", "c.int8")
    assert "nothing says that another is faster" in choice.why
    assert choose([small, untimed("c.a", 12)], Objective.LATENCY).order == ("c.int8", "c.a")
    counted = choose([untimed("c.a", 5, cycles=90), untimed("c.b", 9, cycles=70)], Objective.LATENCY)
    assert counted.order == ("c.b", "c.a")
    assert "fewest cycles (70)" in counted.why


def test_memory_and_accuracy_are_objectives() -> None:
    one = Candidate("c.a", 10, None, QUIET, value=0.9, memory_bytes=300)
    two = Candidate("c.b", 20, None, QUIET, value=0.95, memory_bytes=400)
    unknown = Candidate("c.c", 5, None, QUIET, value=0.8)
    assert choose([two, one, unknown], Objective.MEMORY).order == ("c.a", "c.b", "c.c")
    assert choose([one, two, unknown], Objective.ACCURACY).order == ("c.b", "c.a", "c.c")
    assert "least memory (300 bytes)" in choose([two, one], Objective.MEMORY).why
    assert "95.00 %" in choose([two, one], Objective.ACCURACY).why


def measured(**changes: object) -> Measurements:
    given = {"metric": "top1", "value": 1.0, "parent_value": 1.0, "drop_points": 0.0, "agreement": 1.0}
    return Measurements(**{**given, "size_bytes": 1000, "samples": 10, **changes})  # type: ignore[arg-type]


NPU = AcceleratorUse(10, 8, macs=1000, macs_on=950, fallbacks=("SOFTMAX: no kernel",))


@pytest.mark.parametrize(
    ("changes", "limits", "code", "words"),
    [
        ({}, VariantLimits(size_bytes=1000), None, ""),
        ({}, VariantLimits(size_bytes=999), Code.LIMIT_EXCEEDED, "1000 bytes of size"),
        ({"arena_bytes": 5000}, VariantLimits(arena_bytes=4999), Code.LIMIT_EXCEEDED, "5000 bytes of arena"),
        ({}, VariantLimits(arena_bytes=4999), Code.LIMIT_UNCHECKED, "arena"),
        ({"latency_us": 2000.0}, VariantLimits(latency_s=0.002), None, ""),
        ({"latency_us": 2001.0}, VariantLimits(latency_s=0.002), Code.LIMIT_EXCEEDED, "latency"),
        ({}, VariantLimits(latency_s=0.002), Code.LIMIT_UNCHECKED, "latency"),
        ({"accelerator": NPU}, VariantLimits(min_coverage=0.8, min_mac_coverage=0.95), None, ""),
        ({"accelerator": NPU}, VariantLimits(min_coverage=0.81), Code.COVERAGE_TOO_LOW, "SOFTMAX: no kernel"),
        ({"accelerator": NPU}, VariantLimits(min_mac_coverage=0.96), Code.COVERAGE_TOO_LOW, "95.0 %"),
        ({}, VariantLimits(min_coverage=0.1), Code.LIMIT_UNCHECKED, "coverage of operators"),
        (
            {"accelerator": AcceleratorUse(4, 4)},
            VariantLimits(min_mac_coverage=0.1),
            Code.LIMIT_UNCHECKED,
            "MAC",
        ),
    ],
)
def test_limits_of_a_class_fail_closed(
    changes: dict[str, object], limits: VariantLimits, code: Code | None, words: str
) -> None:
    refusal = judge_limits(measured(**changes), limits, ("x86_64",), "x86_64")
    assert (refusal.code if refusal is not None else None) is code
    assert refusal is None or words.lower().replace("mac", "multiply") in refusal.reason.lower()


def test_a_time_that_was_measured_on_another_architecture_proves_nothing() -> None:
    limits = VariantLimits(latency_s=1.0)
    refusal = judge_limits(measured(latency_us=1.0), limits, ("aarch64",), "x86_64")
    assert refusal is not None
    assert refusal.code is Code.LIMIT_UNCHECKED
    assert "x86_64" in refusal.reason
