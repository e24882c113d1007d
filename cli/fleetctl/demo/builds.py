"""Builds releases by `fleetctl build`, one in view and the others niced behind the scenes that run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from .fleet import SLOT
from .places import Models, Places
from .processes import Command, Processes, Program, last_line, program, tail
from .screen import Screen

NICEST = 19
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """One release to build: its version, the source, and the precisions (empty = those of the classes)."""

    version: str
    source: Path
    precisions: tuple[str, ...] = ()


@dataclass(slots=True)
class _Done:
    finished: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0
    error: str = ""


class Builds:
    """The release folders of the demo. `folder(version)` waits until that one is built."""

    def __init__(
        self,
        places: Places,
        models: Models,
        processes: Processes,
        screen: Screen,
        clock: Clock,
        classes: Sequence[str],
    ) -> None:
        self._classes = tuple(classes)
        self._places = places
        self._models = models
        self._processes = processes
        self._screen = screen
        self._clock = clock
        self._done: dict[str, _Done] = {}
        self._stopped = threading.Event()

    def in_view(self, job: Job) -> Path:
        """Builds at once, with nothing from a cache, and shows what the command prints."""
        self._done[job.version] = _Done()
        started = self._start(job, nice=0, cache=False)
        while started.running:
            line = last_line(started.log)
            if line:
                self._screen.doing(line)
            self._clock.wait(0.1)
        self._finish(job, started)
        self._screen.done()
        for line in (self._places.logs / f"{started.name}.out").read_text().splitlines():
            self._screen.output(line)
        return self.folder(job.version)

    def behind(self, jobs: Sequence[Job]) -> None:
        """Builds one after the other, niced, in the background."""
        for job in jobs:
            self._done[job.version] = _Done()
        threading.Thread(target=self._work, args=(tuple(jobs),), daemon=True).start()

    def folder(self, version: str) -> Path:
        """The release folder of that version, once it is built.

        Raises:
            WorldError: MF-6052, the build failed; MF-6053, it took too long.
        """
        done = self._done[version]
        until = self._clock.monotonic() + LIMIT_S
        while not done.finished.wait(0.2):
            self._screen.doing(f"digits:{version} is still being built")
            if self._clock.monotonic() > until:
                raise WorldError(
                    Code.DEMO_TOO_LATE,
                    f"digits:{version} is not built",
                    expected=f"a release folder within {LIMIT_S:g} s",
                    todo=f"read {self._places.logs}",
                )
        if done.error:
            raise WorldError(
                Code.DEMO_PROCESS,
                f"fleetctl build of digits:{version} failed: {done.error}",
                expected="a release folder",
                todo=f"read {self._places.logs}",
            )
        return self._places.releases / version

    def seconds(self, version: str) -> float:
        """How long the build took."""
        return self._done[version].seconds

    def stop(self) -> None:
        """Begins no further build; running ones end with the other processes."""
        self._stopped.set()

    def _work(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._stopped.is_set():
                return
            try:
                started = self._start(job, nice=NICEST)
            except WorldError as error:
                self._done[job.version].error = str(error)
                self._done[job.version].finished.set()
                continue
            started.popen.wait()
            self._finish(job, started)

    def _start(self, job: Job, nice: int, *, cache: bool = True) -> Program:
        self._done[job.version].seconds = -self._clock.monotonic()
        command: Command = [
            program("fleetctl"),
            "build",
            job.source,
            "--name",
            SLOT,
            "--version",
            job.version,
        ]
        for name in self._classes:
            command += ["--class", name]
        for precision in job.precisions:
            command += ["--precision", precision]
        for option in ("calibration", "validation", "golden"):
            command += [f"--{option}", self._models.data(option)]
        command += ["--cache" if cache else "--no-cache", "--nice", str(nice)]
        command += ["-O", self._places.releases / job.version]
        return self._processes.start(f"build-{job.version}", command, nice=nice)

    def _finish(self, job: Job, started: Program) -> None:
        done = self._done[job.version]
        done.seconds += self._clock.monotonic()
        code = started.popen.wait()
        if code != 0:
            done.error = f"exit code {code}: {tail(started.log)}"
        done.finished.set()
