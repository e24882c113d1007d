"""What changed between two looks at a rollout, as plain lines: for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.rollout.outcome import word
from modelfleet_core.wire.operator import ClassView, GateView, RolloutView


def changes(before: RolloutView | None, now: RolloutView) -> list[str]:
    """One line per change; the first look tells where everything stands."""
    return list(_changes(before, now))


def _changes(before: RolloutView | None, now: RolloutView) -> Iterator[str]:
    if before is None:
        classes = ", ".join(c.device_class for c in now.classes) or "no class yet"
        yield f"rollout {now.name} ({now.id}): {now.release} to {classes}"
        if now.small_fleet:
            yield "small-fleet plan: weaker evidence"
    old = {c.device_class: c for c in before.classes} if before else {}
    for view in now.classes:
        yield from _class_changes(old.get(view.device_class), view)
    told = {(d.device, d.outcome, d.code) for d in before.devices} if before else set()
    for device in now.devices:
        if device.code and (device.device, device.outcome, device.code) not in told:
            name = device.name or device.device
            why = f"{device.code}: {device.reason or 'no reason given'}"
            yield f"{device.device_class}: device {name} {words(device.outcome)}: {why}"
    if before is None or (before.state, before.outcome) != (now.state, now.outcome):
        yield f"rollout {now.name}: {words(word(now))}" + (f": {now.reason}" if now.reason else "")


def _class_changes(before: ClassView | None, now: ClassView) -> Iterator[str]:
    name = now.device_class
    if before is None or (before.stage, before.stage_name) != (now.stage, now.stage_name):
        yield f"{name}: stage {stage(now)}"
    if before is None or before.outcomes != now.outcomes:
        counted = counts(now.outcomes)
        if counted:
            yield f"{name}: devices {counted}"
    gates = {g.metric: g for g in before.gates} if before else {}
    for gate in now.gates:
        known = gates.get(gate.metric)
        if known is None or known.verdict != gate.verdict:
            yield f"{name}: gate {gate.metric} {words(gate.verdict)}: {gate.sentence}"
    if before is None or (before.state, before.outcome) != (now.state, now.outcome):
        yield f"{name}: {class_word(now)}" + (f": {now.reason}" if now.reason else "")


def words(text: str) -> str:
    """`rolled_back` as people write it."""
    return text.replace("_", " ")


def stage(view: ClassView) -> str:
    """`canary (2 of 3, live)`."""
    return f"{view.stage_name} ({view.stage + 1} of {view.stages}, {view.stage_mode})"


def counts(outcomes: dict[str, int]) -> str:
    """`committed 2, probation 1`; empty where nobody counts."""
    return ", ".join(f"{words(k)} {n}" for k, n in outcomes.items() if n)


def class_word(view: ClassView) -> str:
    """State or outcome, with where and by what it was stopped."""
    text = words(view.outcome or view.state)
    if view.stopped_in:
        text += f" in {view.stopped_in}"
    if view.stopped_by:
        text += f" by {view.stopped_by.removeprefix('by_')}"
    return text


def gate_summary(gates: tuple[GateView, ...]) -> str:
    """`worse 1, undecided 2, fine 3`."""
    order = ("worse", "undecided", "fine", "excused", "not_applicable")
    found = {v: sum(1 for g in gates if g.verdict == v) for v in order}
    return ", ".join(f"{words(v)} {n}" for v, n in found.items() if n) or "-"
