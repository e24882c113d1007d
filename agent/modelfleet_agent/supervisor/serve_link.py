"""The supervisor's hold on serve: adopt it or start it, tell it the whole table, take its truth and its
evidence.

Level-triggered: after every reconnect the whole table goes out again under a higher generation, and only an
actual state of that generation counts. A serve of another protocol version is drained and replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from modelfleet_agent.control.protocol import Actual, Desired, SlotDesired, WindowClosed
from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.wire.report import Report

from .launcher import Launcher

_log = logging.getLogger(__name__)

MAX_ROUNDS: Final = 32


class ServePort(Protocol):
    """One conversation with serve (`control.client.ServeClient`)."""

    def hello(self) -> str:
        """Serve's boot id."""
        ...

    def want(self, desired: Desired) -> Actual:
        """Hands the whole table over."""
        ...

    def actual(self) -> Actual:
        """Serve's truth."""
        ...

    def windows(self, acknowledged: int) -> tuple[WindowClosed, ...]:
        """Closed windows after that cursor."""
        ...

    def drain(self) -> None:
        """Asks serve to end."""
        ...

    def fileno(self) -> int | None:
        """Of the socket, to see it hang up; None where there is none."""
        ...

    def close(self) -> None:
        """Hangs up."""
        ...


class ServeLink:
    """Holds at most one conversation with serve. Used by the control loop alone.

    Args:
        connect: opens a conversation; raises WorldError where nobody listens.
        launcher: starts serve.
    """

    def __init__(self, connect: Callable[[], ServePort], launcher: Launcher) -> None:
        self._connect = connect
        self._launcher = launcher
        self._port: ServePort | None = None
        self._rows: tuple[SlotDesired, ...] | None = None
        self._generation = 0
        self._cursor = 0
        self._boot_id = ""
        self.trouble: ModelfleetError | None = None
        self.pid: int | None = None

    @property
    def boot_id(self) -> str:
        """Of the serve that is spoken with; empty where there is none."""
        return self._boot_id if self._port is not None else ""

    def address(self) -> str | None:
        """Where serve's HTTP listens, if that is known."""
        return self._launcher.address()

    def fileno(self) -> int | None:
        """Descriptor that hangs up when serve is gone; None while there is no conversation."""
        return self._port.fileno() if self._port is not None else None

    def sync(self, rows: tuple[SlotDesired, ...]) -> Actual | None:
        """Makes serve follow `rows`; its truth under exactly this table, or None while there is none.

        Never raises: what went wrong stands in `trouble`.
        """
        try:
            port = self._connected()
            if rows != self._rows:
                self._generation += 1
                actual = port.want(Desired(self._generation, rows))
                self._rows = rows
            else:
                actual = port.actual()
        except ModelfleetError as error:
            self._lost(error)
            return None
        self.trouble = None
        self.pid = actual.pid
        if actual.generation > self._generation:
            # Another table is in force (a supervisor before us): ours goes out again above it.
            self._generation, self._rows = actual.generation, None
        return actual if actual.generation == self._generation and self._rows is not None else None

    def collect(self, keep: Callable[[list[Report]], None]) -> None:
        """Takes closed windows over; serve forgets them only after `keep` has them. Never raises."""
        if self._port is None:
            return
        try:
            for _ in range(MAX_ROUNDS):
                windows = self._port.windows(self._cursor)
                if not windows:
                    return
                keep([window.report for window in windows])
                self._cursor = windows[-1].cursor
        except ModelfleetError as error:
            self._lost(error)

    def close(self) -> None:
        """Hangs up; serve goes on."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _connected(self) -> ServePort:
        if self._port is not None:
            return self._port
        try:
            port = self._connect()
        except ModelfleetError:
            self._launcher.ensure()
            raise
        try:
            self._boot_id = port.hello()
            self._generation = max(self._generation, port.actual().generation)
        except ModelfleetError as error:
            if error.code is Code.CONTROL_PROTOCOL:
                logs.warning(_log, "serve.replaced", reason=error.happened)
                port.drain()
            port.close()
            raise
        logs.info(_log, "serve.adopted", boot_id=self._boot_id)
        self._port, self._rows, self._cursor = port, None, 0
        return port

    def _lost(self, error: ModelfleetError) -> None:
        if self._port is not None:
            logs.warning(_log, "serve.lost", code=error.code.value, reason=error.happened)
        elif self.trouble is None or self.trouble.code is not error.code:
            logs.info(_log, "serve.awaited", code=error.code.value, reason=error.happened)
        self.trouble = error
        self.pid = None
        self.close()
