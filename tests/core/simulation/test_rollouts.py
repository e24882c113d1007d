"""Whole rollouts through the real engine: good releases stay, bad ones go, at every cohort size.

Seeds are fixed, so nothing here is flaky. Shares are judged by exact binomial tails: "at most 1 %" fails
when what was counted would have a probability below 0.1 % if that were true. Large runs: `bench/`.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfleet_core.rollout.decision import Action, Reason
from modelfleet_core.rollout.gate import Gate, Metric, Unless
from modelfleet_core.rollout.plan import Advance, OnInconclusive, RolloutPlan, Stage
from modelfleet_core.rollout.progress import ClassState, RolloutOutcome
from modelfleet_core.simulation.campaign import Tally, campaign, quantile, tail, upper_bound
from modelfleet_core.simulation.fleet import Scenario, run
from modelfleet_core.simulation.noise import (
    AUTOCORRELATED,
    GOOD,
    NOISY,
    Behaviour,
    Noise,
    binomial,
)
from modelfleet_core.wire.director import Mode

SURPRISING = 0.001
SIZES = range(1, 13)
DEADLINE_S = 96 * 300.0
SLOW, ERRORS, DISAGREES = Behaviour(latency=0.2), Behaviour(errors=0.01), Behaviour(disagreement=0.04)


def plan(devices: int) -> RolloutPlan:
    """One class with the share of alpha that it has among three."""
    return RolloutPlan(
        "sim:1.1",
        (
            Stage("shadow", Mode.SHADOW, devices=devices, deadline_s=DEADLINE_S),
            Stage("canary", Mode.LIVE, devices=devices, deadline_s=DEADLINE_S),
            Stage("all", Mode.LIVE, percent=100, deadline_s=DEADLINE_S),
        ),
        min_devices=min(10, devices),
        false_rollback=0.05 / 3,
    )


def scenario(devices: int, behaviour: Behaviour = GOOD, noise: Noise | None = None) -> Scenario:
    found = Scenario(plan(devices), {"a": 2 * devices}, shadow=behaviour, live=behaviour)
    return found if noise is None else replace(found, noise=noise)


def at_most(count: int, of: int, share: float) -> bool:
    """Whether "at most `share`" is compatible with having counted `count` of `of`."""
    return tail(count, of, share) > SURPRISING


def rolled_back(tally: Tally) -> int:
    return tally.any_rollback


# -------------------------------------------------------------------------------------- good releases


@pytest.mark.parametrize("devices", SIZES)
def test_a_good_release_completes_at_every_cohort_size(devices: int) -> None:
    """A single device that happens to be a little worse is held rather than rolled back."""
    tally = campaign(scenario(devices), range(30))
    assert at_most(rolled_back(tally), 30, 0.01)
    assert tally.count(RolloutOutcome.COMPLETED) >= (25 if devices < 5 else 29)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("autocorrelated noise", replace(scenario(10), noise=AUTOCORRELATED)),
        ("one slow rogue device", replace(scenario(10), rogues=1, rogue=Behaviour(latency=0.6))),
        ("one failing rogue device", replace(scenario(10), rogues=1, rogue=Behaviour(errors=0.3))),
        (
            "autocorrelated noise and a rogue device",
            replace(scenario(10), noise=AUTOCORRELATED, rogues=1, rogue=Behaviour(latency=0.6)),
        ),
        ("noisy devices", replace(scenario(10), noise=NOISY)),
        ("inside tolerance", scenario(10, Behaviour(latency=0.03))),
    ],
)
def test_ten_devices_keep_false_rollbacks_below_one_percent(name: str, changed: Scenario) -> None:
    tally = campaign(changed, range(80))
    assert at_most(rolled_back(tally), 80, 0.01), name
    assert tally.count(RolloutOutcome.COMPLETED) >= 76, name


@pytest.mark.parametrize(("devices", "back"), [(1, True), (2, True), (5, False), (12, False)])
def test_below_five_devices_one_rogue_device_decides(devices: int, back: bool) -> None:
    tally = campaign(replace(scenario(devices), rogues=1, rogue=Behaviour(latency=0.6)), range(30))
    assert (rolled_back(tally) >= 15) == back
    assert back or at_most(rolled_back(tally), 30, 0.01)


def test_a_good_release_takes_no_longer_than_the_rounds_it_needs() -> None:
    tally = campaign(scenario(10), range(40))
    assert quantile(tally.windows, 0.5) == 18  # three stages of six rounds


# --------------------------------------------------------------------------------------- bad releases


def test_p95_up_20_percent_is_rolled_back_within_60_device_reports() -> None:
    tally = campaign(scenario(10, SLOW), range(300))
    late = sum(reports > 60 for reports in tally.reports) + (300 - len(tally.reports))
    assert at_most(late, 300, 0.01)
    assert tally.gates == {Metric.LATENCY_P95: len(tally.reports)}
    assert tally.served == 0.0  # nobody was ever served by it


@pytest.mark.parametrize("devices", SIZES)
def test_p95_up_20_percent_is_rolled_back_at_every_cohort_size(devices: int) -> None:
    tally = campaign(scenario(devices, SLOW), range(40))
    assert at_most(40 - rolled_back(tally), 40, 0.01)


@pytest.mark.parametrize("devices", [10, 11, 12, 20])
@pytest.mark.parametrize(("behaviour", "metric"), [(ERRORS, Metric.ERRORS), (DISAGREES, Metric.DISAGREEMENT)])
def test_a_release_with_a_bad_rate_never_completes(
    devices: int, behaviour: Behaviour, metric: Metric
) -> None:
    tally = campaign(scenario(devices, behaviour), range(50))
    assert tally.count(RolloutOutcome.COMPLETED) == 0
    assert rolled_back(tally) + tally.count(RolloutOutcome.HELD) == 50
    assert rolled_back(tally) >= 40
    assert set(tally.gates) <= {metric, Metric.LATENCY_P95}


@pytest.mark.parametrize("devices", range(1, 10))
@pytest.mark.parametrize("behaviour", [ERRORS, DISAGREES])
def test_small_cohorts_hold_rather_than_complete_a_bad_rate(devices: int, behaviour: Behaviour) -> None:
    """They have less power: most are rolled back or held; a few single devices simply are lucky ones."""
    tally = campaign(scenario(devices, behaviour), range(40))
    assert tally.count(RolloutOutcome.COMPLETED) <= (4 if devices < 5 else 1)


def test_what_shows_only_live_never_leaves_the_canary() -> None:
    bad_live = replace(scenario(10), live=Behaviour(disagreement=0.5))
    for seed in range(30):
        found = run(bad_live, Random(seed)).classes["a"]
        assert found.state is ClassState.ROLLED_BACK
        last = found.decisions[-1]
        assert (last.stopped_in, last.stage, last.gate) == (Mode.LIVE, 1, Metric.DISAGREEMENT)
        assert found.served <= 10


def test_a_release_that_bricks_devices_is_stopped_by_silence() -> None:
    for seed in range(20):
        found = run(replace(scenario(10), live=Behaviour(bricks=True)), Random(seed)).classes["a"]
        assert found.state is ClassState.ROLLED_BACK
        assert (found.decisions[-1].gate, found.decisions[-1].stage) == (Metric.SILENCE, 1)
        assert found.windows <= 6 + 12
        assert found.served <= 10


def test_lost_accuracy_is_seen_in_the_first_window() -> None:
    found = run(replace(scenario(10), golden_drop=8), Random(1)).classes["a"]
    assert (found.state, found.windows, found.stage) == (ClassState.ROLLED_BACK, 1, 0)
    assert found.decisions[-1].gate is Metric.GOLDEN


def test_a_better_model_that_disagrees_is_excused_where_the_plan_says_so() -> None:
    better = replace(scenario(10, Behaviour(disagreement=0.06)), golden_drop=-3)
    assert run(better, Random(1)).outcome is RolloutOutcome.ROLLED_BACK
    gates = tuple(
        replace(gate, unless=Unless.GOLDEN_BETTER) if gate.metric is Metric.DISAGREEMENT else gate
        for gate in better.plan.gates
    )
    excused = replace(better, plan=replace(better.plan, gates=gates))
    found = run(excused, Random(1))
    assert found.outcome is RolloutOutcome.COMPLETED
    assert "excused: disagreement" in found.classes["a"].decisions[-1].sentence


# ------------------------------------------------------------------------------------- several classes


def test_classes_end_apart_or_together_as_the_plan_says() -> None:
    apart = Scenario(plan(10), {"a": 10, "b": 10, "c": 10})
    for seed in range(5):
        assert run(apart, Random(seed)).outcome is RolloutOutcome.COMPLETED
    together = replace(apart, plan=replace(apart.plan, advance=Advance.TOGETHER))
    found = run(together, Random(1))
    assert found.outcome is RolloutOutcome.COMPLETED
    promoted = [
        [(d.action, d.stage) for d in found.classes[name].decisions if d.action is not Action.WAIT]
        for name in "abc"
    ]
    assert promoted[0] == promoted[1] == promoted[2]


SMALL_FLEET = RolloutPlan(
    "sim:1.1",
    (
        Stage("shadow", Mode.SHADOW, devices=2, min_bake_s=4, deadline_s=600),
        Stage("canary", Mode.LIVE, devices=1, min_bake_s=4, deadline_s=600, min_devices=1),
        Stage("all", Mode.LIVE, percent=100, min_bake_s=4, deadline_s=600),
    ),
    gates=(
        Gate(Metric.LATENCY_P50, 0.5, 1.0),
        Gate(Metric.ERRORS, 0.02),
        Gate(Metric.DISAGREEMENT, 0.06, 0.12),
        Gate(Metric.GOLDEN, 0.04),
        Gate(Metric.SILENCE, 0.05, after_missed=10),
    ),
    window_s=2.0,
    min_devices=2,
    probation_s=4.0,
)
"""Two devices per class, windows of two seconds, one device in the canary (docs/reference/gates.md)."""

SMALL = Scenario(SMALL_FLEET, {"x": 2, "y": 2, "z": 2}, noise=Noise(0.15, 0.05), inputs=40)


def test_a_small_fleet_decides_in_the_windows_that_the_documentation_promises() -> None:
    model = Behaviour(errors=0.0, disagreement=0.03)
    tally = campaign(replace(SMALL, shadow=model, live=model, classes={"x": 2}), range(40))
    assert tally.count(RolloutOutcome.COMPLETED) >= 30
    clean = campaign(replace(SMALL, shadow=Behaviour(0, 0, 0), live=Behaviour(0, 0, 0)), range(10))
    assert clean.count(RolloutOutcome.COMPLETED) == 10
    assert quantile(clean.windows, 1.0) == 13 + 26 + 13


@pytest.mark.parametrize(
    ("behaviour", "metric"),
    [
        (Behaviour(latency=1.6, errors=0.0, disagreement=0.0), Metric.LATENCY_P50),
        (Behaviour(errors=0.0, disagreement=0.3), Metric.DISAGREEMENT),
        (Behaviour(errors=0.2, disagreement=0.0), Metric.ERRORS),
    ],
)
def test_a_small_fleet_still_stops_what_is_plainly_bad(behaviour: Behaviour, metric: Metric) -> None:
    tally = campaign(replace(SMALL, shadow=behaviour, live=behaviour), range(40))
    assert rolled_back(tally) >= 38
    assert tally.stopped_in_first >= 38
    assert max(tally.gates, key=lambda gate: tally.gates[gate]) is metric


def test_a_small_fleet_says_that_its_evidence_is_weaker() -> None:
    found = run(replace(SMALL, shadow=Behaviour(0, 0, 0), live=Behaviour(0, 0, 0)), Random(1))
    for item in found.classes.values():
        assert all("small-fleet plan: weaker evidence" in made.sentence for made in item.decisions)


def test_fewer_devices_than_the_plan_wants_hold_for_a_person() -> None:
    found = run(Scenario(plan(10), {"a": 4}), Random(1))
    assert found.outcome is RolloutOutcome.HELD
    assert found.classes["a"].decisions[-1].reason is Reason.FEW_DEVICES


# ------------------------------------------------------------------------------------------ invariants

scenarios = st.builds(
    lambda sizes, stages, advance, policy, small, shadow, live, rogues: Scenario(
        RolloutPlan(
            "sim:1.1",
            (
                Stage("shadow", Mode.SHADOW, devices=stages[0], deadline_s=20 * 300),
                Stage("canary", Mode.LIVE, devices=stages[1], deadline_s=20 * 300),
                Stage("part", Mode.LIVE, percent=stages[2], deadline_s=20 * 300),
                Stage("all", Mode.LIVE, percent=100, deadline_s=20 * 300),
            ),
            advance=advance,
            on_inconclusive=policy,
            min_devices=1 if small else 4,
            min_rounds=3,
        ),
        {f"c{k}": size for k, size in enumerate(sizes)},
        shadow=shadow,
        live=live,
        rogues=rogues,
        rogue=Behaviour(latency=1.0),
        windows=200,
    ),
    st.lists(st.integers(1, 9), min_size=1, max_size=2),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.floats(1, 99)),
    st.sampled_from(Advance),
    st.sampled_from(OnInconclusive),
    st.booleans(),
    st.sampled_from([GOOD, SLOW, Behaviour(disagreement=0.2)]),
    st.sampled_from([GOOD, Behaviour(errors=0.5), Behaviour(bricks=True)]),
    st.integers(0, 2),
)


@settings(max_examples=40)
@given(scenarios, st.integers(0, 2**32))
def test_a_rollout_ends_never_exceeds_its_cohorts_and_repeats_exactly(what: Scenario, seed: int) -> None:
    found = run(what, Random(seed))
    assert found.outcome is not None
    for item in found.classes.values():
        assert item.overfull == 0
        stages = [d.to_stage for d in item.decisions if d.action is Action.PROMOTE]
        assert stages == sorted(set(stages), key=lambda s: s or 0)  # one after the other, each once
        first_live = what.plan.stages[1].devices
        if item.stage <= 1:
            assert item.served <= (first_live or 0)
    assert run(what, Random(seed)) == found


def test_binomial_numbers_have_the_right_mean() -> None:
    rng = Random(5)
    for share in (0.0, 0.001, 0.05, 0.5, 0.8, 1.0):
        mean = sum(binomial(rng, 200, share) for _ in range(3000)) / 3000
        assert abs(mean - 200 * share) <= 5 * (200 * share * (1 - share) / 3000) ** 0.5 + 1e-9


def test_bounds_are_the_exact_ones() -> None:
    assert upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert tail(1, 10, 0.1) == pytest.approx(1 - 0.9**10)
    assert (tail(0, 10, 0.1), tail(1, 10, 0.0), upper_bound(10, 10)) == (1.0, 0.0, 1.0)
    assert (quantile([], 0.5), quantile([1, 2, 3], 0.5), quantile([1, 2, 3], 1.0)) == (None, 2, 3)
