"""Betting sums: exact, order-free, replay-safe, and valid (no evidence out of nothing)."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.gates import wealth
from modelfleet_core.gates.evidence import CARRIED_ONLY, DeviceSum, Score, Stratum, collect
from modelfleet_core.gates.scores import score
from modelfleet_core.rollout.gate import DEFAULT_GATES, Gate, Metric

LATENCY = DEFAULT_GATES[0]
bets = st.floats(-1.0, 9.0)


def test_the_grid_is_the_published_one() -> None:
    assert len(wealth.LAMBDAS) == 16
    assert wealth.LAMBDAS[0] == 0.02
    assert math.isclose(wealth.LAMBDAS[-1], 0.9)
    ratios = [b / a for a, b in zip(wealth.LAMBDAS, wealth.LAMBDAS[1:], strict=False)]
    assert max(ratios) - min(ratios) < 1e-12


@given(bets)
def test_a_step_is_the_logarithm_rounded_down(g: float) -> None:
    for fraction, found in zip(wealth.LAMBDAS, wealth.step(g), strict=True):
        true = math.log1p(fraction * g)
        assert true - 2**-29 < found <= true + 1e-15
        assert (found * 2**30).is_integer()


@given(st.floats(-1, 1), st.integers(1, 20))
def test_a_fair_bet_gives_nothing_on_average(g: float, cap: int) -> None:
    """A bet on a score with mean exactly m: the mean of exp(step) is at most 1, whatever the spread."""
    up, down = cap * abs(g), abs(g)  # +up with weight down, -down with weight up: mean zero
    if up == 0.0:
        return
    weight = down / (up + down)
    for high, low in zip(wealth.step(min(up, 9.0)), wealth.step(-down), strict=True):
        assert weight * math.exp(high) + (1 - weight) * math.exp(low) <= 1 + 1e-12


@given(st.lists(bets, max_size=60), st.randoms(use_true_random=False), st.integers(1, 7))
def test_sums_do_not_depend_on_order_or_grouping(
    outcomes: list[float], rng: random.Random, parts: int
) -> None:
    steps = [wealth.step(g) for g in outcomes]
    whole = wealth.NONE
    for one in steps:
        whole = wealth.added(whole, one)
    rng.shuffle(steps)
    groups = [wealth.NONE] * parts
    for index, one in enumerate(steps):
        groups[index % parts] = wealth.added(groups[index % parts], one)
    regrouped = wealth.NONE
    for group in groups:
        regrouped = wealth.added(regrouped, group)
    assert regrouped == whole  # bit for bit


@given(
    st.lists(st.lists(bets, min_size=1, max_size=5), min_size=1, max_size=12), st.integers(0, 3), st.randoms()
)
def test_evidence_does_not_depend_on_the_order_of_devices(
    devices: list[list[float]], spare: int, rng: random.Random
) -> None:
    rows = []
    for outcomes in devices:
        row = wealth.NONE
        for g in outcomes:
            row = wealth.added(row, wealth.step(g))
        rows.append(row)
    before = wealth.log_evidence(rows, spare)
    rng.shuffle(rows)
    assert wealth.log_evidence(rows, spare) == before


@given(st.lists(bets, min_size=3, max_size=12), st.integers(1, 2))
def test_setting_devices_aside_never_exceeds_any_fixed_choice(outcomes: list[float], spare: int) -> None:
    """E <= E_S for every set S of the devices that remain: that is why trimming is valid."""
    rows = [wealth.step(g) for g in outcomes]
    trimmed = wealth.log_evidence(rows, spare)
    for start in range(len(rows)):
        dropped = {(start + k) % len(rows) for k in range(spare)}
        kept = [row for index, row in enumerate(rows) if index not in dropped]
        assert trimmed <= wealth.log_evidence(kept) + 1e-12


def test_evidence_is_the_mean_over_the_grid() -> None:
    rows = [wealth.step(1.0), wealth.step(0.5)]
    by_hand = sum(math.exp(a + b) for a, b in zip(*rows, strict=True)) / 16
    assert math.isclose(math.exp(wealth.log_evidence(rows)), by_hand, rel_tol=1e-12)
    assert wealth.log_evidence([]) == 0.0


def test_evidence_does_not_overflow() -> None:
    rows = [wealth.times(wealth.step(9.0), 100_000)]
    assert wealth.log_evidence(rows) > 1e5
    assert wealth.ratio(wealth.log_evidence(rows)) == wealth.HUGE


@pytest.mark.parametrize(("devices", "aside"), [(0, 0), (1, 0), (4, 0), (5, 1), (10, 1), (11, 2), (100, 10)])
def test_trimming_follows_the_table(devices: int, aside: int) -> None:
    assert wealth.trimmed(devices) == aside


def test_packed_wealth_comes_back_and_foreign_bytes_are_refused() -> None:
    row = wealth.step(0.3)
    assert len(wealth.pack(row)) == 128
    assert wealth.unpack(wealth.pack(row)) == row
    with pytest.raises(ValueError, match="127 bytes"):
        wealth.unpack(bytes(127))


scores = st.builds(
    lambda device, stage, value: (device, Stratum.WITH_INCUMBENT, stage, score(LATENCY, value)),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([CARRIED_ONLY, 0, 1, 2]),
    st.floats(-1, 1),
)


@given(st.lists(scores, max_size=40), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_the_order_in_which_reports_arrive(
    arrived: list[tuple[str, Stratum, int, Score]], rng: random.Random
) -> None:
    def rows(items: list[tuple[str, Stratum, int, Score]]) -> dict[str, DeviceSum]:
        return {row.device: row for row in collect(items).get(Metric.LATENCY_P95, ())}

    before = rows(arrived)
    shuffled = list(arrived)
    rng.shuffle(shuffled)
    assert rows(shuffled) == before


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-1, 1)), max_size=40), st.randoms())
def test_replayed_reports_change_nothing_when_keyed_by_window(
    reports: list[tuple[int, float]], rng: random.Random
) -> None:
    """The key (device, release, slot, window) makes the sum replay-safe: the first one wins."""
    once = dict(reversed(reports))
    replayed = reports + [(window, once[window]) for window, _ in reports]

    def total(items: list[tuple[int, float]]) -> DeviceSum:
        known: set[int] = set()
        row = DeviceSum("a")
        for window, value in items:
            if window not in known:
                known.add(window)
                row = row.plus(score(LATENCY, value), 0)
        return row

    assert total(replayed) == total(reports)


def test_a_new_stage_begins_its_fine_side_anew_and_carries_the_rest() -> None:
    row = DeviceSum("a").plus(score(LATENCY, 0.0), 0).plus(score(LATENCY, 0.0), 0)
    assert (row.stage, row.stage_reports, row.reports) == (0, 2, 2)
    later = row.plus(score(LATENCY, 0.0), 1)
    assert (later.stage, later.stage_reports, later.reports) == (1, 1, 3)
    assert later.fine == score(LATENCY, 0.0).fine
    assert later.worse == wealth.times(score(LATENCY, 0.0).worse, 3)
    assert row.in_stage(1).stage_reports == 0
    assert row.in_stage(1).fine == wealth.NONE
    assert row.in_stage(0) == row


@pytest.mark.parametrize(
    ("gate", "value", "worse", "fine"),
    [
        (Gate(Metric.LATENCY_P95, 0.05, 0.10), 0.0, -math.log(1.05) / 0.15, math.log(1.10) / 0.15),
        (Gate(Metric.LATENCY_P95, 0.05, 0.10), 5.0, 1.0, -1.0),
        (Gate(Metric.LATENCY_P95, 0.05, 0.10), -5.0, -1.0, 1.0),
        (Gate(Metric.ERRORS, 0.005), 0.0, -1.0, 0.25),
        (Gate(Metric.ERRORS, 0.005), 0.01, 1.0, 0.25),
        (Gate(Metric.ERRORS, 0.005), 0.0101, 1.02, -1.0),
        (Gate(Metric.ERRORS, 0.005), 0.9, 9.0, -1.0),
        (Gate(Metric.DISAGREEMENT, 0.02, 0.03), 0.031, 0.55, -1.0),
    ],
)
def test_bets_follow_the_formulae(gate: Gate, value: float, worse: float, fine: float) -> None:
    found = score(gate, value)
    for fraction, w, f in zip(wealth.LAMBDAS, found.worse, found.fine, strict=True):
        assert math.isclose(w, math.log1p(fraction * worse), abs_tol=1e-8)
        assert math.isclose(f, math.log1p(fraction * fine), abs_tol=1e-8)
