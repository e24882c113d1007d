"""Resources: the documented file is read, everything else is refused by path, and writing gives it back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.files.resource import (
    FleetRollout,
    from_json,
    kind_of,
    read_device_class,
    read_rollout,
    write_device_class,
    write_rollout,
)
from modelfleet_core.files.shorthand import rollout_resource
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.rollout.gate import DEFAULT_GATES, SILENCE_GATE, Gate, Metric, Unless
from modelfleet_core.rollout.plan import Advance, OnInconclusive, RolloutPlan, Stage
from modelfleet_core.wire.codec import decode, encode
from modelfleet_core.wire.director import Mode

FILE = """
apiVersion: modelfleet.dev/v1alpha1
kind: FleetRollout
metadata: {name: digits-1-1}
spec:
  release: digits:1.1
  selector: {matchLabels: {site: north}}
  advance: perClass
  window: 5m
  minDevices: 10
  complete: {committed: 95%}
  stages:
    - {name: shadow, mode: shadow, devices: 10, minBake: 30m, deadline: 24h}
    - {name: canary, mode: live, percent: 5, minBake: 1h, deadline: 24h}
    - {name: all, mode: live, percent: 100, minBake: 1h, deadline: 72h}
  gates:
    - {metric: latency_p95, tolerance: 5%, limit: 10%}
    - {metric: errors, tolerance: 0.5%}
    - {metric: disagreement, tolerance: 2%, unless: goldenBetter}
    - {metric: golden, tolerance: 2pt}
  onInconclusive: hold
  falseRollback: 5%
  limits: {bandwidth: 10Mbit/s}
"""


def resource() -> dict[str, Any]:
    loaded = yaml.safe_load(FILE)
    assert isinstance(loaded, dict)
    return loaded


def changed(path: str, value: object) -> dict[str, Any]:
    """The file with one field set; `None` removes it."""
    whole = copy.deepcopy(resource())
    at: Any = whole
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return whole


def refusal(path: str, value: object) -> CallerError:
    with pytest.raises(CallerError) as refused:
        read_rollout(changed(path, value))
    return refused.value


def test_the_documented_file_is_read() -> None:
    found = read_rollout(resource())
    assert found == FleetRollout(
        "digits-1-1",
        RolloutPlan(
            "digits:1.1",
            (
                Stage("shadow", Mode.SHADOW, devices=10, min_bake_s=1800.0, deadline_s=86_400.0),
                Stage("canary", Mode.LIVE, percent=5.0, min_bake_s=3600.0, deadline_s=86_400.0),
                Stage("all", Mode.LIVE, percent=100.0, min_bake_s=3600.0, deadline_s=259_200.0),
            ),
            match_labels={"site": "north"},
            gates=(
                Gate(Metric.LATENCY_P95, 0.05, 0.10),
                Gate(Metric.ERRORS, 0.005),
                Gate(Metric.DISAGREEMENT, 0.02, unless=Unless.GOLDEN_BETTER),
                Gate(Metric.GOLDEN, 0.02),
                SILENCE_GATE,
            ),
            bandwidth=1_250_000.0,
        ),
    )


def test_absent_gates_are_the_defaults_and_are_shown() -> None:
    found = read_rollout(changed("spec.gates", None))
    assert found.plan.gates == DEFAULT_GATES
    written: Any = write_rollout(found)
    assert [gate["metric"] for gate in written["spec"]["gates"]] == [
        gate.metric.value for gate in DEFAULT_GATES
    ]


def test_no_gates_need_a_reason_from_the_file_or_the_command() -> None:
    empty = changed("spec.gates", [])
    assert refusal("spec.gates", []).code is Code.PLAN_NO_GATES
    found = read_rollout(empty, no_gates_reason="bench")
    assert found.plan.gates == ()
    assert read_rollout(write_rollout(found)) == found


def test_silence_may_be_set_and_is_watched_otherwise() -> None:
    gates = [
        {"metric": "errors", "tolerance": "1%"},
        {"metric": "silence", "tolerance": "10%", "afterMissed": 8},
    ]
    found = read_rollout(changed("spec.gates", gates)).plan
    assert found.gates[1] == Gate(Metric.SILENCE, 0.1, after_missed=8)
    assert read_rollout(changed("spec.gates", gates[:1])).plan.gates[1] == SILENCE_GATE


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.retry", {"attempts": 3}),
        ("spec.maintenanceWindows", []),
        ("spec.delta", {"onFailure": "full"}),
        ("spec.selector.group", "north"),
        ("spec.limits.maxUnavailable", "5%"),
        ("spec.limits.bytesPerDevice", "20MB"),
        ("spec.gates.0.mode", "dryRun"),
        ("spec.stages.0.onInconclusive", "hold"),
    ],
)
def test_what_is_not_enforced_yet_is_refused(path: str, value: object) -> None:
    found = refusal(path, value)
    assert found.code is Code.FIELD_NOT_SUPPORTED
    assert "not supported in this version" in found.happened


def test_a_group_in_place_of_labels_is_not_supported_rather_than_missing() -> None:
    assert refusal("spec.selector", {"group": "north"}).code is Code.FIELD_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("spec.min_devices", 3, "minDevices"),
        ("spec.minDevice", 3, "minDevices"),
        ("spec.Window", "5m", "window"),
        ("spec.stages.1.percentage", 4, "percent"),
        ("spec.gates.0.tolerence", "5%", "tolerance"),
        ("metadata.nmae", "x", "name"),
        ("metadate", {}, "metadata"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(path: str, value: object, meant: str) -> None:
    found = refusal(path, value)
    assert found.code is Code.FIELD_UNKNOWN
    assert f"did you mean {meant!r}?" in found.happened


def test_a_field_like_no_other_is_refused_without_a_guess() -> None:
    found = refusal("spec.zzz", 1)
    assert found.code is Code.FIELD_UNKNOWN
    assert "did you mean" not in found.happened
    assert found.todo == "drop spec.zzz"


@pytest.mark.parametrize(
    ("path", "value", "code", "why"),
    [
        ("spec.release", None, Code.FIELD_MISSING, "spec.release"),
        ("spec.selector", None, Code.FIELD_MISSING, "spec.selector"),
        ("spec.stages", None, Code.FIELD_MISSING, "spec.stages"),
        ("spec.stages.0.mode", None, Code.FIELD_MISSING, "spec.stages[0].mode"),
        ("spec.gates.1.tolerance", None, Code.PLAN_GATE_NO_TOLERANCE, "spec.gates[1].tolerance"),
        ("spec.stages.2.percent", 120, Code.FIELD_OUT_OF_RANGE, "spec.stages[2].percent: 120 percent"),
        ("spec.stages.2.percent", 4, Code.PLAN_STAGES_SHRINK, "spec.stages[2].percent"),
        ("spec.stages.2.percent", "100%", Code.FIELD_WRONG_TYPE, "spec.stages[2].percent"),
        ("spec.stages.0.devices", 1.5, Code.FIELD_WRONG_TYPE, "spec.stages[0].devices"),
        ("spec.stages.0.devices", True, Code.FIELD_WRONG_TYPE, "spec.stages[0].devices"),
        ("spec.stages.0.mode", "shdow", Code.FIELD_OUT_OF_RANGE, "did you mean 'shadow'?"),
        ("spec.stages", "all", Code.FIELD_WRONG_TYPE, "spec.stages"),
        ("spec.stages.0", "all", Code.FIELD_WRONG_TYPE, "spec.stages[0]"),
        ("spec.window", 300, Code.FIELD_WRONG_TYPE, "spec.window"),
        ("spec.window", "5 minutes", Code.FIELD_WRONG_TYPE, "spec.window"),
        ("spec.falseRollback", 0.05, Code.FIELD_WRONG_TYPE, "spec.falseRollback"),
        ("spec.gates.3.tolerance", "2%", Code.FIELD_WRONG_TYPE, "spec.gates[3].tolerance"),
        ("spec.gates.0.limit", "5%", Code.PLAN_LIMIT, "spec.gates[0].limit"),
        ("spec.gates.0.metric", "latency_95", Code.FIELD_OUT_OF_RANGE, "latency_p95"),
        ("spec.gates.0.unless", "goldenBetter", Code.PLAN_GATE_FIELD, "spec.gates[0].unless"),
        ("spec.advance", "per_class", Code.FIELD_OUT_OF_RANGE, "did you mean 'perClass'?"),
        ("spec.selector.matchLabels", {"site": 1}, Code.FIELD_WRONG_TYPE, "spec.selector.matchLabels.site"),
        ("spec.selector.matchLabels", {1: "x"}, Code.FIELD_WRONG_TYPE, "spec.selector.matchLabels"),
        ("spec.limits.bandwidth", "fast", Code.FIELD_WRONG_TYPE, "spec.limits.bandwidth"),
        ("metadata.name", "Digits 1", Code.FIELD_OUT_OF_RANGE, "metadata.name"),
        ("metadata.name", "x" * 2000, Code.FIELD_OUT_OF_RANGE, "metadata.name"),
        ("apiVersion", "v1", Code.FILE_NOT_A_RESOURCE, "apiVersion"),
        ("kind", "Deployment", Code.FILE_NOT_A_RESOURCE, "Deployment"),
        ("kind", "DeviceClass", Code.FILE_NOT_A_RESOURCE, "DeviceClass"),
    ],
)
def test_a_wrong_field_is_refused_by_path(path: str, value: object, code: Code, why: str) -> None:
    found = refusal(path, value)
    assert found.code is code
    assert why in found.happened or why in found.expected
    assert found.todo


@pytest.mark.parametrize("thing", [None, [], "text", 5, {}, {"apiVersion": "modelfleet.dev/v1alpha1"}])
def test_what_is_no_resource_is_refused(thing: object) -> None:
    with pytest.raises(CallerError) as refused:
        kind_of(thing)
    assert refused.value.code is Code.FILE_NOT_A_RESOURCE


@pytest.mark.parametrize("text", ["", "[]", "{", "NaN", "[" * 10_000, '"' + "x" * 300_000 + '"'])
def test_json_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as refused:
        from_json(text)
    assert refused.value.code is Code.FILE_NOT_A_RESOURCE


labels = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text("abc-1.", min_size=1, max_size=9), max_size=3
)
ratios = st.floats(0.001, 0.4)
gates = st.lists(
    st.one_of(
        st.builds(lambda t, k: Gate(Metric.LATENCY_P95, t, t * k), ratios, st.floats(1.01, 4)),
        st.builds(lambda t: Gate(Metric.LATENCY_P50, t), st.floats(0.001, 9)),
        st.builds(lambda t: Gate(Metric.ERRORS, t), ratios),
        st.builds(lambda t: Gate(Metric.DISAGREEMENT, t), ratios),
        st.builds(lambda t, f: Gate(Metric.GOLDEN, t, floor=f), ratios, st.none() | ratios),
    ),
    min_size=1,
    unique_by=lambda gate: gate.metric,
).map(lambda found: (*found, SILENCE_GATE))
stage_sizes = st.lists(st.floats(0.01, 100), min_size=1, max_size=4).map(sorted)


@st.composite
def plans(draw: st.DrawFn) -> RolloutPlan:
    bake = st.just(0.0) | st.floats(1e-3, 1e5)
    stages = [
        Stage(
            f"live-{k}",
            Mode.LIVE,
            percent=percent,
            min_bake_s=(b := draw(bake)),
            deadline_s=b + draw(st.floats(1, 1e5)),
        )
        for k, percent in enumerate(draw(stage_sizes))
    ]
    if draw(st.booleans()):
        stages.insert(
            0,
            Stage(
                "shadow",
                Mode.SHADOW,
                devices=draw(st.integers(1, 99)),
                min_devices=draw(st.none() | st.integers(1, 9)),
            ),
        )
    none = draw(st.booleans())
    return RolloutPlan(
        "digits:1.1",
        tuple(stages),
        match_labels=draw(labels),
        gates=() if none else draw(gates),
        no_gates_reason="why not" if none else None,
        advance=draw(st.sampled_from(Advance)),
        window_s=draw(st.floats(1, 86_400)),
        min_devices=draw(st.integers(1, 1000)),
        min_rounds=draw(st.integers(1, 100)),
        committed=draw(st.floats(0.5, 1)),
        reached=draw(st.sampled_from([0.0, 0.5, 0.25, 1.0])),
        on_inconclusive=draw(st.sampled_from(OnInconclusive)),
        false_rollback=draw(st.floats(0.0001, 0.5)),
        bandwidth=draw(st.none() | st.floats(1, 1e9)),
        probation_s=draw(st.sampled_from([0.0, 2.0, 600.0])),
        reverse_share=draw(st.sampled_from([0.0, 0.05, 1.0])),
    )


@given(plans())
def test_a_plan_written_and_read_is_the_same_plan(plan: RolloutPlan) -> None:
    rollout = FleetRollout("some-name", plan)
    written = write_rollout(rollout)
    assert read_rollout(written) == rollout
    assert read_rollout(from_json(encode(written).decode())) == rollout
    assert read_rollout(yaml.safe_load(yaml.safe_dump(written))) == rollout
    assert decode(encode(plan), RolloutPlan, what="plan") == plan


@pytest.mark.parametrize("device_class", SHIPPED, ids=lambda c: c.name)
def test_a_class_written_and_read_is_the_same_class(device_class: DeviceClass) -> None:
    assert read_device_class(yaml.safe_load(yaml.safe_dump(write_device_class(device_class)))) == device_class


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"runtime": "onnxruntime"}, Code.FIELD_MISSING),
        ({"architectures": [], "runtime": "onnxruntime"}, Code.FIELD_OUT_OF_RANGE),
        ({"architectures": ["x86_64"], "runtime": "ort", "runtimeMinimum": 1.17}, Code.FIELD_WRONG_TYPE),
        ({"architectures": "x86_64", "runtime": "ort"}, Code.FIELD_WRONG_TYPE),
        ({"architectures": ["x86_64"], "runtime": "ort", "minMemory": 5}, Code.FIELD_WRONG_TYPE),
        ({"architectures": ["x86_64"], "runtime": "ort", "expectedOffline": "yes"}, Code.FIELD_WRONG_TYPE),
        ({"architectures": ["x86_64"], "runtime": "ort", "acelerators": []}, Code.FIELD_UNKNOWN),
    ],
)
def test_an_impossible_class_is_refused(spec: dict[str, object], code: Code) -> None:
    whole = {
        "apiVersion": "modelfleet.dev/v1alpha1",
        "kind": "DeviceClass",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    with pytest.raises(CallerError) as refused:
        read_device_class(whole)
    assert refused.value.code is code


def test_the_shorthand_of_the_command_line_is_a_resource() -> None:
    found = read_rollout(rollout_resource("digits:1.1", "site=north,lane=2", "1%,12.5%,100%", "1d"))
    assert found.name == "digits-1-1"
    assert found.plan.match_labels == {"site": "north", "lane": "2"}
    assert [(s.name, s.mode, s.devices, s.percent) for s in found.plan.stages] == [
        ("shadow", Mode.SHADOW, 10, None),
        ("live-1", Mode.LIVE, None, 1.0),
        ("live-12.5", Mode.LIVE, None, 12.5),
        ("live-100", Mode.LIVE, None, 100.0),
    ]
    assert found.plan.stages[0].deadline_s == 2 * 86_400
    assert read_rollout(rollout_resource("digits:1.1", "all", "100%", None)).plan.match_labels == {}


@pytest.mark.parametrize(
    ("selector", "stages", "shadow"), [("site", "1%", "1h"), ("a=b", "1", "1h"), ("a=b", "1%", "long")]
)
def test_a_shorthand_that_cannot_be_understood_is_refused(selector: str, stages: str, shadow: str) -> None:
    with pytest.raises(CallerError) as refused:
        rollout_resource("digits:1.1", selector, stages, shadow)
    assert refused.value.code is Code.FIELD_WRONG_TYPE
