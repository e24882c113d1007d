"""What every scene works with, and where it writes down what it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_core.clock import Clock, Entropy

from .builds import Builds, Job
from .fleet import SLOT, SPECS, Fleet, Spec
from .operator import Operator
from .places import Models, Places
from .processes import Processes
from .report import Check, KillRow, RefusalRow
from .rollouts import Rollouts
from .screen import Screen
from .traffic import Traffic


@dataclass(slots=True)
class Record:
    """What the scenes found so far."""

    screen: Screen
    checks: list[Check] = field(default_factory=list)
    kills: list[KillRow] = field(default_factory=list)
    refusals: list[RefusalRow] = field(default_factory=list)
    scene: int = 0

    def check(self, promise: str, ok: bool, seen: str = "") -> bool:
        """Writes down whether a promise of the current scene held, and shows it."""
        self.checks.append(Check(scene=self.scene, promise=promise, ok=ok, seen=seen))
        self.screen.check(promise, ok, seen)
        return ok


class World:
    """The demo's parts. The controller must have been started before `operator` and `rollouts` are asked
    for."""

    def __init__(
        self,
        places: Places,
        models: Models,
        camera: Path,
        processes: Processes,
        screen: Screen,
        clock: Clock,
        entropy: Entropy,
        jobs: tuple[Job, ...],
        specs: tuple[Spec, ...] = SPECS,
    ) -> None:
        self.places = places
        self.models = models
        self.processes = processes
        self.screen = screen
        self.clock = clock
        self.record = Record(screen)
        self.fleet = Fleet(places, processes, clock, specs)
        self.traffic = Traffic(processes, clock, places.cameras, camera, models.data("live"))
        self.builds = Builds(places, models, processes, screen, clock, self.fleet.classes)
        self.baseline = ""
        self.baseline_id = ""
        self._entropy = entropy
        self._jobs = jobs
        self._pushed: set[str] = set()
        self._operator: Operator | None = None
        self._rollouts: Rollouts | None = None

    @property
    def has_controller(self) -> bool:
        return self._rollouts is not None

    @property
    def operator(self) -> Operator:
        assert self._operator is not None, "the controller has not been started"
        return self._operator

    @property
    def rollouts(self) -> Rollouts:
        assert self._rollouts is not None, "the controller has not been started"
        return self._rollouts

    def end(self) -> None:
        """No further build begins, every process ends, every connection is closed."""
        self.builds.stop()
        self.processes.stop_all()
        if self._operator is not None:
            self._operator.close()

    def start_controller(self) -> None:
        """The controller runs, the release key exists outside its folder, and the trust file is written."""
        self.screen.doing("the embedded controller starts")
        self.fleet.start_controller()
        self._operator = Operator(
            self.fleet.url, self.fleet.admin_token, self.places, self.clock, self._entropy
        )
        self._rollouts = Rollouts(self._operator, self.fleet, self.screen, self.clock)
        self._operator.make_keys()
        self.screen.say(f"controller at {self.fleet.url}; the release key is outside its folder")

    def release(self, version: str, *, in_view: bool = False) -> None:
        """The release of that version is built (waits for it), signed and pushed, once."""
        reference = f"{SLOT}:{version}"
        if reference in self._pushed:
            return
        if in_view:
            folder = self.builds.in_view(Job(version, self.models.model(version)))
        else:
            folder = self.builds.folder(version)
        self.operator.sign(folder)
        self.operator.push(folder)
        self._pushed.add(reference)
        seconds = self.builds.seconds(version)
        self.screen.say(f"{reference}: built in {seconds:.0f} s, signed and pushed")

    def builds_behind(self) -> None:
        """The other releases build behind the scenes that run."""
        if self._jobs:
            self.builds.behind(self._jobs)
            names = ", ".join(f"{SLOT}:{job.version}" for job in self._jobs)
            self.screen.say(f"{names} build niced behind what follows")

    def eventually(self, holds: Callable[[], bool], limit_s: float) -> bool:
        """Waits until `holds()`, at most `limit_s` seconds; whether it did."""
        until = self.clock.monotonic() + limit_s
        while not holds():
            if self.clock.monotonic() > until:
                return False
            self.clock.wait(0.05)
        return True
