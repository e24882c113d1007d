"""Fills an isolated environment: a virtual environment, then pip with exactly the locked files.

pip runs with the caller's own settings (index, proxy, certificates): those are the user's, and the lock names
every file's hash. Nothing is built from source: no foreign code runs before its hash was checked.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelfleet_build.isolated.tools import SCRIPTS, IsolatedTool
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

Tell = Callable[[str], None]

_TELL_EVERY_S = 5.0
_LOOK_EVERY_S = 0.5
_LIMIT_S = 3600.0
_ASK = "import sys, sysconfig, venv, ensurepip; print(*sys.version_info[:3], sysconfig.get_platform())"
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps", "--require-hashes")
_WHEELS = ("--only-binary=:all:", "--no-compile", "--progress-bar=off")
_ERROR = re.compile(r"ERROR: (.*)")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to make an environment with.

    Attributes:
        program: The executable.
        version: Major and minor version.
        identity: Everything of it that decides which files are installed: full version and platform.
    """

    program: str
    version: tuple[int, int]
    identity: str


def find(tool: IsolatedTool) -> Interpreter | None:
    """A Python in the tool's range: the one that runs us, else the newest on PATH."""
    own = Interpreter(
        sys.executable,
        (sys.version_info[0], sys.version_info[1]),
        f"cpython {'.'.join(map(str, sys.version_info[:3]))} {sysconfig.get_platform()}",
    )
    if tool.oldest <= own.version <= tool.newest:
        return own
    for minor in range(tool.newest[1], tool.oldest[1] - 1, -1):
        program = shutil.which(f"python{tool.newest[0]}.{minor}")
        found = _asked(program) if program is not None else None
        if found is not None and tool.oldest <= found.version <= tool.newest:
            return found
    return None


def fill(
    tool: IsolatedTool,
    interpreter: Interpreter,
    folder: Path,
    clock: Clock,
    tell: Tell,
    stop: threading.Event,
) -> None:
    """Make `folder`, which is empty, the tool's environment. It may be renamed afterwards.

    Raises:
        WorldError: MF-1470, it cannot be made; MF-5012, `stop` was set.
    """
    tell(f"making the isolated environment of {tool.name}: {tool.count()} packages, this takes minutes")
    scratch = folder / "tmp"
    python = str(folder / "bin" / "python")
    steps: Sequence[tuple[str, list[str]]] = (
        ("no virtual environment", [interpreter.program, "-I", "-m", "venv", str(folder)]),
        # `env` sets the folder for downloads: a small /tmp would be full before the disk is.
        (
            "pip failed",
            ["/usr/bin/env", f"TMPDIR={scratch}", python, "-I", *_PIP, *_WHEELS, "-r", str(tool.lock)],
        ),
        ("what was installed does not work", [python, "-I", "-c", f"import {', '.join(tool.check)}"]),
    )
    scratch.mkdir()
    for what, command in steps:
        progress = _Progress(tool, tell, clock)
        status, tail = _run(command, clock, progress, stop)
        if stop.is_set():
            raise stopped(tool.name)
        if status:
            raise _failed(tool, what, tail)
    shutil.rmtree(scratch)
    os.sync()  # the rename that follows must not outlive the files


class _Progress:
    """Turns pip's lines into sentences, and says that it still lives while pip says nothing."""

    def __init__(self, tool: IsolatedTool, tell: Tell, clock: Clock) -> None:
        self._name, self._total = tool.name, tool.count()
        self._tell, self._clock = tell, clock
        self._begun = self._told = clock.monotonic()
        self._seen, self._what = 0, ""

    def line(self, text: str) -> None:
        if match := re.match(r"\s*Collecting ([\w.-]+)", text):
            self._seen, self._what = self._seen + 1, match[1]
        elif match := re.match(r"\s*(?:Downloading|Using cached) (\S+) \(([^)]+)\)", text):
            self._what = f"{match[1].rsplit('/', 1)[-1].split('-')[0]}, {match[2]}"
        elif text.startswith("Installing collected packages"):
            self._seen, self._what = self._total, "unpacking"
        self.beat()

    def beat(self) -> None:
        now = self._clock.monotonic()
        if now - self._told < _TELL_EVERY_S or not self._what:
            return
        self._told = now
        seen = min(self._seen, self._total)
        self._tell(f"{self._name}: {seen} of {self._total} packages, {now - self._begun:.0f} s: {self._what}")


def stopped(name: str) -> WorldError:
    """The error of whoever was at work on an environment when the build ended."""
    return WorldError(
        Code.CANCELLED,
        f"the isolated environment of {name} was not made because the build ended",
        expected="a build that goes on",
        todo="run it again",
    )


def _run(
    command: Sequence[str], clock: Clock, progress: _Progress, stop: threading.Event
) -> tuple[int, list[str]]:
    """Run one step in a group of its own, which is gone afterwards; its status and last lines."""
    tail: deque[str] = deque(maxlen=60)
    deadline = clock.monotonic() + _LIMIT_S
    leash = [sys.executable, "-I", str(SCRIPTS / "leash.py"), str(os.getpid())]
    with subprocess.Popen(
        [*leash, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        pending = b""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while True:
                    if stop.is_set():
                        return 1, list(tail)
                    if clock.monotonic() > deadline:
                        return 1, [*tail, f"ERROR: not done after {_LIMIT_S:.0f} s"]
                    if not selector.select(_LOOK_EVERY_S):
                        progress.beat()
                        continue
                    data = os.read(process.stdout.fileno(), 65536)
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        text = line.decode("utf-8", "replace")
                        tail.append(text)
                        progress.line(text)
                    if not data:
                        tail.append(pending.decode("utf-8", "replace"))
                        return process.wait(), list(tail)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _failed(tool: IsolatedTool, what: str, tail: list[str]) -> WorldError:
    said = [line.strip() for line in tail if line.strip()]
    errors = [match[1] for line in said if (match := _ERROR.match(line))]
    why = (errors or said or ["it said nothing"])[-1]
    if any("No space left on device" in line for line in said):
        why = "the disk is full"
    return WorldError(
        Code.ISOLATED_NOT_MADE,
        f"the isolated environment of {tool.name} cannot be made here: {what}: "
        f"{_without_addresses(why)[:300]}",
        expected=f"the {tool.count()} locked packages, from the index that pip is set up to use",
        todo="look at the network and `pip config list`, then say `fleetctl build env make "
        f"{tool.name}`; or leave the class out",
    )


def _without_addresses(text: str) -> str:
    """An index's address may hold a password."""
    return re.sub(r"https?://\S+", "(address)", text)


@cache
def _asked(program: str) -> Interpreter | None:
    """What a Python says of itself; None where it does not start or cannot make environments."""
    try:
        done = subprocess.run(
            [program, "-I", "-c", _ASK], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode or len(words) != 4:
        return None
    major, minor, micro, platform = words
    return Interpreter(program, (int(major), int(minor)), f"cpython {major}.{minor}.{micro} {platform}")
