"""Runs the controller as a child: takes its readiness line, passes signals on, ends with its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

MAX_LINE: Final = 64 * 1024
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ServerView:
    """View of `server start`, shown when the controller is ready. `admin_token` at the first start alone."""

    url: str
    data: str
    pid: int
    admin_token: str | None = None
    schema: int = 1


def serve(command: Sequence[str], data: str, ready: Callable[[ServerView], None]) -> int:
    """Starts the program and stays until it ends.

    Args:
        command: the controller and its arguments.
        data: its folder, for the view.
        ready: told once, when it serves.

    Returns:
        Its exit code; 128 + N where signal N ended it.

    Raises:
        WorldError: MF-6008, it ended before it was ready, or cannot be started.
    """
    try:
        # A session of its own: Ctrl-C reaches it once, through us, and not twice.
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise _died(command, str(error)) from error
    assert child.stdout is not None
    with _forwarding(child.pid), child.stdout as lines:
        view = _readiness(lines, data, child.pid)
        if view is not None:
            ready(view)
            while lines.readline(MAX_LINE):
                pass
        code = child.wait()
    if view is None and code >= 0:
        raise _died(command, f"it ended with exit code {code} before it was ready")
    return code if code >= 0 else 128 - code


def _readiness(lines: IO[bytes], data: str, pid: int) -> ServerView | None:
    while line := lines.readline(MAX_LINE):
        try:
            body = json.loads(line)
        except ValueError:
            continue
        fields = body.get("ready") if isinstance(body, dict) else None
        if isinstance(fields, dict):
            token = fields.get("admin_token")
            return ServerView(str(fields.get("url", "")), data, pid, str(token) if token else None)
    return None


@contextmanager
def _forwarding(pid: int) -> Iterator[None]:
    def forward(number: int, _: FrameType | None) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _died(command: Sequence[str], why: str) -> WorldError:
    return WorldError(
        Code.CLI_PROGRAM_DIED,
        f"the controller did not start: {why}",
        expected="a controller that serves",
        todo=f"read the lines above; try `{' '.join(command)}`",
    )
