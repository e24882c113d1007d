"""Builds as child processes of this machine, each in its own session.

They outlive the controller: a restarted one finds them by the lock that each holds on its folder, which the
kernel drops with the process. So nothing is remembered that could be wrong, and no reused process id is taken
for a build.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelfleet_build import job as jobs
from modelfleet_build.child.runner import environment, group_rss
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from .port import Phase, RunStatus

LOG: Final = "log.txt"
_TAIL: Final = 600
_MIB: Final = 1024 * 1024


class LocalRunner:
    """A BuildRunner over the folders in `root`.

    Args:
        root: where the folders of jobs are.
        memory_bytes: resident memory of a build and its children; beyond it, `state` ends it.
    """

    def __init__(self, root: Path, memory_bytes: int) -> None:
        self._root = root
        self._memory_bytes = memory_bytes
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self, job: str) -> None:
        """Begins it (see the port)."""
        if (await self.state(job)).phase is not Phase.ABSENT:
            return
        try:
            self._children[job] = await asyncio.to_thread(self._spawn, self._root / job)
        except OSError as error:
            raise WorldError(
                Code.BUILD_LOST,
                f"the process of build {job} cannot be started: {error.strerror}",
                expected="a folder and processes to spare",
                todo="look at the machine of the controller; it is tried again",
            ) from error

    async def state(self, job: str) -> RunStatus:
        """Looks it up (see the port)."""
        return await asyncio.to_thread(self._state, job)

    async def cancel(self, job: str) -> None:
        """Ends it (see the port)."""
        await asyncio.to_thread(self._kill, job)

    def _spawn(self, folder: Path) -> subprocess.Popen[bytes]:
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "modelfleet_build", str(folder.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment(folder.absolute()),
                start_new_session=True,
            )

    def _state(self, job: str) -> RunStatus:
        folder = self._root / job
        worker = jobs.worker(folder)
        if worker is not None:
            held = group_rss(worker)
            if held <= self._memory_bytes:
                return RunStatus(Phase.RUNNING)
            self._kill(job)
            if jobs.read_outcome(folder) is None:
                jobs.write_outcome(folder, jobs.refused(_too_much(held, self._memory_bytes)))
            return RunStatus(Phase.ENDED)
        child = self._children.get(job)
        if child is not None and child.poll() is None:
            # on its way to take the lock, or from giving it up to its end
            return RunStatus(Phase.RUNNING)
        if child is None and not (folder / jobs.LOCK).exists():
            return RunStatus(Phase.ABSENT)
        self._children.pop(job, None)
        return RunStatus(Phase.ENDED, _how(child, folder / LOG))

    def _kill(self, job: str) -> None:
        """Kills the session; what the builder started in sessions of their own dies with its parent."""
        child = self._children.get(job)
        running = child.pid if child is not None and child.poll() is None else None
        for leader in {jobs.worker(self._root / job), running} - {None}:
            assert leader is not None
            with suppress(ProcessLookupError):
                leads = os.getpgid(leader) == leader  # not where a person ran it in a shell
                (os.killpg if leads else os.kill)(leader, signal.SIGKILL)
        if running is not None and child is not None:
            child.wait()


def _how(child: subprocess.Popen[bytes] | None, log: Path) -> str:
    """How a process ended, as far as anybody knows, and the last thing it said."""
    code = child.returncode if child is not None else None
    told = "" if code is None else f"with status {code}"
    if code is not None and code < 0:
        told = f"by signal {signal.Signals(-code).name}"
    with suppress(OSError):
        lines = log.read_bytes()[-_TAIL:].decode(errors="replace").strip().splitlines()
        if lines:
            told = f"{told}; its last line was: {lines[-1][:300]}".removeprefix("; ")
    return told


def _too_much(held: int, limit: int) -> WorldError:
    return WorldError(
        Code.CONVERSION_MEMORY,
        f"the build was killed when it and its children held {held // _MIB} MiB of memory",
        expected=f"at most {limit // _MIB} MiB",
        todo="order it with less data or fewer classes, or raise build_memory in the controller's settings",
    )
