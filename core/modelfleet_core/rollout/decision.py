"""What `engine.decide` answers: one action per class, with a plain sentence and the evidence behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.progress import RolloutOutcome
from modelfleet_core.wire.director import Mode


class Action(StrEnum):
    """What happens to a class now."""

    WAIT = "wait"
    PROMOTE = "promote"
    COMPLETE = "complete"
    HOLD = "hold"
    EXTEND = "extend"
    ROLL_BACK = "roll_back"
    ABORT = "abort"
    SUPERSEDE = "supersede"


class Reason(StrEnum):
    """Why, for machines; the sentence says it to people."""

    ENDED = "ended"
    """The class has ended before; nothing is decided."""
    BY_PERSON = "by_person"
    HARD_STOP = "hard_stop"
    HARD_STOP_FLEET = "hard_stop_fleet"
    """Hard stops in two classes (semantics section 2)."""
    GATE_WORSE = "gate_worse"
    TOGETHER = "together"
    """The plan says `advance: together` and another class decides."""
    PAUSED = "paused"
    HELD = "held"
    BAKING = "baking"
    UNDECIDED = "undecided"
    INCONCLUSIVE = "inconclusive"
    """The deadline passed with an undecided gate."""
    NOTHING_DECIDES = "nothing_decides"
    """No gate of the plan applies to this class."""
    FEW_DEVICES = "few_devices"
    COMMITTING = "committing"
    FEW_REACHED = "few_reached"
    FEW_COMMITTED = "few_committed"
    ALL_FINE = "all_fine"


@dataclass(frozen=True, slots=True)
class ClassDecision:
    """The decision about one class.

    Attributes:
        device_class: its name.
        action, reason, sentence: what, why for machines, why for people.
        stage: index of the stage it was decided in.
        to_stage: of PROMOTE: the stage that begins.
        stopped_in: of ROLL_BACK: mode of that stage.
        gate: of a verdict that decided: its metric.
        evidence: of that verdict, times one.
        verdicts: every verdict that was looked at.
    """

    device_class: str
    action: Action
    reason: Reason
    sentence: str
    stage: int
    to_stage: int | None = None
    stopped_in: Mode | None = None
    gate: Metric | None = None
    evidence: float | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything happens (a decision to wait is not logged)."""
        return self.action is not Action.WAIT


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a rollout at one instant.

    Attributes:
        at: the instant, aware.
        classes: one per class, in the order of the progress.
        outcome: how the rollout ends with this decision (`held`: it waits for a person); None = it goes on.
        sentence: one sentence for the whole.
    """

    at: datetime
    classes: tuple[ClassDecision, ...]
    outcome: RolloutOutcome | None
    sentence: str
