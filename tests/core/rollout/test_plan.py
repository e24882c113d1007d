"""What a plan may be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.rollout.gate import DEFAULT_GATES, Gate, Metric, Unless
from modelfleet_core.rollout.plan import RolloutPlan, Stage
from modelfleet_core.wire.codec import decode, encode
from modelfleet_core.wire.director import Mode

SHADOW = Stage("shadow", Mode.SHADOW, devices=10)
CANARY = Stage("canary", Mode.LIVE, percent=5)
ALL = Stage("all", Mode.LIVE, percent=100)
PLAN = RolloutPlan("digits:1.1", (SHADOW, CANARY, ALL))


def test_the_plan_of_the_documentation_is_accepted() -> None:
    assert PLAN.slot == "digits"
    assert PLAN.bets == 4
    assert not PLAN.small_fleet
    assert PLAN.min_devices_of(1) == 10
    assert [PLAN.is_last(k) for k in range(3)] == [False, False, True]


def test_a_plan_passes_the_wire() -> None:
    plan = replace(PLAN, match_labels={"site": "north"}, bandwidth=1e6)
    assert decode(encode(plan), RolloutPlan, what="plan") == plan


def test_fewer_devices_than_ten_anywhere_is_a_small_fleet_plan() -> None:
    assert replace(PLAN, min_devices=2).small_fleet
    assert replace(PLAN, stages=(SHADOW, replace(CANARY, min_devices=1), ALL)).small_fleet


def test_a_live_canary_may_be_smaller_than_the_shadow_stage() -> None:
    assert replace(PLAN, stages=(SHADOW, Stage("canary", Mode.LIVE, devices=1), ALL)).stages[1].devices == 1


STAGES: list[tuple[tuple[Stage, ...], Code, str]] = [
    ((), Code.FIELD_OUT_OF_RANGE, "stages"),
    ((ALL,) * 33, Code.FIELD_OUT_OF_RANGE, "33 stages"),
    ((SHADOW,), Code.PLAN_STAGE_ORDER, "nothing would ever be committed"),
    ((ALL, SHADOW, ALL), Code.PLAN_STAGE_ORDER, "comes after live stage"),
    (
        (SHADOW, replace(CANARY, percent=50), replace(ALL, percent=20)),
        Code.PLAN_STAGES_SHRINK,
        "from 50 to 20",
    ),
    (
        (Stage("a", Mode.LIVE, devices=9), Stage("b", Mode.LIVE, devices=8)),
        Code.PLAN_STAGES_SHRINK,
        "stages[1].devices",
    ),
    (
        (Stage("a", Mode.SHADOW, devices=9), Stage("b", Mode.SHADOW, devices=8), ALL),
        Code.PLAN_STAGES_SHRINK,
        "9 to 8",
    ),
    (
        (
            Stage("a", Mode.LIVE, percent=9),
            Stage("b", Mode.LIVE, devices=5),
            Stage("c", Mode.LIVE, percent=8),
        ),
        Code.PLAN_STAGES_SHRINK,
        "stages[2].percent",
    ),
    ((ALL, ALL), Code.FIELD_OUT_OF_RANGE, "used twice"),
    ((replace(ALL, name="All!"),), Code.FIELD_OUT_OF_RANGE, "stages[0].name"),
    ((replace(ALL, mode=Mode.WITHDRAWN),), Code.FIELD_OUT_OF_RANGE, "stages[0].mode"),
    ((Stage("a", Mode.LIVE),), Code.PLAN_STAGE_SIZE, "neither devices nor percent"),
    ((Stage("a", Mode.LIVE, devices=1, percent=1),), Code.PLAN_STAGE_SIZE, "both devices and percent"),
    ((replace(ALL, percent=101),), Code.FIELD_OUT_OF_RANGE, "stages[0].percent: 101 percent"),
    ((replace(ALL, percent=0),), Code.FIELD_OUT_OF_RANGE, "stages[0].percent"),
    ((replace(ALL, percent=math.nan),), Code.FIELD_OUT_OF_RANGE, "stages[0].percent"),
    ((Stage("a", Mode.LIVE, devices=0),), Code.FIELD_OUT_OF_RANGE, "stages[0].devices"),
    ((replace(ALL, min_bake_s=-1),), Code.FIELD_OUT_OF_RANGE, "stages[0].minBake"),
    ((replace(ALL, deadline_s=math.inf),), Code.FIELD_OUT_OF_RANGE, "stages[0].deadline"),
    ((replace(ALL, min_bake_s=60, deadline_s=60),), Code.PLAN_DEADLINE, "not after minBake"),
    ((replace(ALL, min_devices=0),), Code.FIELD_OUT_OF_RANGE, "stages[0].minDevices"),
]


@pytest.mark.parametrize(("stages", "code", "why"), STAGES)
def test_impossible_stages_are_refused(stages: tuple[Stage, ...], code: Code, why: str) -> None:
    with pytest.raises(CallerError) as refused:
        replace(PLAN, stages=stages)
    assert refused.value.code is code
    assert why in refused.value.happened


GATES: list[tuple[tuple[Gate, ...], Code, str]] = [
    ((), Code.PLAN_NO_GATES, "empty"),
    ((Gate(Metric.ERRORS, 0.01), Gate(Metric.ERRORS, 0.02)), Code.FIELD_OUT_OF_RANGE, "second gate"),
    ((Gate(Metric.ERRORS, 0.0),), Code.FIELD_OUT_OF_RANGE, "gates[0].tolerance"),
    ((Gate(Metric.ERRORS, 0.5),), Code.FIELD_OUT_OF_RANGE, "gates[0].tolerance"),
    ((Gate(Metric.LATENCY_P95, math.nan),), Code.FIELD_OUT_OF_RANGE, "gates[0].tolerance"),
    ((Gate(Metric.LATENCY_P95, 0.1, limit=0.1),), Code.PLAN_LIMIT, "not above the tolerance"),
    ((Gate(Metric.ERRORS, 0.1, limit=0.05),), Code.PLAN_LIMIT, "gates[0].limit"),
    ((Gate(Metric.ERRORS, 0.1, limit=1.0),), Code.FIELD_OUT_OF_RANGE, "gates[0].limit"),
    ((Gate(Metric.GOLDEN, 0.02, limit=0.05),), Code.PLAN_GATE_FIELD, "gates[0].limit"),
    ((Gate(Metric.SILENCE, 0.05, limit=0.1),), Code.PLAN_GATE_FIELD, "gates[0].limit"),
    ((Gate(Metric.ERRORS, 0.01, unless=Unless.GOLDEN_BETTER),), Code.PLAN_GATE_FIELD, "gates[0].unless"),
    ((Gate(Metric.DISAGREEMENT, 0.01, unless=Unless.GOLDEN_BETTER),), Code.PLAN_GATE_FIELD, "no golden gate"),
    ((Gate(Metric.ERRORS, 0.01, floor=0.9),), Code.PLAN_GATE_FIELD, "gates[0].floor"),
    ((Gate(Metric.GOLDEN, 0.01, floor=1.9),), Code.FIELD_OUT_OF_RANGE, "gates[0].floor"),
    ((Gate(Metric.ERRORS, 0.01, after_missed=3),), Code.PLAN_GATE_FIELD, "gates[0].afterMissed"),
    ((Gate(Metric.SILENCE, 0.01, after_missed=0),), Code.FIELD_OUT_OF_RANGE, "gates[0].afterMissed"),
]


@pytest.mark.parametrize(("gates", "code", "why"), GATES)
def test_impossible_gates_are_refused(gates: tuple[Gate, ...], code: Code, why: str) -> None:
    with pytest.raises(CallerError) as refused:
        replace(PLAN, gates=gates)
    assert refused.value.code is code
    assert why in refused.value.happened


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"release": "digits"}, "release"),
    ({"release": "Digits:1"}, "release"),
    ({"release": "digits:1:2"}, "release"),
    ({"match_labels": {"Site": "x"}}, "selector.matchLabels"),
    ({"match_labels": {"site": ""}}, "selector.matchLabels"),
    ({"match_labels": {f"k{k}": "v" for k in range(33)}}, "selector.matchLabels"),
    ({"window_s": 0.5}, "window"),
    ({"window_s": math.nan}, "window"),
    ({"window_s": 90_000.0}, "window"),
    ({"min_devices": 0}, "minDevices"),
    ({"min_rounds": 0}, "minRounds"),
    ({"committed": 1.01}, "complete.committed"),
    ({"reached": -0.1}, "complete.reached"),
    ({"false_rollback": 0.0}, "falseRollback"),
    ({"false_rollback": 0.9}, "falseRollback"),
    ({"probation_s": -1.0}, "probation"),
    ({"reverse_share": 1.5}, "reverseShadow"),
    ({"bandwidth": 0.0}, "limits.bandwidth"),
]


@pytest.mark.parametrize(("changes", "path"), OTHERS)
def test_amounts_out_of_range_are_refused_by_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(CallerError) as refused:
        replace(PLAN, **changes)
    assert refused.value.code is Code.FIELD_OUT_OF_RANGE
    assert refused.value.happened.startswith(path)
    assert refused.value.todo


def test_no_gates_need_a_reason_and_gates_have_none() -> None:
    assert replace(PLAN, gates=(), no_gates_reason="bench").bets == 0
    with pytest.raises(CallerError) as blank:
        replace(PLAN, gates=(), no_gates_reason="  ")
    assert blank.value.code is Code.PLAN_NO_GATES
    with pytest.raises(CallerError) as both:
        replace(PLAN, gates=DEFAULT_GATES, no_gates_reason="bench")
    assert both.value.code is Code.PLAN_NO_GATES


def test_a_limit_is_twice_the_tolerance_unless_given() -> None:
    assert Gate(Metric.ERRORS, 0.005).effective_limit == 0.01
    assert Gate(Metric.LATENCY_P95, 0.05, 0.2).effective_limit == 0.2
