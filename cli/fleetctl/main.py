"""The program `fleetctl`: composes the app from this process's environment, streams and clock."""

from __future__ import annotations

import atexit
import getpass
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from fleetctl.app import App
from fleetctl.run import Terminated, run
from fleetctl.settings import read_settings
from fleetctl.terminal import system_terminal
from modelfleet_core.clock import SystemClock, system_entropy

if TYPE_CHECKING:
    from fleetctl.client.api import Api
    from fleetctl.client.transport import Target


def connect(target: Target) -> Api:
    """The API over the network; closed when the process ends."""
    from fleetctl.client.api import Api
    from fleetctl.client.transport import Transport

    transport = Transport(target)
    atexit.register(transport.close)
    return Api(transport)


def main() -> int:
    """Runs `sys.argv` and returns the exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asked to go on
        signal.signal(signal.SIGHUP, _terminated)
    settings = read_settings(os.environ)
    terminal = system_terminal(color=settings.color)
    app = App(settings, terminal, SystemClock(), system_entropy, connect, getpass.getpass)
    return run(sys.argv[1:], app)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM, or a terminal that closes, unwinds as Ctrl-C does, so that what was begun is cleaned up;
    commands may replace it."""
    raise Terminated(number)


if __name__ == "__main__":
    sys.exit(main())
