"""Runs one rollout as an operator would and writes down what came of it.

What the controller says (state, outcome, sentence) is taken as it is; what was served is read from serve's
own `/metrics`, so that a row of the report puts both sides next to each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.wire.operator import ClassView, RolloutView

from .fleet import SLOT, Device, Fleet
from .metrics import ServeCounts
from .operator import Operator
from .report import ClassRow, RolloutRow
from .screen import Screen

PLANS = Path(__file__).parent / "plans"
WAITING = frozenset({"pending", "running", "waiting"})
LIMIT_S = 300.0
SETTLED_S = 60.0
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Ran:
    """A rollout that ended (or did not, in time) and its row in the report."""

    view: RolloutView
    row: RolloutRow

    def of(self, device_class: str) -> ClassView:
        return next(view for view in self.view.classes if view.device_class == device_class)


def resource(plan: str, release: str, name: str, changes: Mapping[str, object] | None = None) -> str:
    """A plan of the folder `plans/` for one release, as the JSON text that the API takes.

    Args:
        plan: file name without `.yaml`.
        release: `name:version`.
        name: of the rollout.
        changes: fields of `spec` that replace those of the file.
    """
    body = cast(dict[str, dict[str, object]], yaml.safe_load((PLANS / f"{plan}.yaml").read_text()))
    body["metadata"] = {"name": name}
    body["spec"] = {**body["spec"], "release": release, **(changes or {})}
    return json.dumps(body)


class Rollouts:
    """Creates rollouts, shows their progress and collects their rows."""

    def __init__(self, operator: Operator, fleet: Fleet, screen: Screen, clock: Clock) -> None:
        self._operator = operator
        self._fleet = fleet
        self._screen = screen
        self._clock = clock
        self.rows: list[RolloutRow] = []

    def run(
        self,
        text: str,
        *,
        limit_s: float = LIMIT_S,
        while_running: Callable[[RolloutView], None] | None = None,
        give_up: Callable[[RolloutView], str | None] | None = None,
    ) -> Ran:
        """Creates the rollout, waits until it ends and every device has settled, and adds its row.

        Args:
            text: from `resource`.
            limit_s: after that many seconds it is aborted, and its row has no outcome.
            while_running: called with every fresh view until the end.
            give_up: says why a view shows that the rollout need not be waited for; then it is aborted.
        """
        begun = self._clock.monotonic()
        counts, sent = self._counts(), self._fleet.bytes_sent()
        view = self._operator.create_rollout(text)
        shown: dict[str, tuple[str, str]] = {}
        while True:
            self._show(view, shown, begun)
            if view.state not in WAITING:
                break
            late = f"no end within {limit_s:g} s" if self._clock.monotonic() - begun > limit_s else None
            enough = late or (give_up(view) if give_up is not None else None)
            if enough:
                self._screen.warn(f"{view.release} is aborted: {enough}")
                self._operator.abort(view.id, enough)
                break
            if while_running is not None:
                while_running(view)
            self._clock.wait(LOOK_S)
            view = self._operator.rollout(view.id)
        if view.outcome == "held":
            self._screen.warn(f"{view.release} is held: {view.reason}")
            self._operator.abort(view.id, "the demo does not wait for a person")
        self._settle()
        view = self._operator.rollout(view.id)
        row = self._row(view, counts, self._fleet.bytes_sent() - sent, self._clock.monotonic() - begun)
        self.rows.append(row)
        return Ran(view, row)

    def _show(self, view: RolloutView, shown: dict[str, tuple[str, str]], begun: float) -> None:
        doing: list[str] = []
        details: list[str] = []
        for one in view.classes:
            stage = one.stage_name if one.outcome is None else one.outcome.replace("_", " ")
            key = (stage, one.state)
            if shown.get(one.device_class) != key:
                if one.device_class in shown and one.reason:
                    self._screen.say(f"{view.release}: {one.reason}")
                shown[one.device_class] = key
            doing.append(f"{one.device_class} {stage}")
            details.append(f"{one.device_class} {stage}{_standing(one)}")
        if view.state in WAITING:
            self._screen.doing(f"{view.release}: {', '.join(doing)}", f"{view.release}: {', '.join(details)}")
        else:
            self._screen.done()

    def _settle(self) -> None:
        """Waits until no device has anything under way, so that what is read next is final."""
        until = self._clock.monotonic() + SETTLED_S
        while True:
            busy = [
                f"{device.name} {slot.state}"
                for device in self._operator.devices()
                for slot in device.slots
                if slot.state != "idle"
            ]
            if not busy:
                return
            if self._clock.monotonic() > until:
                raise WorldError(
                    Code.DEMO_TOO_LATE,
                    f"still busy: {', '.join(busy)}",
                    expected=f"idle devices within {SETTLED_S:g} s of a rollout's end",
                    todo="read the agents' logs in the work folder",
                )
            self._clock.wait(LOOK_S)

    def _counts(self) -> dict[str, ServeCounts]:
        """Serve's counts by device; zero where nothing serves yet."""
        return {device.name: _counts_of(device) for device in self._fleet.devices}

    def _row(
        self, view: RolloutView, before: Mapping[str, ServeCounts], sent: int, seconds: float
    ) -> RolloutRow:
        classes = []
        for one in view.classes:
            total, gap_before = ServeCounts(), 0.0
            for device in self._fleet.of_class(one.device_class):
                total = total.plus(_counts_of(device).since(before[device.name]))
                gap_before = max(gap_before, before[device.name].worst_swap_gap_ms)
            classes.append(
                ClassRow(
                    device_class=one.device_class,
                    outcome=one.outcome,
                    stopped_in=one.stopped_in,
                    gate=one.stopped_by,
                    reason=one.reason,
                    evidence=one.evidence,
                    stages=_stages(one),
                    live_answers_by_candidate=total.answers.get(view.release_id, 0),
                    live_answers_told=one.live_answers_by_candidate,
                    devices=dict(one.outcomes),
                    served=total.served,
                    failed=total.failed,
                    dropped=total.dropped,
                    worst_swap_gap_ms=total.worst_swap_gap_ms if total.swaps else None,
                    gap_rose=total.worst_swap_gap_ms > gap_before,
                )
            )
        return RolloutRow(
            release=view.release,
            outcome=view.outcome,
            classes=tuple(classes),
            bytes_sent=sent,
            seconds=seconds,
        )


def _counts_of(device: Device) -> ServeCounts:
    return device.counts() if device.serve() is not None else ServeCounts()


def _standing(view: ClassView) -> str:
    """How far the slowest gate is from letting the class go on: ` 8:1 of 20:1`."""
    open_gates = [gate for gate in view.gates if gate.verdict == "undecided" and gate.promote_needed > 1]
    if view.outcome is not None or not open_gates:
        return ""
    slowest = min(open_gates, key=lambda gate: gate.promote_evidence / gate.promote_needed)
    return f" {slowest.promote_evidence:.0f}:1 of {slowest.promote_needed:.0f}:1"


def _stages(view: ClassView) -> tuple[str, ...]:
    """Names of the stages that the class went through; a line of its history is `NAME: what happened`."""
    return tuple(dict.fromkeys(line.partition(":")[0] for line in (*view.stage_history, view.stage_name)))


def name_of(version: str) -> str:
    """A rollout's name for a version: `digits-1-1`."""
    return f"{SLOT}-{version.replace('.', '-')}"
