"""The plan of a rollout: what an operator asked for, checked once, never changed afterwards.

Rule 1: everything that makes a plan refusable lives here (and for gates in `gate.py`); the file reader only
converts spellings. Paths in errors are written as in the file (`stages[1].percent`).
Rule 2: a plan holds only what this version enforces; the file reader refuses the rest.
Rule 3: amounts are plain floats. Ratios and accuracies are 0-1 (`5%` and `2pt` in files are 0.05 and 0.02),
durations are seconds, `percent` alone is 0-100 as its name says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.ids import is_name, is_version
from modelfleet_core.rollout.gate import DEFAULT_GATES, Gate, Metric, check_gates
from modelfleet_core.rollout.refusal import in_range, refuse
from modelfleet_core.wire.director import Mode

MAX_STAGES: Final = 32
MAX_LABELS: Final = 32
MIN_WINDOW_S: Final = 1.0
MAX_WINDOW_S: Final = 86_400.0
MAX_DURATION_S: Final = 366 * 86_400.0
DEFAULT_MIN_DEVICES: Final = 10
"""Below this, rate gates lose their power after trimming (research: 2.4), so promotion asks a human."""
DEFAULT_MIN_ROUNDS: Final = 6


class Advance(StrEnum):
    """Whether classes go through the stages alone or in step."""

    PER_CLASS = "per_class"
    TOGETHER = "together"


class OnInconclusive(StrEnum):
    """What happens when a stage's deadline passes and a gate is still undecided."""

    HOLD = "hold"
    EXTEND = "extend"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: unique in the plan.
        mode: shadow or live.
        devices: number of devices per class, closed to later joiners; or
        percent: share of each class, 0 < percent <= 100, late joiners fall in. Exactly one of the two.
        min_bake_s: least duration of the stage, seconds.
        deadline_s: seconds since its start after which an undecided stage is inconclusive; above min_bake_s.
        min_devices: overrides the plan's `min_devices` in this stage; None = the plan's.
    """

    name: str
    mode: Mode
    devices: int | None = None
    percent: float | None = None
    min_bake_s: float = 1800.0
    deadline_s: float = 86_400.0
    min_devices: int | None = None


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """Everything an operator decides about a rollout (surfaces, "Rollout YAML").

    Attributes:
        release: `name:version`; the name is the slot.
        match_labels: devices that carry all of these labels; empty = every device.
        stages: in order; nested by construction (`cohort.py`).
        gates: what is watched; empty only with `no_gates_reason`.
        advance: classes alone or in step.
        window_s: length of an evidence window, seconds.
        min_devices: devices per class that must report in a stage before it promotes by itself.
        min_rounds: windows that each of `min_devices` devices must have reported in a stage.
        committed: share of the reached devices that must have committed for completion, 0-1.
        reached: share of the cohort that must have been reached by the last stage's deadline, 0-1.
        on_inconclusive: at a deadline with undecided gates.
        false_rollback: probability, for the whole rollout, of rolling back a release within all tolerances.
        bandwidth: limit of each device's download, bytes per second; None = unlimited.
        probation_s: least time on probation after the switch, seconds.
        reverse_share: share of live inputs mirrored to the warm previous model in live stages, 0-1.
        no_gates_reason: why there are no gates.
    """

    release: str
    stages: tuple[Stage, ...]
    match_labels: dict[str, str] = field(default_factory=dict)
    gates: tuple[Gate, ...] = DEFAULT_GATES
    advance: Advance = Advance.PER_CLASS
    window_s: float = 300.0
    min_devices: int = DEFAULT_MIN_DEVICES
    min_rounds: int = DEFAULT_MIN_ROUNDS
    committed: float = 0.95
    reached: float = 0.5
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    false_rollback: float = 0.05
    bandwidth: float | None = None
    probation_s: float = 600.0
    reverse_share: float = 0.05
    no_gates_reason: str | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be meant; see the module docstring."""
        _check_release(self.release)
        _check_labels(self.match_labels)
        _check_stages(self.stages)
        check_gates(self.gates, self.no_gates_reason)
        in_range("window", self.window_s, MIN_WINDOW_S, MAX_WINDOW_S, "s")
        in_range("minDevices", self.min_devices, 1, 1_000_000)
        in_range("minRounds", self.min_rounds, 1, 10_000)
        in_range("complete.committed", self.committed, 0.5, 1.0)
        in_range("complete.reached", self.reached, 0.0, 1.0)
        in_range("falseRollback", self.false_rollback, 0.0001, 0.5)
        in_range("probation", self.probation_s, 0.0, MAX_DURATION_S, "s")
        in_range("reverseShadow", self.reverse_share, 0.0, 1.0)
        if self.bandwidth is not None:
            in_range("limits.bandwidth", self.bandwidth, 1.0, 1e12, "bytes/s")

    @property
    def slot(self) -> str:
        """The slot it is for: the release's name."""
        return self.release.partition(":")[0]

    @property
    def small_fleet(self) -> bool:
        """Whether it promotes on less than the default number of devices: the evidence is weaker, say so."""
        return any(self.min_devices_of(index) < DEFAULT_MIN_DEVICES for index in range(len(self.stages)))

    @property
    def bets(self) -> int:
        """Number of gates that share alpha."""
        return sum(gate.metric.is_bet for gate in self.gates)

    def min_devices_of(self, stage: int) -> int:
        """Devices that must report in that stage before it promotes by itself."""
        override = self.stages[stage].min_devices
        return self.min_devices if override is None else override

    def is_last(self, stage: int) -> bool:
        """Whether no stage comes after it."""
        return stage >= len(self.stages) - 1

    def gate(self, metric: Metric) -> Gate | None:
        """The gate on that metric, if the plan has one."""
        return next((gate for gate in self.gates if gate.metric is metric), None)


def _check_release(release: str) -> None:
    name, colon, version = release.partition(":")
    if not colon or not is_name(name) or not is_version(version):
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            "release",
            f"{release[:200]!r} is not a release",
            expected="name:version, for example digits:1.1",
            todo="take a reference that `fleetctl release list` shows",
        )


def _check_labels(labels: dict[str, str]) -> None:
    path = "selector.matchLabels"
    if len(labels) > MAX_LABELS:
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            path,
            f"{len(labels)} labels",
            expected=f"at most {MAX_LABELS}",
            todo="select by fewer labels",
        )
    for key, value in labels.items():
        if not is_name(key) or not 0 < len(value) <= 63:
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                path,
                f"label {key[:64]!r}={value[:64]!r} is not a label",
                expected="a plain lower-case name and a value of 1 to 63 characters",
                todo="correct the label",
            )


def _check_stages(stages: Sequence[Stage]) -> None:
    if not 0 < len(stages) <= MAX_STAGES:
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            "stages",
            f"{len(stages)} stages",
            expected=f"1 to {MAX_STAGES} stages",
            todo="name at least one live stage",
        )
    names: set[str] = set()
    for index, stage in enumerate(stages):
        _check_stage(f"stages[{index}]", stage)
        if stage.name in names:
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                f"stages[{index}].name",
                f"{stage.name!r} is used twice",
                expected="every stage has its own name",
                todo="rename one of them",
            )
        names.add(stage.name)
        _check_order(stages, index)
    if stages[-1].mode is not Mode.LIVE:
        refuse(
            Code.PLAN_STAGE_ORDER,
            f"stages[{len(stages) - 1}].mode",
            "the last stage is shadow, so nothing would ever be committed",
            expected="a live stage at the end",
            todo="add a live stage",
        )


def _check_stage(path: str, stage: Stage) -> None:
    if not is_name(stage.name):
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            f"{path}.name",
            f"{stage.name[:64]!r} is not a plain name",
            expected="lower-case letters, digits, '.', '_' and '-'",
            todo="rename the stage",
        )
    if stage.mode is Mode.WITHDRAWN:
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            f"{path}.mode",
            "withdrawn is no mode of a stage",
            expected="shadow or live",
            todo="correct the mode",
        )
    if (stage.devices is None) == (stage.percent is None):
        both = "neither devices nor percent" if stage.devices is None else "both devices and percent"
        refuse(
            Code.PLAN_STAGE_SIZE,
            path,
            f"it has {both}",
            expected="exactly one of devices (per class) and percent",
            todo=f"say how large {path} is",
        )
    if stage.devices is not None:
        in_range(f"{path}.devices", stage.devices, 1, 10_000_000)
    if stage.percent is not None and not 0 < stage.percent <= 100:
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            f"{path}.percent",
            f"{stage.percent:g} percent",
            expected="more than 0, at most 100",
            todo=f"correct {path}.percent",
        )
    in_range(f"{path}.minBake", stage.min_bake_s, 0.0, MAX_DURATION_S, "s")
    in_range(f"{path}.deadline", stage.deadline_s, 0.0, MAX_DURATION_S, "s")
    if stage.deadline_s <= stage.min_bake_s:
        refuse(
            Code.PLAN_DEADLINE,
            f"{path}.deadline",
            f"{stage.deadline_s:g} s is not after minBake ({stage.min_bake_s:g} s)",
            expected="a deadline after the bake time",
            todo=f"raise {path}.deadline or lower {path}.minBake",
        )
    if stage.min_devices is not None:
        in_range(f"{path}.minDevices", stage.min_devices, 1, 1_000_000)


def _check_order(stages: Sequence[Stage], index: int) -> None:
    """Semantics section 1: stages do not shrink (units that agree; the rest is clamped when it is resolved).

    Compared among stages of one mode: a shadow stage serves nobody, so a live canary may be smaller than it.
    """
    stage = stages[index]
    for earlier in stages[:index]:
        if earlier.mode is Mode.LIVE and stage.mode is Mode.SHADOW:
            refuse(
                Code.PLAN_STAGE_ORDER,
                f"stages[{index}].mode",
                f"shadow stage {stage.name!r} comes after live stage {earlier.name!r}",
                expected="shadow stages first",
                todo="move the shadow stage to the front",
            )
        if earlier.mode is not stage.mode:
            continue
        for unit, before, after in (
            ("devices", earlier.devices, stage.devices),
            ("percent", earlier.percent, stage.percent),
        ):
            if before is not None and after is not None and after < before:
                refuse(
                    Code.PLAN_STAGES_SHRINK,
                    f"stages[{index}].{unit}",
                    f"stage {stage.name!r} shrinks from {before:g} to {after:g}",
                    expected=f"at least the {before:g} {unit} of stage {earlier.name!r}",
                    todo=f"raise stages[{index}].{unit} or put the stages in order",
                )
