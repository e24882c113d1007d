"""How people see rollouts: list, status, plan, explanation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetctl.output import Block, Cell, Table, age, number, size, styled
from fleetctl.rollout.changes import class_word, counts, gate_summary, stage, words
from fleetctl.rollout.outcome import word
from modelfleet_core.wire.operator import (
    ClassView,
    DecisionView,
    GateView,
    PlanView,
    RolloutDevice,
    Rollouts,
    RolloutView,
)

GATE_TITLES = (
    "GATE", "VERDICT", "EFFECT", "TOLERANCE", "EVIDENCE", "NEEDED", "PROMOTE", "NEEDED", "REPORTS", "DEVICES",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExplainView:
    """View of `rollout explain`: the rollout with its gates, and every decision about it."""

    rollout: RolloutView
    decisions: tuple[DecisionView, ...]
    schema: int = 1


def rollouts(view: Rollouts, now: datetime) -> list[Block]:
    """The list, newest first."""
    rows = [
        (
            r.name,
            r.id,
            r.release,
            styled_words(word(r)),
            ", ".join(f"{c.device_class} {words(c.outcome or c.state)}" for c in r.classes) or "-",
            age(r.created_at, now),
        )
        for r in view.items
    ]
    titles = ("NAME", "ID", "RELEASE", "STATE", "CLASSES", "AGE")
    return [Table(titles, rows, "no rollouts yet; `fleetctl rollout create` starts one")]


def status(view: RolloutView, now: datetime) -> list[Block]:
    """Where a rollout stands, class by class."""
    return [*_head(view), _classes(view, now), *_open_gates(view), *_troubled(view.devices)]


def explain(view: ExplainView) -> list[Block]:
    """Why a rollout is where it is: every gate with its numbers, and the decisions."""
    blocks: list[Block] = _head(view.rollout)
    for c in view.rollout.classes:
        blocks += ["", f"class {c.device_class}: {class_word(c)}" + (f": {c.reason}" if c.reason else "")]
        if c.stage_history:
            blocks.append(f"  stages: {' -> '.join(c.stage_history)}")
        blocks.append(f"  devices: {counts(c.outcomes) or 'none reached'}")
        if c.live_answers_by_candidate:
            blocks.append(f"  live answers by the candidate: {c.live_answers_by_candidate}")
        blocks.append(_gates(c.gates))
        blocks += [f"  {g.sentence}{_aside(g)}" for g in c.gates if g.sentence]
    blocks += _troubled(view.rollout.devices)
    rows = [
        (f"{d.at:%H:%M:%S}", d.device_class or "-", d.action, d.person, d.sentence) for d in view.decisions
    ]
    return [*blocks, "", Table(("AT (UTC)", "CLASS", "DECISION", "BY", "WHY"), rows, "no decisions yet")]


def plan(view: PlanView) -> list[Block]:
    """A dry run: who would get what."""
    rows = [
        (
            c.device_class,
            str(c.devices),
            c.variant or ("none fits", "red"),
            size(c.bytes_per_device),
            size(c.bytes_per_device * c.devices),
            ", ".join(c.stages),
        )
        for c in view.classes
    ]
    titles = ("CLASS", "DEVICES", "VARIANT", "EACH", "TOGETHER", "STAGES")
    without = [f"no variant fits {device}" for c in view.classes for device in c.no_variant]
    return [
        f"{view.release} to {view.devices} devices",
        Table(titles, rows, "no device fits the selector", ("DEVICES", "EACH", "TOGETHER")),
        *without,
        *(f"gate {g}" for g in view.gates),
        *(f"warning: {w}" for w in view.warnings),
    ]


def styled_words(text: str) -> Cell:
    """A state in its colour, as people write it."""
    _, style = styled(text)
    return words(text), style


def _head(view: RolloutView) -> list[Block]:
    text = f"{view.name}  {view.id}  {view.release}  {words(word(view))}"
    if view.reason:
        text += f"\n{view.reason}"
    if view.bytes_sent:
        text += f"\nsent {size(view.bytes_sent)}"
    if view.small_fleet:
        text += "\nsmall-fleet plan: weaker evidence"
    return [text]


def _classes(view: RolloutView, now: datetime) -> Table:
    rows = [_class_row(c, now) for c in view.classes]
    titles = ("CLASS", "STATE", "STAGE", "SINCE", "DEVICES", "GATES", "REASON")
    return Table(titles, rows, "no class has been reached yet")


def _class_row(c: ClassView, now: datetime) -> tuple[Cell, ...]:
    _, style = styled(c.outcome or c.state)
    since = age(c.stage_started_at, now)
    return (
        c.device_class,
        (class_word(c), style),
        stage(c),
        since,
        counts(c.outcomes),
        gate_summary(c.gates),
        c.reason,
    )


def _gates(gates: tuple[GateView, ...]) -> Table:
    rows = [
        (
            g.metric,
            styled_words(g.verdict),
            amount(g.metric, g.effect),
            amount(g.metric, g.tolerance),
            number(g.evidence),
            number(g.needed),
            number(g.promote_evidence),
            number(g.promote_needed),
            str(g.reports),
            str(g.devices),
        )
        for g in gates
    ]
    return Table(GATE_TITLES, rows, "  no gate has spoken yet", GATE_TITLES[2:])


def _aside(gate: GateView) -> str:
    return f" ({gate.set_aside} devices set aside)" if gate.set_aside else ""


def _open_gates(view: RolloutView) -> list[Block]:
    """What a class that goes on still waits for, or is about to stop for."""
    lines = [
        f"{c.device_class}: {g.sentence}"
        for c in view.classes
        if c.outcome is None
        for g in c.gates
        if g.verdict in ("undecided", "worse")
    ]
    return ["", *lines] if lines else []


def _troubled(devices: tuple[RolloutDevice, ...]) -> list[Block]:
    rows = [
        (d.name or d.device, d.device_class, styled_words(d.outcome), f"{d.code or '-'}: {d.reason or '-'}")
        for d in devices
        if d.code or d.reason
    ]
    return ["", Table(("DEVICE", "CLASS", "OUTCOME", "REASON"), rows)] if rows else []


def amount(metric: str, value: float | None) -> str:
    """An effect or tolerance: accuracy in points, everything else in percent."""
    if value is None:
        return "-"
    return f"{100 * value:.3g}pt" if metric == "golden" else f"{100 * value:.3g} %"
