"""Supervisor <-> serve: what they say to each other (semantics section 5).

Unix socket `serve.sock`, frames of a 4-byte big-endian length and msgpack, one request and one reply at a
time. Level-triggered: the supervisor sends the whole desired slot table with a generation; serve answers with
what is actually so. Serve forms the evidence windows and keeps closed ones until they are acknowledged, so
evidence survives the supervisor's death. Serve's flip is the truth: when it fell back by itself,
`SlotActual.active` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from modelfleet_core.wire.report import Report

PROTOCOL: Final = 1
MAX_FRAME: Final = 64 * 1024 * 1024


class Kind(StrEnum):
    """Requests of the supervisor."""

    HELLO = "hello"
    DESIRED = "desired"
    ACTUAL = "actual"
    WINDOWS = "windows"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A variant on disk: `folder` is absolute and complete (release.json, contract.json, golden.npz,
    files).
    """

    release: str
    reference: str
    variant: str
    folder: str


@dataclass(frozen=True, slots=True)
class SlotDesired:
    """What serve shall make true for one slot.

    Attributes:
        active: release id that shall answer real requests (one of the loaded), or None for an empty slot.
        incumbent, candidate, previous: models that shall be loaded (previous and, on probation, incumbent
            stay warm).
        mirror_to: release id that gets mirrored inputs (the candidate in shadow, the incumbent in reverse
            shadow).
        mirror_share: share of real inputs mirrored (1.0 in shadow, `reverse_share` when live).
        operation: identity of the running operation; stands in every report. None = no evidence is formed.
        window_s: length of a window, seconds.
        golden_folder: variant folder whose golden set judges accuracy (the baseline release's), or None.
        probation: the active candidate is not committed: its failures are answered by the incumbent.
        compute_budget: largest share of one processor that mirroring may use (0-1).
    """

    slot: str
    active: str | None
    incumbent: ModelRef | None
    candidate: ModelRef | None
    previous: ModelRef | None
    mirror_to: str | None = None
    mirror_share: float = 1.0
    operation: str | None = None
    window_s: float = 300.0
    golden_folder: str | None = None
    probation: bool = False
    compute_budget: float = 0.25


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole table; a higher generation replaces a lower one."""

    generation: int
    slots: tuple[SlotDesired, ...]


class ModelState(StrEnum):
    """Where one loaded model stands."""

    STARTING = "starting"
    TESTING = "testing"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Outcome of the self-test against the recorded golden outputs; `reason` is a plain sentence when it
    failed.
    """

    passed: bool
    samples: int
    reason: str = ""
    worst_error: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelActual:
    """One loaded model. `golden_right` (sum of scores, 0 to 1 each) of `golden_total` on the desired golden
    folder, None while unknown."""

    release: str
    variant: str
    state: ModelState
    code: str | None = None
    reason: str | None = None
    pid: int | None = None
    rss_bytes: int | None = None
    restarts: int = 0
    crash_loop: bool = False
    self_test: SelfTest | None = None
    golden_right: float | None = None
    golden_total: int | None = None


@dataclass(frozen=True, slots=True)
class SlotActual:
    """What is so for one slot.

    Attributes:
        active: release id that answers real requests now.
        fell_back: why serve itself went back from the candidate, or None.
        served, failed, dropped: requests since serve started.
        answers: release id -> real requests it answered.
        swaps, worst_swap_gap_ms: number of flips; longest time in which a waiting request was not being
            worked on.
    """

    slot: str
    active: str | None
    models: tuple[ModelActual, ...]
    fell_back: str | None = None
    fell_back_code: str | None = None
    served: int = 0
    failed: int = 0
    dropped: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    swaps: int = 0
    worst_swap_gap_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Actual:
    """Serve's whole truth."""

    generation: int
    boot_id: str
    pid: int
    slots: tuple[SlotActual, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `desired` for DESIRED; `acknowledged` for WINDOWS: all up to that cursor may be
    forgotten.
    """

    kind: Kind
    protocol: int = PROTOCOL
    desired: Desired | None = None
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """A closed window with serve's cursor (1, 2, ... within one boot id)."""

    cursor: int
    report: Report


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `error` is set instead of the rest when the request could not be served."""

    protocol: int = PROTOCOL
    boot_id: str = ""
    actual: Actual | None = None
    windows: tuple[WindowClosed, ...] = ()
    error: str | None = None
