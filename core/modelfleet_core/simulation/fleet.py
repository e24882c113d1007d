"""Whole rollouts in virtual time, through the real cohorts, wealths, verdicts and engine.

Nothing of the rollout is imitated here: who takes part says `rollout.cohort`, what a report is worth
`gates.scores`, what it proves `gates.judge`, what happens `rollout.engine.decide`. Simulated are the
devices (`noise.py`), the clock (one tick per window) and the switch, which succeeds at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from modelfleet_core.gates.evidence import ClassEvidence, DeviceSum, GoldenResult, Heartbeat
from modelfleet_core.gates.judge import judge_class
from modelfleet_core.gates.scores import score
from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.rollout.cohort import Cutoff, mode_of, position, resolve
from modelfleet_core.rollout.decision import Action, ClassDecision, Decision
from modelfleet_core.rollout.engine import apply, decide
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import (
    ClassProgress,
    ClassState,
    DeviceOutcome,
    OutcomeCounts,
    RolloutOutcome,
    RolloutProgress,
)
from modelfleet_core.simulation.noise import GOOD, QUIET, Behaviour, DeviceNoise, Noise, draw_devices
from modelfleet_core.wire.director import Mode

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is rolled out, and on what.

    Attributes:
        plan: the plan.
        classes: devices per class.
        shadow, live: what the candidate does in either mode.
        rogues: this many devices of each class's first cohort behave like `rogue` instead.
        rogue: see there.
        noise: of the devices.
        inputs: inputs per report.
        golden_drop: wrong answers more than the incumbent's, of 64.
        windows: the run ends after this many windows.
    """

    plan: RolloutPlan
    classes: Mapping[str, int]
    shadow: Behaviour = GOOD
    live: Behaviour = GOOD
    rogues: int = 0
    rogue: Behaviour = GOOD
    noise: Noise = QUIET
    inputs: int = 200
    golden_drop: int = 0
    windows: int = 1000


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How one class ended.

    Attributes:
        state: its state at the end.
        stage: index of its last stage.
        decisions: what changed something, in order.
        windows: until the last of them.
        reports: device-reports until then.
        served: largest number of devices that served the candidate at once.
        overfull: largest excess of members over the seats of a stage (0 unless cohorts are broken).
    """

    state: ClassState
    stage: int
    decisions: tuple[ClassDecision, ...]
    windows: int
    reports: int
    served: int
    overfull: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a rollout ended: None = it was still running when the simulation stopped."""

    outcome: RolloutOutcome | None
    classes: dict[str, ClassResult]
    windows: int


@dataclass(slots=True)
class _Device:
    name: str
    place: int
    noise: DeviceNoise
    rogue: bool = False
    mode: Mode | None = None
    accepted_at: datetime = START
    switched_at: datetime | None = None
    last_report_at: datetime | None = None
    stage_reports: int = 0


@dataclass(slots=True)
class _Class:
    name: str
    devices: list[_Device]
    cutoffs: list[Cutoff] = field(default_factory=list)
    sums: dict[Metric, dict[str, DeviceSum]] = field(default_factory=dict)
    decisions: list[ClassDecision] = field(default_factory=list)
    reports: int = 0
    reports_at_change: int = 0
    window_at_change: int = 0
    served: int = 0
    overfull: int = 0


def run(scenario: Scenario, rng: Random) -> Result:
    """One rollout from its first window to its end.

    Args:
        scenario: what to simulate.
        rng: the only source of randomness; the same seed gives the same result.
    """
    plan = scenario.plan
    salt = f"{rng.getrandbits(64):x}"
    classes = {name: _make_class(name, size, salt, scenario, rng) for name, size in scenario.classes.items()}
    now = START
    progress = RolloutProgress(
        tuple(
            ClassProgress(name, now, baseline="sim:1.0", size=size) for name, size in scenario.classes.items()
        )
    )
    for item in progress.classes:
        _begin_stage(classes[item.device_class], plan, item.stage, now)
    decision: Decision | None = None
    window = 0
    while window < scenario.windows and (decision is None or decision.outcome is None):
        began, now = now, now + timedelta(seconds=plan.window_s)
        window += 1
        verdicts: dict[str, tuple[Verdict, ...]] = {}
        observed: list[ClassProgress] = []
        for item in progress.classes:
            group = classes[item.device_class]
            if not item.state.ended:
                _report(group, scenario, item.stage, began)
                evidence = _evidence(group, scenario)
                verdicts[group.name] = judge_class(
                    plan, item.stage, item.stage_started_at, evidence, len(classes), now
                )
                item = _observe(group, plan, item, now)
            observed.append(item)
        decision = decide(plan, replace(progress, classes=tuple(observed)), verdicts, now)
        progress = apply(replace(progress, classes=tuple(observed)), decision)
        for made, item in zip(decision.classes, progress.classes, strict=True):
            if made.changes:
                _carry_out(classes[made.device_class], plan, made, item, window, now)
    results = {item.device_class: _result(classes[item.device_class], item) for item in progress.classes}
    return Result(decision.outcome if decision else None, results, window)


def _make_class(class_name: str, size: int, salt: str, scenario: Scenario, rng: Random) -> _Class:
    names = [f"dev_{class_name}_{k}" for k in range(size)]
    noises = draw_devices(size, scenario.noise, rng)
    devices = [_Device(name, position(salt, name), noise) for name, noise in zip(names, noises, strict=True)]
    for device in sorted(devices, key=lambda d: d.place)[: scenario.rogues]:
        device.rogue = True
    return _Class(class_name, devices)


def _begin_stage(group: _Class, plan: RolloutPlan, index: int, now: datetime) -> None:
    """Resolve the cutoffs up to this stage (`promote --full` skips some) and assign modes."""
    while len(group.cutoffs) <= index:
        stage = plan.stages[len(group.cutoffs)]
        same = [c for s, c in zip(plan.stages, group.cutoffs, strict=False) if s.mode is stage.mode]
        shadows = [c for s, c in zip(plan.stages, group.cutoffs, strict=False) if s.mode is Mode.SHADOW]
        group.cutoffs.append(
            resolve(
                stage,
                [device.place for device in group.devices],
                now,
                before=same[-1] if same else None,
                proven=[device.place for device in group.devices if device.mode is Mode.SHADOW],
                shadow=shadows[-1] if shadows else None,
            )
        )
    for device in group.devices:
        device.stage_reports = 0
        mode = mode_of(device.place, START, plan.stages, group.cutoffs)
        if mode is not None and device.mode is None:
            device.accepted_at = now
        if mode is Mode.LIVE and device.mode is not Mode.LIVE:
            device.switched_at = now
        device.mode = mode
    members = sum(group.cutoffs[-1].holds(device.place, START) for device in group.devices)
    group.overfull = max(group.overfull, members - group.cutoffs[-1].seats(members))


def _report(group: _Class, scenario: Scenario, stage: int, began: datetime) -> None:
    """One report of each device that takes part and still talks."""
    plan = scenario.plan
    for device in group.devices:
        if device.mode is None:
            continue
        behaviour = scenario.live if device.mode is Mode.LIVE else scenario.shadow
        if device.rogue:
            behaviour = scenario.rogue
        if behaviour.bricks and device.mode is Mode.LIVE:
            continue
        group.reports += 1
        device.last_report_at = began
        device.stage_reports += 1
        counts_for = stage if device.mode is plan.stages[stage].mode else -1
        for gate in plan.gates:
            if gate.metric.is_latency:
                value = device.noise.log_ratio(behaviour)
            elif gate.metric is Metric.ERRORS:
                value = device.noise.error_rate(behaviour, scenario.inputs)
            elif gate.metric is Metric.DISAGREEMENT:
                value = device.noise.disagreement_rate(behaviour, scenario.inputs)
            else:
                continue
            rows = group.sums.setdefault(gate.metric, {})
            row = rows.get(device.name) or DeviceSum(device.name)
            rows[device.name] = row.plus(score(gate, value), counts_for)


def _evidence(group: _Class, scenario: Scenario) -> ClassEvidence:
    taking_part = [device for device in group.devices if device.mode is not None]
    return ClassEvidence(
        device_class=group.name,
        sums={metric: tuple(rows.values()) for metric, rows in group.sums.items()},
        golden=tuple(GoldenResult(d.name, 64, 60 - scenario.golden_drop, 60) for d in taking_part),
        heartbeats=tuple(
            Heartbeat(d.name, d.accepted_at, d.last_report_at, d.stage_reports) for d in taking_part
        ),
        size=len(group.devices),
    )


def _observe(group: _Class, plan: RolloutPlan, item: ClassProgress, now: datetime) -> ClassProgress:
    stage = plan.stages[item.stage]
    members = [d for d in group.devices if group.cutoffs[item.stage].holds(d.place, START)]
    outcomes = [
        DeviceOutcome.SHADOWING
        if device.switched_at is None
        else DeviceOutcome.COMMITTED
        if (now - device.switched_at).total_seconds() >= plan.probation_s
        else DeviceOutcome.PROBATION
        for device in members
    ]
    group.served = max(group.served, sum(d.mode is Mode.LIVE for d in group.devices))
    return replace(
        item,
        cohort=len(members),
        counts=OutcomeCounts.of(outcomes),
        reporting=sum(d.mode is stage.mode and d.stage_reports > 0 for d in members),
    )


def _carry_out(
    group: _Class, plan: RolloutPlan, made: ClassDecision, item: ClassProgress, window: int, now: datetime
) -> None:
    group.decisions.append(made)
    group.window_at_change = window
    group.reports_at_change = group.reports
    if made.action is Action.PROMOTE:
        _begin_stage(group, plan, item.stage, now)
    elif made.action in (Action.ROLL_BACK, Action.ABORT, Action.SUPERSEDE):
        for device in group.devices:
            device.mode = None


def _result(group: _Class, item: ClassProgress) -> ClassResult:
    return ClassResult(
        state=item.state,
        stage=item.stage,
        decisions=tuple(group.decisions),
        windows=group.window_at_change,
        reports=group.reports_at_change,
        served=group.served,
        overfull=group.overfull,
    )
