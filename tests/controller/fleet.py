"""A fleet of devices without models that behave as semantics section 4 says, over the real HTTP application.

Each device follows its statements (shadow, switch, probation, commit, go back), tells each transition as an
event and reports every window; how good a release is, is a `Quality`. Time is the rig's clock.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from modelfleet_core.sketch.histogram import Histogram
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import SlotStatus
from modelfleet_core.wire.director import Mode, SlotAssignment
from modelfleet_core.wire.event import EventKind
from modelfleet_core.wire.operator import RolloutView
from modelfleet_core.wire.report import Agreement, GoldenCount, LatencyPairs, Report

from .kit import FakeDevice, Rig

WINDOW_S = 10.0
PAIRS = 40
SEEN = 200


@dataclass(frozen=True)
class Quality:
    """A release against the incumbent: latency factor, share of other answers and of failures, golden
    answers.
    """

    slower: float = 1.0
    disagrees: float = 0.0
    fails: float = 0.0
    golden_right: int = 97
    crashes: bool = False


@dataclass
class Running:
    """An operation under way, or the last one, on one device."""

    assignment: SlotAssignment
    state: str = "shadowing"
    since: float = 0.0
    before: str | None = None


@dataclass
class Sim:
    """One device of the fleet, with one slot."""

    device: FakeDevice
    qualities: dict[str, Quality]
    noise: random.Random
    incumbent: str | None = None
    running: Running | None = None
    rejected: set[str] = field(default_factory=set)
    last_window: int = -1
    answers: dict[str, int] = field(default_factory=dict)
    alive: bool = True
    wanted: tuple[SlotAssignment, ...] = ()

    async def turn(self) -> None:
        """Checks in, does what it is told, and reports a window that has ended."""
        if not self.alive:
            return
        self._say()
        statement = await self.device.check_in()
        if statement is not None:
            self.wanted = statement.slots
        for assignment in self.wanted:
            await self._follow(assignment)
        await self._report()

    def serves(self, release: str) -> bool:
        """Whether that release answers real requests on this device."""
        run = self.running
        if run is not None and run.assignment.release == release and run.state == "probation":
            return True
        return self.incumbent == release

    def _say(self) -> None:
        run = self.running
        busy = run is not None and run.state in ("shadowing", "probation")
        self.device.slots["digits"] = SlotStatus(
            "digits",
            run.state if run is not None and busy else "idle",
            incumbent=self.incumbent,
            candidate=run.assignment.release if run is not None and busy else None,
            operation=run.assignment.operation if run is not None else None,
        )

    async def _follow(self, wanted: SlotAssignment) -> None:
        run = self.running
        mine = run is not None and run.assignment.operation == wanted.operation
        if wanted.mode is Mode.WITHDRAWN:
            if run is not None and mine and run.state != "rejected":
                await self._go_back(run, "withdrawn by the director")
            return
        if wanted.operation in self.rejected or (not mine and self.incumbent == wanted.release):
            return
        if not mine:
            self.running = run = Running(wanted, "shadowing", self._now(), self.incumbent)
            tell = [self._event(EventKind.ACCEPTED, wanted), self._event(EventKind.DOWNLOADED, wanted)]
            if self._quality(wanted.release).crashes:
                reason = "worker died 3 times in a row"
                tell.append(self._event(EventKind.FAILED, wanted, code="MF-4031", reason=reason, hard=True))
                run.state = "rejected"
                self.rejected.add(wanted.operation)
            else:
                tell.append(self._event(EventKind.SHADOWING, wanted))
            await self.device.tell(*tell)
        assert run is not None
        run.assignment = wanted
        if wanted.mode is Mode.LIVE and run.state == "shadowing":
            run.state, run.since = "probation", self._now()
            await self.device.tell(self._event(EventKind.SWITCHED, wanted))
        elif run.state == "probation" and self._now() - run.since >= wanted.probation_s:
            run.state, self.incumbent = "committed", wanted.release
            await self.device.tell(self._event(EventKind.COMMITTED, wanted))

    async def _go_back(self, run: Running, reason: str) -> None:
        self.incumbent = run.before
        run.state = "rejected"
        self.rejected.add(run.assignment.operation)
        await self.device.tell(self._event(EventKind.ROLLED_BACK, run.assignment, reason=reason))

    async def _report(self) -> None:
        run = self.running
        window = int(self.device.rig.clock.now().timestamp() // WINDOW_S) - 1
        if run is None or run.state == "rejected" or window <= self.last_window:
            return
        if (window * WINDOW_S) < run.since + START_UNIX(self.device.rig):
            return
        self.last_window = window
        report = self._evidence(run, window)
        self.answers[run.assignment.release] = (
            self.answers.get(run.assignment.release, 0) + report.candidate_answers
        )
        await self.device.report(report)

    def _evidence(self, run: Running, window: int) -> Report:
        quality, draw = self._quality(run.assignment.release), self.noise
        live = run.state in ("probation", "committed")
        other = sum(draw.random() < quality.disagrees for _ in range(SEEN))
        failed = sum(draw.random() < quality.fails for _ in range(SEEN))
        incumbent = [0.010 * draw.lognormvariate(0, 0.1) for _ in range(PAIRS)]
        candidate = [x * quality.slower * draw.lognormvariate(0, 0.02) for x in incumbent]
        paired = run.before is not None
        return Report(
            window=window,
            window_s=WINDOW_S,
            slot="digits",
            operation=run.assignment.operation,
            release=run.assignment.release,
            incumbent=run.before,
            mode=Mode.LIVE if live else Mode.SHADOW,
            served=SEEN,
            answered_by_fallback=failed if live else 0,
            candidate_answers=SEEN - failed if live else 0,
            n=SEEN,
            candidate_only_failed=failed,
            latency=LatencyPairs(PAIRS, Histogram.of(candidate).to_wire(), Histogram.of(incumbent).to_wire())
            if paired
            else None,
            agreement=Agreement(SEEN, SEEN - other) if paired else None,
            golden=GoldenCount(100, quality.golden_right, 97 if paired else None),
        )

    def _quality(self, release: str) -> Quality:
        return self.qualities.get(release, Quality())

    def _now(self) -> float:
        return self.device.rig.clock.monotonic()

    def _event(self, kind: EventKind, wanted: SlotAssignment, **more: Any) -> Any:
        return self.device.event(kind, wanted.operation, wanted.release, **more)


def START_UNIX(rig: Rig) -> float:
    """Unix time at which the rig's monotonic clock was zero."""
    return rig.clock.now().timestamp() - rig.clock.monotonic()


@dataclass
class Fleet:
    """All devices of a test and the controller they talk to."""

    rig: Rig
    sims: list[Sim] = field(default_factory=list)
    qualities: dict[str, Quality] = field(default_factory=dict)
    operations: int = 0

    async def add(self, count: int, facts: Any, *, label: str = "", **labels: str) -> list[Sim]:
        """Enrols `count` devices and lets them check in once."""
        token = await self.rig.enrolment_token(allow_override=True)
        made = []
        for _ in range(count):
            name = f"{label or 'd'}{len(self.sims)}"
            device = await self.rig.device(name, facts, labels, token=token)
            sim = Sim(device, self.qualities, random.Random(len(self.sims)))
            self.sims.append(sim)
            made.append(sim)
            await sim.turn()
        return made

    def move(self, rig: Rig) -> None:
        """The controller was started again."""
        self.rig = rig
        for sim in self.sims:
            sim.device.rig = rig

    async def step(self, seconds: float = WINDOW_S) -> None:
        """Time passes, every device has a turn, the ticker has one."""
        self.rig.clock.advance(seconds)
        await asyncio.gather(*[sim.turn() for sim in self.sims])
        await self.rig.application.ticker.tick()

    async def run(self, name: str, steps: int, *, until: str = "") -> RolloutView:
        """Steps until the rollout has an outcome, or any class is in stage `until`."""
        view = await self.view(name)
        for _ in range(steps):
            await self.step()
            view = await self.view(name)
            if until and any(item.stage_name == until for item in view.classes):
                return view
            if not until and view.outcome is not None:
                return view
        raise AssertionError(
            f"{name}: {view.state} {view.outcome} after {steps} steps\n"
            + "\n".join(
                f"{c.device_class} {c.state} {c.stage_name} {c.outcomes}\n"
                + "\n".join(f"   {g.metric} {g.verdict}: {g.sentence}" for g in c.gates)
                for c in view.classes
            )
        )

    async def view(self, name: str) -> RolloutView:
        found: RolloutView = await self.rig.get(f"/v1/rollouts/{name}", RolloutView)
        return found

    async def create(self, of: str, expect: int = 201, **changes: Any) -> Any:
        """Creates a rollout with the small-fleet plan; `changes` replace fields of its spec."""
        options: dict[str, Any] = {
            key: changes.pop(key) for key in ("supersede", "no_gates_reason") if key in changes
        }
        key = changes.pop("key", None) or f"create-{of}-{len(json.dumps(changes))}-{self.rig.clock.elapsed}"
        body = {"resource": json.dumps(plan(of, changes)), "idempotency_key": key, **options}
        answer = await self.rig.call("POST", "/v1/rollouts", body)
        if expect in (200, 201):
            assert answer.status_code == expect, answer.text
            return codec.decode(answer.content, RolloutView, what="rollout")
        assert answer.status_code == expect, answer.text
        return answer

    async def operate(self, name: str, verb: str, expect: int = 200, **more: Any) -> Any:
        """Runs a verb."""
        token = more.pop("token", None)
        self.operations += 1
        body = {"verb": verb, "idempotency_key": f"operation-{self.operations}", **more}
        return await self.rig.call(
            "POST", f"/v1/rollouts/{name}/operations", body, token=token, expect=expect
        )


def plan(release: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The resource of a small-fleet rollout: three stages of seconds instead of hours."""
    times = {"minBake": "30s", "deadline": "30m"}
    spec: dict[str, Any] = {
        "release": release,
        "selector": {"matchLabels": {}},
        "window": f"{WINDOW_S:g}s",
        "minDevices": 2,
        "minRounds": 3,
        "probation": "20s",
        "stages": [
            {"name": "shadow", "mode": "shadow", "devices": 4, **times},
            {"name": "canary", "mode": "live", "percent": 25, "minDevices": 1, **times},
            {"name": "all", "mode": "live", "percent": 100, **times},
        ],
        **(changes or {}),
    }
    name = release.replace(":", "-").replace(".", "-")
    return {
        "apiVersion": "modelfleet.dev/v1alpha1",
        "kind": "FleetRollout",
        "metadata": {"name": name},
        "spec": spec,
    }
