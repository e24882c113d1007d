"""Starting serve so that it outlives the supervisor; one that runs is left alone (semantics section 5)."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from modelfleet_agent.state.files import PRIVATE_FILE
from modelfleet_agent.state.folder import holder
from modelfleet_core import logs
from modelfleet_core.clock import Clock

_log = logging.getLogger(__name__)

LOCK: Final = "lock"
LOG: Final = "serve.log"
SAID: Final = "serve.out"
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
LIVED_S: Final = 30.0
MAX_LOG: Final = 4 * 1024 * 1024


class Launcher(Protocol):
    """Sees to it that a serve runs."""

    def ensure(self) -> None:
        """Starts serve unless one runs or is starting; never raises."""
        ...

    def address(self) -> str | None:
        """Where its HTTP listens, if that is known."""
        ...


class DetachedServe:
    """Starts serve as a session of its own; its output goes to files beside its table.

    Args:
        folder: serve's own.
        command: the program and its arguments.
        clock: for the time between two starts.
        managed: somebody else (systemd) starts serve; then it is only waited for.
    """

    def __init__(self, folder: Path, command: Sequence[str], clock: Clock, *, managed: bool = False) -> None:
        self._folder = folder
        self._command = tuple(command)
        self._clock = clock
        self._managed = managed
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._not_before = 0.0
        self._wait_s = FIRST_WAIT_S

    def ensure(self) -> None:
        """See `Launcher.ensure`."""
        now = self._clock.monotonic()
        if self._child is not None and self._child.poll() is not None:
            lived = now - self._started
            logs.warning(_log, "serve.ended", code=self._child.returncode, lived_s=round(lived, 1))
            self._wait_s = FIRST_WAIT_S if lived > LIVED_S else min(LONGEST_WAIT_S, self._wait_s * 2)
            self._not_before = now if lived > LIVED_S else now + self._wait_s / 2
            self._child = None
        # Its lock, not our child: a serve may have been started by an earlier supervisor, or by systemd.
        if self._managed or self._child is not None or now < self._not_before or self._runs():
            return
        try:
            self._child = self._start()
        except OSError as error:
            logs.error(_log, "serve.not_started", reason=str(error))
            self._not_before = now + self._wait_s
            self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
            return
        self._started = now
        logs.info(_log, "serve.started", pid=self._child.pid)

    def address(self) -> str | None:
        """From the readiness line that serve printed."""
        try:
            with (self._folder / SAID).open("rb") as file:
                said = json.loads(file.readline(4096))
            address = said["ready"]["http"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return address if isinstance(address, str) else None

    def _runs(self) -> bool:
        return holder(self._folder / LOCK) is not None

    def _start(self) -> subprocess.Popen[bytes]:
        log = self._folder / LOG
        if log.exists() and log.stat().st_size > MAX_LOG:
            os.replace(log, log.with_suffix(".old"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        stderr = os.open(log, flags | os.O_APPEND, PRIVATE_FILE)
        stdout = os.open(self._folder / SAID, flags | os.O_TRUNC, PRIVATE_FILE)
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        finally:
            os.close(stdout)
            os.close(stderr)
