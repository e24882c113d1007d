"""Resources: the camelCase files that people write, read into domain objects and written back.

The caller parses the YAML (`yaml.safe_load`) or JSON; here come mappings. The same reader serves files, the
REST API and the operator, so they refuse the same things with the same words. What a plan may be is checked
by the plan itself (`rollout.plan`); this module knows spellings alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.files import units
from modelfleet_core.files.fields import Fields, refuse
from modelfleet_core.ids import is_name
from modelfleet_core.release.device_class import DeviceClass, VariantLimits
from modelfleet_core.rollout.gate import DEFAULT_GATES, SILENCE_GATE, Gate, Metric, Unless
from modelfleet_core.rollout.plan import Advance, OnInconclusive, RolloutPlan, Stage
from modelfleet_core.wire.director import Mode

API_VERSION: Final = "modelfleet.dev/v1alpha1"
ROLLOUT_KIND: Final = "FleetRollout"
CLASS_KIND: Final = "DeviceClass"
MAX_RESOURCE_BYTES: Final = 256 * 1024

_ADVANCE: Final = {"perClass": Advance.PER_CLASS, "together": Advance.TOGETHER}
_INCONCLUSIVE: Final = {policy.value: policy for policy in OnInconclusive}
_MODES: Final = {"shadow": Mode.SHADOW, "live": Mode.LIVE}
_METRICS: Final = {metric.value: metric for metric in Metric}
_UNLESS: Final = {"goldenBetter": Unless.GOLDEN_BETTER}

# Fields of surfaces' example that this version does not enforce (semantics section 3: refused, never
# ignored).
_LATER_SPEC: Final = ("retry", "maintenanceWindows", "delta")
_LATER_SELECTOR: Final = ("group", "matchExpressions")
_LATER_LIMITS: Final = ("maxUnavailable", "bytesPerDevice")
_LATER_STAGE: Final = ("onInconclusive", "maxUnavailable")
_LATER_GATE: Final = ("mode", "weight")


@dataclass(frozen=True, slots=True)
class FleetRollout:
    """A named plan: one file."""

    name: str
    plan: RolloutPlan


def from_json(text: str) -> Mapping[str, object]:
    """The mapping in a JSON text of at most MAX_RESOURCE_BYTES.

    Raises:
        CallerError: MF-1001.
    """
    data = text.encode()
    try:
        if len(data) > MAX_RESOURCE_BYTES:
            raise ValueError(f"it has {len(data)} bytes, more than {MAX_RESOURCE_BYTES}")
        return msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _no_resource(str(error)[:300]) from error


def kind_of(resource: object) -> str:
    """`FleetRollout` or `DeviceClass`.

    Raises:
        CallerError: MF-1001, it is no resource of ours.
    """
    if not isinstance(resource, Mapping):
        raise _no_resource("it holds no mapping")
    version, kind = resource.get("apiVersion"), resource.get("kind")
    if version != API_VERSION:
        raise _no_resource(f"apiVersion is {version!r:.64}")
    if kind not in (ROLLOUT_KIND, CLASS_KIND):
        raise _no_resource(f"kind is {kind!r:.64}")
    return str(kind)


def read_rollout(resource: object, *, no_gates_reason: str | None = None) -> FleetRollout:
    """A FleetRollout resource.

    Args:
        resource: the parsed file.
        no_gates_reason: why there are no gates, when the reason is not in the file (`--no-gates --reason`).

    Raises:
        CallerError: with the path of the field; codes MF-10xx.
    """
    name, spec = _open(resource, ROLLOUT_KIND, later=_LATER_SPEC)
    reason = spec.text("noGatesReason") if spec.has("noGatesReason") else no_gates_reason
    given: dict[str, object] = {}
    release = spec.text("release")
    selector = spec.mapping("selector", later=_LATER_SELECTOR)
    labels = selector.labels("matchLabels")
    selector.close()
    if spec.has("advance"):
        given["advance"] = spec.choice("advance", _ADVANCE)
    if spec.has("window"):
        given["window_s"] = spec.amount("window", units.parse_duration)
    if spec.has("minDevices"):
        given["min_devices"] = spec.integer("minDevices")
    if spec.has("minRounds"):
        given["min_rounds"] = spec.integer("minRounds")
    if spec.has("complete"):
        complete = spec.mapping("complete")
        for key in ("committed", "reached"):
            if complete.has(key):
                given[key] = complete.amount(key, units.parse_ratio)
        complete.close()
    stages = tuple(_read_stage(path, item) for path, item in spec.items("stages"))
    gates = _read_gates(spec)
    if spec.has("onInconclusive"):
        given["on_inconclusive"] = spec.choice("onInconclusive", _INCONCLUSIVE)
    if spec.has("falseRollback"):
        given["false_rollback"] = spec.amount("falseRollback", units.parse_ratio)
    if spec.has("probation"):
        given["probation_s"] = spec.amount("probation", units.parse_duration)
    if spec.has("reverseShadow"):
        given["reverse_share"] = spec.amount("reverseShadow", units.parse_ratio)
    if spec.has("limits"):
        limits = spec.mapping("limits", later=_LATER_LIMITS)
        if limits.has("bandwidth"):
            given["bandwidth"] = limits.amount("bandwidth", units.parse_rate)
        limits.close()
    spec.close()
    given |= {"match_labels": labels, "gates": gates, "no_gates_reason": reason}
    return FleetRollout(name, _plan(release, stages, given))


def write_rollout(rollout: FleetRollout) -> dict[str, object]:
    """The resource of a rollout, every field spelled out; `read_rollout` gives the same rollout again."""
    plan = rollout.plan
    spec: dict[str, object] = {
        "release": plan.release,
        "selector": {"matchLabels": dict(plan.match_labels)},
        "advance": _key_of(_ADVANCE, plan.advance),
        "window": units.format_duration(plan.window_s),
        "minDevices": plan.min_devices,
        "minRounds": plan.min_rounds,
        "complete": {
            "committed": units.format_ratio(plan.committed),
            "reached": units.format_ratio(plan.reached),
        },
        "stages": [_write_stage(stage) for stage in plan.stages],
        "gates": [_write_gate(gate) for gate in plan.gates],
        "onInconclusive": plan.on_inconclusive.value,
        "falseRollback": units.format_ratio(plan.false_rollback),
        "probation": units.format_duration(plan.probation_s),
        "reverseShadow": units.format_ratio(plan.reverse_share),
    }
    if plan.bandwidth is not None:
        spec["limits"] = {"bandwidth": units.format_rate(plan.bandwidth)}
    if plan.no_gates_reason is not None:
        spec["noGatesReason"] = plan.no_gates_reason
    return _resource(ROLLOUT_KIND, rollout.name, spec)


def read_device_class(resource: object) -> DeviceClass:
    """A DeviceClass resource.

    Raises:
        CallerError: with the path of the field; codes MF-10xx.
    """
    name, spec = _open(resource, CLASS_KIND)
    found = {
        "architectures": spec.texts("architectures"),
        "runtime": spec.text("runtime"),
        "runtime_minimum": spec.text("runtimeMinimum") if spec.has("runtimeMinimum") else "0",
        "runtime_below": spec.text("runtimeBelow") if spec.has("runtimeBelow") else None,
        "min_memory_bytes": spec.amount("minMemory", units.parse_size) if spec.has("minMemory") else 0,
        "accelerators": spec.texts("accelerators") if spec.has("accelerators") else (),
        "recipes": spec.texts("recipes") if spec.has("recipes") else ("fp32",),
        "optimizer": spec.text("optimizer") if spec.has("optimizer") else "",
        "options": spec.labels("options") if spec.has("options") else {},
        "limits": _read_limits(spec),
        "objective": spec.text("objective") if spec.has("objective") else "",
        "priority": spec.integer("priority") if spec.has("priority") else 0,
        "expected_offline": spec.boolean("expectedOffline") if spec.has("expectedOffline") else False,
        "labels": spec.labels("labels") if spec.has("labels") else {},
    }
    spec.close()
    try:
        return DeviceClass(name=name, **found)  # type: ignore[arg-type] # each key has its field's type
    except ValueError as error:
        refuse(Code.FIELD_OUT_OF_RANGE, "spec", str(error), expected="a class that a device can match")


def write_device_class(device_class: DeviceClass) -> dict[str, object]:
    """The resource of a device class, every field spelled out."""
    spec: dict[str, object] = {
        "architectures": list(device_class.architectures),
        "runtime": device_class.runtime,
        "runtimeMinimum": device_class.runtime_minimum,
        "minMemory": units.format_size(device_class.min_memory_bytes),
        "accelerators": list(device_class.accelerators),
        "recipes": list(device_class.recipes),
        "priority": device_class.priority,
        "expectedOffline": device_class.expected_offline,
        "labels": dict(device_class.labels),
    }
    if device_class.runtime_below is not None:
        spec["runtimeBelow"] = device_class.runtime_below
    if device_class.optimizer:
        spec["optimizer"] = device_class.optimizer
    if device_class.options:
        spec["options"] = dict(device_class.options)
    if device_class.objective:
        spec["objective"] = device_class.objective
    if limits := _write_limits(device_class.limits):
        spec["limits"] = limits
    return _resource(CLASS_KIND, device_class.name, spec)


def _read_limits(spec: Fields) -> VariantLimits:
    if not spec.has("limits"):
        return VariantLimits()
    fields = spec.mapping("limits")
    given: dict[str, float | int] = {}
    for key, name in (("size", "size_bytes"), ("arena", "arena_bytes")):
        if fields.has(key):
            given[name] = fields.amount(key, units.parse_size)
    if fields.has("latency"):
        given["latency_s"] = fields.amount("latency", units.parse_duration)
    for key, name in (("coverage", "min_coverage"), ("macCoverage", "min_mac_coverage")):
        if fields.has(key):
            given[name] = fields.amount(key, units.parse_ratio)
    fields.close()
    try:
        return VariantLimits(**given)  # type: ignore[arg-type] # each key has its field's type
    except ValueError as error:
        refuse(Code.FIELD_OUT_OF_RANGE, "spec.limits", str(error), expected="limits that a variant can meet")


def _write_limits(limits: VariantLimits) -> dict[str, object]:
    written: dict[str, object] = {}
    if limits.size_bytes is not None:
        written["size"] = units.format_size(limits.size_bytes)
    if limits.latency_s is not None:
        written["latency"] = units.format_duration(limits.latency_s)
    if limits.arena_bytes is not None:
        written["arena"] = units.format_size(limits.arena_bytes)
    if limits.min_coverage is not None:
        written["coverage"] = units.format_ratio(limits.min_coverage)
    if limits.min_mac_coverage is not None:
        written["macCoverage"] = units.format_ratio(limits.min_mac_coverage)
    return written


def _resource(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _open(resource: object, kind: str, *, later: tuple[str, ...] = ()) -> tuple[str, Fields]:
    """Name and spec of a resource of that kind; everything around them is read."""
    found = kind_of(resource)
    if found != kind:
        raise _no_resource(f"kind is {found!r} where {kind} is needed")
    top = Fields(resource, "")
    top.text("apiVersion")
    top.text("kind")
    metadata = top.mapping("metadata")
    name = metadata.text("name")
    metadata.close()
    spec = top.mapping("spec", later=later)
    top.close()
    if not is_name(name):
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            "metadata.name",
            f"{name[:64]!r} is not a plain name",
            expected="lower-case letters, digits, '.', '_' and '-', at most 63 characters",
        )
    return name, spec


def _read_stage(path: str, value: object) -> Stage:
    fields = Fields(value, path, later=_LATER_STAGE)
    defaults = Stage("default", Mode.LIVE)
    stage = Stage(
        name=fields.text("name"),
        mode=fields.choice("mode", _MODES),
        devices=fields.integer("devices") if fields.has("devices") else None,
        percent=fields.number("percent") if fields.has("percent") else None,
        min_bake_s=_duration(fields, "minBake", defaults.min_bake_s),
        deadline_s=_duration(fields, "deadline", defaults.deadline_s),
        min_devices=fields.integer("minDevices") if fields.has("minDevices") else None,
    )
    fields.close()
    return stage


def _duration(fields: Fields, name: str, default: float) -> float:
    return fields.amount(name, units.parse_duration) if fields.has(name) else default


def _write_stage(stage: Stage) -> dict[str, object]:
    written: dict[str, object] = {"name": stage.name, "mode": _key_of(_MODES, stage.mode)}
    if stage.devices is not None:
        written["devices"] = stage.devices
    if stage.percent is not None:
        written["percent"] = int(stage.percent) if stage.percent == int(stage.percent) else stage.percent
    if stage.min_devices is not None:
        written["minDevices"] = stage.min_devices
    written["minBake"] = units.format_duration(stage.min_bake_s)
    written["deadline"] = units.format_duration(stage.deadline_s)
    return written


def _read_gates(spec: Fields) -> tuple[Gate, ...]:
    """The gates; absent = the defaults, and silence is always watched unless there are no gates at all."""
    if not spec.has("gates"):
        return DEFAULT_GATES
    gates = tuple(_read_gate(path, item) for path, item in spec.items("gates"))
    if gates and all(gate.metric is not Metric.SILENCE for gate in gates):
        return (*gates, SILENCE_GATE)
    return gates


def _read_gate(path: str, value: object) -> Gate:
    fields = Fields(value, path, later=_LATER_GATE)
    metric = fields.choice("metric", _METRICS)
    parse = units.parse_points if metric is Metric.GOLDEN else units.parse_ratio
    if not fields.has("tolerance"):
        example = "2pt" if metric is Metric.GOLDEN else "5%"
        refuse(
            Code.PLAN_GATE_NO_TOLERANCE,
            f"{path}.tolerance",
            f"the gate on {metric} does not say what it tolerates",
            expected=f"a tolerance such as {example}",
            todo=f"add tolerance: {example} to {path}",
        )
    gate = Gate(
        metric=metric,
        tolerance=fields.amount("tolerance", parse),
        limit=fields.amount("limit", parse) if fields.has("limit") else None,
        unless=fields.choice("unless", _UNLESS) if fields.has("unless") else None,
        floor=fields.amount("floor", units.parse_ratio) if fields.has("floor") else None,
        after_missed=fields.integer("afterMissed") if fields.has("afterMissed") else None,
    )
    fields.close()
    return gate


def _write_gate(gate: Gate) -> dict[str, object]:
    write = units.format_points if gate.metric is Metric.GOLDEN else units.format_ratio
    written: dict[str, object] = {"metric": gate.metric.value, "tolerance": write(gate.tolerance)}
    if gate.limit is not None:
        written["limit"] = write(gate.limit)
    if gate.unless is not None:
        written["unless"] = _key_of(_UNLESS, gate.unless)
    if gate.floor is not None:
        written["floor"] = units.format_ratio(gate.floor)
    if gate.after_missed is not None:
        written["afterMissed"] = gate.after_missed
    return written


def _plan(release: str, stages: tuple[Stage, ...], given: dict[str, object]) -> RolloutPlan:
    """The plan; its own refusals get the path of the file."""
    try:
        return RolloutPlan(release, stages, **given)  # type: ignore[arg-type] # each key has its field's type
    except CallerError as error:
        raise CallerError(
            error.code, f"spec.{error.happened}", expected=error.expected, todo=error.todo
        ) from error


def _key_of(spelled: Mapping[str, object], value: object) -> str:
    return next(key for key, known in spelled.items() if known is value)


def _no_resource(happened: str) -> CallerError:
    return CallerError(
        Code.FILE_NOT_A_RESOURCE,
        f"this is no Modelfleet resource: {happened}",
        expected=f"a mapping with apiVersion: {API_VERSION} and kind: {ROLLOUT_KIND} or {CLASS_KIND}",
        todo="start from an example in docs/reference, or from `fleetctl export`",
    )
