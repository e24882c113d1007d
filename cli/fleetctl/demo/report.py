"""What the demo found, as the JSON that `--report` writes (surfaces, "Demo report").

Refuses nothing and decides one thing: `ok` is true exactly when every check held.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modelfleet_core.wire import codec


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class of one rollout.

    Attributes:
        device_class: its name; stands as `class` in the JSON.
        outcome: as the controller says (semantics section 1).
        stopped_in: `shadow` or `live` where it was stopped.
        gate: what stopped it.
        reason: the controller's sentence.
        evidence: how many times likelier than "within tolerance", of the gate that decided.
        stages: the stages it went through, in order.
        live_answers_by_candidate: real requests that the release answered on this class's devices, as serve
            counted.
        live_answers_told: the same as the controller knows it from the reports of the rollout.
        devices: device outcomes -> how many.
        served, failed, dropped: real requests on devices of this class while the rollout ran.
        worst_swap_gap_ms: longest time a waiting request was not being worked on, in any swap so far;
            None = no swap.
        gap_rose: this rollout's swaps made it longer; else they were no worse.
    """

    device_class: str
    outcome: str | None
    stopped_in: str | None
    gate: str | None
    reason: str
    evidence: float | None
    stages: tuple[str, ...]
    live_answers_by_candidate: int
    live_answers_told: int
    devices: dict[str, int]
    served: int
    failed: int
    dropped: int
    worst_swap_gap_ms: float | None
    gap_rose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """One rollout; `bytes_sent` is what the controller sent as blobs while it ran."""

    release: str
    outcome: str | None
    classes: tuple[ClassRow, ...]
    bytes_sent: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferences:
    """All real requests of the demo, by serve's own counters, and by the applications' (`asked`,
    `answered`)."""

    served: int
    failed: int
    dropped: int
    worst_swap_gap_ms: float
    swaps: int
    asked: int
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRow:
    """One kill -9: where it hit, the journal record that placed it, and whether all went on as promised."""

    where: str
    recovered: bool
    placed_by: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """One refusal: what was tried, on which device (or at the controller), the code and the reason given."""

    what: str
    where: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise of one scene: what was said, whether it came out, what was seen."""

    scene: int
    promise: str
    ok: bool
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRow:
    """One scene and how long it took, seconds."""

    number: int
    title: str
    ok: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole demo."""

    ok: bool
    seconds: float
    evidence: str
    scenes: tuple[SceneRow, ...]
    rollouts: tuple[RolloutRow, ...]
    inferences: Inferences
    kills: tuple[KillRow, ...]
    refusals: tuple[RefusalRow, ...]
    checks: tuple[Check, ...]
    schema: int = 1


def to_json(report: Report) -> bytes:
    """The report as indented JSON; `device_class` is spelled `class`, as surfaces prescribes."""
    return codec.pretty(_mapping(report))


def _mapping(report: Report) -> dict[str, object]:
    rollouts = [
        {
            "release": rollout.release,
            "outcome": rollout.outcome,
            "classes": [_class_mapping(row) for row in rollout.classes],
            "bytes_sent": rollout.bytes_sent,
            "seconds": rollout.seconds,
        }
        for rollout in report.rollouts
    ]
    return {
        "schema": report.schema,
        "ok": report.ok,
        "seconds": report.seconds,
        "evidence": report.evidence,
        "scenes": report.scenes,
        "rollouts": rollouts,
        "inferences": report.inferences,
        "kills": report.kills,
        "refusals": report.refusals,
        "checks": report.checks,
    }


def _class_mapping(row: ClassRow) -> dict[str, object]:
    return {
        "class": row.device_class,
        "outcome": row.outcome,
        "stopped_in": row.stopped_in,
        "gate": row.gate,
        "reason": row.reason,
        "evidence": row.evidence,
        "stages": row.stages,
        "live_answers_by_candidate": row.live_answers_by_candidate,
        "live_answers_told": row.live_answers_told,
        "devices": row.devices,
        "served": row.served,
        "failed": row.failed,
        "dropped": row.dropped,
        "worst_swap_gap_ms": row.worst_swap_gap_ms,
        "gap_rose": row.gap_rose,
    }


def write(report: Report, path: Path) -> None:
    """Writes the JSON whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(to_json(report))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
