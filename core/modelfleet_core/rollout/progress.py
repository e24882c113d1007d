"""What has happened to a rollout so far: the facts that `engine.decide` looks at, and nothing else.

The controller fills these from rows: one `ClassProgress` per (rollout, class), counts by GROUP BY outcome.
Instants are aware.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeviceOutcome(StrEnum):
    """Where one device stands in a rollout; told apart everywhere (architecture, section 5)."""

    NOT_REACHED = "not_reached"
    REFUSED = "refused"
    DOWNLOADING = "downloading"
    SHADOWING = "shadowing"
    PROBATION = "probation"
    COMMITTED = "committed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Devices of one class by outcome; the current stage's cohort (and earlier ones, which it contains)."""

    not_reached: int = 0
    refused: int = 0
    downloading: int = 0
    shadowing: int = 0
    probation: int = 0
    committed: int = 0
    failed: int = 0
    rolled_back: int = 0
    silent: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[DeviceOutcome]) -> OutcomeCounts:
        """Counted from single devices."""
        counts: dict[str, int] = {}
        for outcome in outcomes:
            counts[outcome.value] = counts.get(outcome.value, 0) + 1
        return cls(**counts)

    @property
    def members(self) -> int:
        """All devices counted."""
        return self.reached + self.not_reached + self.refused

    @property
    def reached(self) -> int:
        """Devices that accepted the assignment. Refusals and devices never reached do not count."""
        return (
            self.downloading
            + self.shadowing
            + self.probation
            + self.committed
            + self.failed
            + self.rolled_back
            + self.silent
        )

    @property
    def lost(self) -> int:
        """Devices that will not commit by themselves any more."""
        return self.failed + self.rolled_back


class ClassState(StrEnum):
    """Where one class stands. RUNNING and HELD are not the end; the others are outcomes."""

    RUNNING = "running"
    HELD = "held"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"

    @property
    def ended(self) -> bool:
        """Whether nothing more is decided about the class."""
        return self not in (ClassState.RUNNING, ClassState.HELD)


class RolloutOutcome(StrEnum):
    """How a rollout ended or where it waits for a person (semantics section 1)."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    PARTIAL = "partial"


class HardStopKind(StrEnum):
    """Faults that need no statistics (semantics section 2)."""

    CRASH_LOOP = "crash_loop"
    LOAD_FAILED = "load_failed"
    VERIFY_FAILED = "verify_failed"
    SELF_TEST_FAILED = "self_test_failed"
    WATCHDOG = "watchdog"


@dataclass(frozen=True, slots=True)
class HardStop:
    """One device's hard stop, with its own reason where it gave one."""

    device: str
    kind: HardStopKind
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PromoteRequest:
    """The verb promote (semantics section 3). It counts only for the stage it was given in.

    Attributes:
        stage: index of the stage that was current when the verb was given.
        full: skip the remaining stages, go to the last one.
        person: who asked.
        reason: why (needed with `full`).
    """

    stage: int
    person: str
    reason: str = ""
    full: bool = False


@dataclass(frozen=True, slots=True)
class ClassProgress:
    """One class in one rollout.

    Attributes:
        device_class: its name.
        state: see ClassState.
        stage: index of the current stage.
        stage_started_at: when that stage began; aware.
        cohort: devices that the current stage admits in this class.
        size: devices of the class that the selector takes in, whether or not a stage admits them yet; 0 = not
            known, then those that were reached stand for it.
        counts: those devices by outcome.
        reporting: devices with at least one report in this stage, in its mode.
        hard_stops: at most one per device.
        extensions: how often the deadline was extended (`onInconclusive: extend`) in this stage.
        promote: a pending promote verb.
        baseline: `name:version` that this class had when the rollout was made; None = nothing.
        reason: sentence of the last decision that changed something.
    """

    device_class: str
    stage_started_at: datetime
    state: ClassState = ClassState.RUNNING
    stage: int = 0
    cohort: int = 0
    size: int = 0
    counts: OutcomeCounts = OutcomeCounts()
    reporting: int = 0
    hard_stops: tuple[HardStop, ...] = ()
    extensions: int = 0
    promote: PromoteRequest | None = None
    baseline: str | None = None
    reason: str = ""


class Ending(StrEnum):
    """Why a person's verb ends the whole rollout."""

    ABORT = "abort"
    SUPERSEDE = "supersede"


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """A rollout: its classes, in any order, each once.

    Attributes:
        classes: what happened per class.
        paused: the verb pause is in force.
        ending: a verb that ends the rollout.
        ending_reason: who and why, in words.
    """

    classes: tuple[ClassProgress, ...]
    paused: bool = False
    ending: Ending | None = None
    ending_reason: str = ""

    def of(self, device_class: str) -> ClassProgress:
        """The class of that name.

        Raises:
            KeyError: the rollout has no such class.
        """
        for progress in self.classes:
            if progress.device_class == device_class:
                return progress
        raise KeyError(device_class)
