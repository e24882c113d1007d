"""Programs that the demo starts, and their certain end.

Each leads a process group of its own. Agents start their serve detached, on purpose, so at the end the demo
also looks for processes whose command line names its work folder: nothing but what it started can be among
them, because it made that folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

NOTHING = "(nothing)"
Command = list[str | os.PathLike[str]]

_TAIL = 2_000  # characters of a log shown in an error


def program(name: str) -> str:
    """The path of one of our programs: it lies beside the Python that runs this one."""
    return str(Path(sys.executable).parent / name)


@dataclass(slots=True)
class Program:
    """One started program; `name` also names its log files."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    _ready: threading.Event = field(default_factory=threading.Event)
    _line: dict[str, object] | None = None

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def ready(self, limit_s: float) -> dict[str, object]:
        """The body of the line `{"ready": {...}}` that the program prints when it serves.

        Raises:
            WorldError: MF-6052, it ended or said nothing for `limit_s` seconds; the message holds the end of
            its log.
        """
        self._ready.wait(limit_s)
        if self._line is None:
            state = "is silent" if self.running else f"ended with {self.popen.returncode}"
            raise WorldError(
                Code.DEMO_PROCESS,
                f"{self.name} {state} before it was ready; its last words: {tail(self.log)}",
                expected=f"a readiness line within {limit_s:g} s",
                todo=f"read {self.log}",
            )
        return self._line

    def read(self, stdout: IO[bytes], kept: Path) -> None:
        """Keeps stdout in a file and takes the readiness line out of it."""
        with stdout, kept.open("ab", buffering=0) as file:
            for line in stdout:
                if self._line is None and line.lstrip().startswith(b'{"ready"'):
                    body = json.loads(line).get("ready")
                    self._line = body if isinstance(body, dict) else {}
                    self._ready.set()
                    continue  # it may hold a secret (the first admin token)
                file.write(line)
        self._ready.set()


class Processes:
    """All programs of the demo.

    Args:
        logs: folder for `NAME.out` and `NAME.err`.
        work: the demo's work folder, by which detached processes are recognised.
        clock: for waiting.
    """

    def __init__(self, logs: Path, work: Path, clock: Clock) -> None:
        self._logs = logs
        self._work = os.fsencode(work)
        self._clock = clock
        self._programs: list[Program] = []
        self._kept = False

    def start(self, name: str, command: Command, *, nice: int = 0) -> Program:
        """Starts a program in its own process group; stderr goes to `NAME.err`.

        Raises:
            WorldError: MF-6052, it cannot be started.
        """
        log = self._logs / f"{name}.err"
        try:
            with log.open("ab") as stderr:
                popen = subprocess.Popen(
                    [os.fspath(word) for word in command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    start_new_session=True,
                )
        except OSError as error:
            raise WorldError(
                Code.DEMO_PROCESS,
                f"{name} cannot be started: {error}",
                expected="the programs of the installation beside this Python",
                todo="install everything: pip install -e '.[all]'",
            ) from error
        if nice:
            os.setpriority(os.PRIO_PROCESS, popen.pid, nice)  # inherited by its children
        program = Program(name, popen, log)
        self._programs.append(program)
        assert popen.stdout is not None
        threading.Thread(
            target=program.read, args=(popen.stdout, self._logs / f"{name}.out"), daemon=True
        ).start()
        return program

    def kill(self, pid: int) -> None:
        """kill -9 of one process that this demo started; nothing happens when it has ended."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def stop(self, program: Program, limit_s: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL after `limit_s`; the exit code."""
        if program.running:
            program.popen.terminate()
            try:
                program.popen.wait(limit_s)
            except subprocess.TimeoutExpired:
                program.popen.kill()
        return program.popen.wait(limit_s)

    def running(self) -> list[Program]:
        return [program for program in self._programs if program.running]

    def stop_all(self, limit_s: float = 10.0) -> None:
        """Ends everything the demo started, detached processes included; returns when nothing is left (after
        `forget`: ends nothing)."""
        if self._kept:
            return
        for program in reversed(self._programs):
            if program.running:
                program.popen.terminate()
        self._end_left(signal.SIGTERM, limit_s)
        for program in self._programs:
            if program.running:
                _group(program.pid, signal.SIGKILL)
        self._end_left(signal.SIGKILL, limit_s)
        for program in self._programs:
            program.popen.wait(limit_s)

    def forget(self) -> None:
        """`--keep`: what runs now is no longer this object's to end."""
        self._programs.clear()
        self._kept = True

    def left(self) -> list[int]:
        """Processes of this Python that name the work folder in their command line, the demo itself
        excepted."""
        mine = os.getpid()
        python = os.readlink("/proc/self/exe")
        found: list[int] = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == mine:
                continue
            try:
                if os.readlink(f"/proc/{entry.name}/exe") != python:
                    continue
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                    words = file.read(65_536).split(b"\0")
                with open(f"/proc/{entry.name}/stat", "rb") as file:
                    state = file.read(4_096).rpartition(b")")[2].split()[0]
            except OSError:  # it ended while we looked
                continue
            if state != b"Z" and any(_inside(word, self._work) for word in words):
                found.append(int(entry.name))
        return found

    def _end_left(self, number: signal.Signals, limit_s: float) -> None:
        """Signals every process once, late ones too, until nothing is left or the time is up."""
        until = self._clock.monotonic() + limit_s
        told: set[int] = set()
        while (left := self.left()) or self.running():
            for pid in set(left) - told:
                told.add(pid)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            if self._clock.monotonic() > until:
                return
            self._clock.wait(0.05)


def children(parent: int) -> list[int]:
    """Processes whose parent is `parent`, oldest first."""
    found: list[tuple[int, int]] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", "rb") as file:
                fields = file.read(4_096).rpartition(b")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if fields[0] != b"Z" and int(fields[1]) == parent:
            found.append((int(fields[19]), int(entry.name)))  # fields 4 and 22 of proc(5): ppid, starttime
    return [pid for _, pid in sorted(found)]


def _inside(word: bytes, folder: bytes) -> bool:
    return word == folder or word.startswith(folder + b"/") or b"=" + folder + b"/" in word


def _group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def last_line(log: Path) -> str:
    """The last whole line of a log, for progress; empty while there is none."""
    text = tail(log).rstrip()
    return "" if text == NOTHING else text.rpartition("\n")[2]


def tail(log: Path) -> str:
    """The end of a log, for an error's message."""
    if not log.exists():
        return NOTHING
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        return file.read().decode("utf-8", "replace").strip() or NOTHING
