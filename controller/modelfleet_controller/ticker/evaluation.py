"""A rollout as it stands at one instant: progress, evidence, verdicts. Read by the ticker and by views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelfleet_core.gates.evidence import ClassEvidence
from modelfleet_core.gates.judge import judge_class
from modelfleet_core.gates.silence import silent_windows
from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.rollout.assignment import GONE, KnownRelease
from modelfleet_core.rollout.cohort import Cutoff
from modelfleet_core.rollout.gate import SILENCE_GATE, Gate, Metric
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import Ending, RolloutProgress

from ..db.database import Connection
from ..hot.board import Board
from ..rollouts.repository import RolloutRepository
from ..rollouts.stored import StoredClass, StoredDevice, StoredRollout, progress_of
from ..telemetry.repository import TelemetryRepository
from .members import RECENT, Member, counts_of, members_of

_SILENT_POLLS = 3

RETURN = timedelta(minutes=5)
"""After that a device that could not reach the controller has tried again: the agent's longest wait."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything a decision or a view needs; class names are the keys."""

    rollout: StoredRollout
    release: KnownRelease
    classes: dict[str, StoredClass]
    cutoffs: dict[str, dict[int, Cutoff]]
    members: dict[str, list[Member]]
    rows: dict[str, StoredDevice]
    silent: frozenset[str]
    progress: RolloutProgress
    evidence: dict[str, ClassEvidence]
    verdicts: dict[str, tuple[Verdict, ...]]


async def evaluate(
    connection: Connection,
    board: Board,
    rollout: StoredRollout,
    now: datetime,
    poll_s: float,
    started_at: datetime,
) -> Evaluation:
    """Loads and judges one rollout.

    Args:
        connection: a read or write transaction.
        board: devices and releases.
        rollout: its row.
        now: the one instant of this evaluation.
        poll_s: the base poll interval: how often devices outside of rollouts are heard of.
        started_at: since when this controller listens.
    """
    rollouts = RolloutRepository(connection)
    release = board.releases[rollout.release_id]
    classes = {stored.device_class: stored for stored in await rollouts.classes(rollout.id)}
    cutoffs = await rollouts.cutoffs(rollout.id)
    rows = {row.device_id: row for row in await rollouts.devices(rollout.id)}
    sums = await TelemetryRepository(connection).sums_of(rollout.id)
    members = members_of(board, rollout, release)
    gate = rollout.plan.gate(Metric.SILENCE) or SILENCE_GATE
    seen = {device: entry.last_seen for device, entry in board.devices.items()}
    beats = {
        row.device_id: row.heartbeat(
            stored.stage, seen.get(row.device_id), _listened_since(seen.get(row.device_id), started_at)
        )
        for row in rows.values()
        if (stored := classes.get(row.device_class)) is not None
    }
    silent = frozenset(
        row.device_id
        for row in rows.values()
        if (stored := classes.get(row.device_class)) is not None
        and not stored.state.ended
        and silent_windows(
            beats[row.device_id],
            gate.missed,
            rollout.plan.window_s,
            stored.stage_started_at,
            now,
        )
        > 0
    )
    progresses = []
    evidence: dict[str, ClassEvidence] = {}
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for name, stored in classes.items():
        mine = [row for row in rows.values() if row.device_class == name]
        seats, counts = counts_of(members.get(name, []), rows, cutoffs.get(name, {}), silent)
        reporting = sum(row.stage == stored.stage and row.mode_reports > 0 for row in mine)
        hard = tuple(stop for row in mine if (stop := row.hard_stop()) is not None)
        size = len(members.get(name, []))
        progress = replace(progress_of(stored, counts, reporting, hard), size=size)
        progresses.append(progress if stored.state.ended else replace(progress, cohort=seats))
        golden = [result for row in mine if (result := row.golden()) is not None]
        device_class = next((known for known in board.classes if known.name == name), None)
        evidence[name] = ClassEvidence(
            device_class=name,
            sums=sums.get(name, {}),
            golden=tuple(golden),
            heartbeats=tuple(beats[row.device_id] for row in mine if row.outcome not in GONE),
            silence_rate=_silence_rate(board, name, rows, gate, rollout.plan, poll_s, now),
            expected_offline=device_class is not None and device_class.expected_offline,
            size=size,
        )
        verdicts[name] = (
            stored.verdicts
            if stored.state.ended
            else judge_class(
                rollout.plan, stored.stage, stored.stage_started_at, evidence[name], len(classes), now
            )
        )
    progress_all = RolloutProgress(
        classes=tuple(progresses),
        paused=rollout.paused,
        ending=None if rollout.ending is None else Ending(rollout.ending),
        ending_reason=rollout.ending_reason,
    )
    return Evaluation(
        rollout, release, classes, cutoffs, members, rows, silent, progress_all, evidence, verdicts
    )


def _listened_since(last_seen: datetime | None, started_at: datetime) -> datetime:
    """From when on a device can be silent: the controller listens, and the device had time to come back."""
    back = last_seen is not None and last_seen >= started_at
    return started_at if back else started_at + RETURN


def _silence_rate(
    board: Board,
    device_class: str,
    rows: dict[str, StoredDevice],
    gate: Gate,
    plan: RolloutPlan,
    poll_s: float,
    now: datetime,
) -> float:
    """Share of the class's other devices that were not heard of for as long as would count as silence."""
    patience = timedelta(seconds=max(gate.missed * plan.window_s, _SILENT_POLLS * poll_s))
    others = [
        entry
        for entry in board.devices.values()
        if entry.row.device_class == device_class
        and entry.row.revoked_at is None
        and entry.row.id not in rows
        and entry.last_seen is not None
        and now - entry.last_seen <= RECENT
    ]
    if not others:
        return 0.0
    quiet = sum(entry.last_seen is not None and now - entry.last_seen > patience for entry in others)
    return quiet / len(others)
