"""A real serve in a process of its own, and the supervisor's side of its control socket."""

from __future__ import annotations

import socket
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from modelfleet_agent.control.framing import Channel, frame
from modelfleet_agent.control.protocol import (
    MAX_FRAME,
    Desired,
    Kind,
    ModelActual,
    ModelRef,
    ModelState,
    Reply,
    Request,
    SlotActual,
    SlotDesired,
)
from modelfleet_agent.sdk import Model
from modelfleet_core.wire.report import Report

from e2e.support import Process, eventually

SLOT = "digits"
LOADING_S = 60.0


class ServeProcess:
    """`serve` on a state directory; restarted on the same one by another instance."""

    def __init__(self, folder: Path, name: str = "serve") -> None:
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        config = folder / "agent.toml"
        config.write_text(
            f'state_dir = "{self.state}"\npair_lock = "{folder / "pair.lock"}"\n'
            '[serve]\nlisten = "127.0.0.1:0"\n'
        )
        command = [sys.executable, "-m", "modelfleet_agent.serve", "--config", str(config)]
        self.process = Process(command, folder / "logs", name=name)
        ready = self.process.ready(30)
        self.http = ready.text("http")
        self.socket = Path(ready.text("socket"))
        self.control = Path(ready.text("control"))
        self._channel: Channel | None = None
        self._generation = 0
        self._cursor = 0
        self._reports: list[Report] = []

    def ask(self, request: Request) -> Reply:
        """One request of a supervisor."""
        if self._channel is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(20)
            connection.connect(str(self.control))
            self._channel = Channel(connection)
        self._channel.send(frame(msgspec.msgpack.encode(request)))
        payload = self._channel.receive(MAX_FRAME)
        assert payload is not None
        return msgspec.msgpack.decode(payload, type=Reply)

    def want(self, *slots: SlotDesired) -> Reply:
        """Send a whole table."""
        known = self.ask(Request(Kind.ACTUAL)).actual
        assert known is not None
        self._generation = max(self._generation, known.generation) + 1
        reply = self.ask(Request(Kind.DESIRED, desired=Desired(self._generation, slots)))
        assert reply.error is None, reply.error
        return reply

    def actual(self, slot: str = SLOT) -> SlotActual:
        """What is so for a slot."""
        reply = self.ask(Request(Kind.ACTUAL))
        assert reply.actual is not None
        return next(item for item in reply.actual.slots if item.slot == slot)

    def model(self, ref: ModelRef) -> ModelActual | None:
        """One loaded model."""
        return next((item for item in self.actual().models if item.release == ref.release), None)

    def until_state(self, ref: ModelRef, state: ModelState = ModelState.READY) -> ModelActual:
        """Wait until a model is in that state."""

        def look() -> ModelActual | None:
            model = self.model(ref)
            return model if model is not None and model.state is state else None

        found = eventually(look, LOADING_S, what=f"{ref.reference} {state}")
        assert found is not None
        return found

    def reports(self) -> list[Report]:
        """Every window that was closed so far; acknowledges what it has seen."""
        while windows := self.ask(Request(Kind.WINDOWS, acknowledged=self._cursor)).windows:
            self._cursor = windows[-1].cursor
            self._reports += [window.report for window in windows]
        return list(self._reports)

    def metric(self, name: str, **labels: str) -> float:
        """A sample of `/metrics` (needs the mark `server`); 0 where it is not there."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith((f"{name}{{", f"{name} ")) and all(label in line for label in wanted):
                    return float(line.split()[-1])
        return 0.0

    def sdk(self, timeout_s: float = 10.0) -> Model:
        """The application's side."""
        return Model(SLOT, socket=self.socket, timeout_s=timeout_s)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.hang_up()
        return self.process.terminate()

    def kill(self) -> None:
        """SIGKILL, to serve alone."""
        self.hang_up()
        self.process.kill_alone()

    def hang_up(self) -> None:
        """Forget the control connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self.process.__exit__(kind, error, trace)


def only(incumbent: ModelRef) -> SlotDesired:
    """A slot with one committed model."""
    return SlotDesired(SLOT, incumbent.release, incumbent, None, None)


def shadowing(
    incumbent: ModelRef, candidate: ModelRef, *, window_s: float = 1.0, operation: str = "op-1"
) -> SlotDesired:
    """The candidate gets a copy of every input."""
    return SlotDesired(
        SLOT,
        incumbent.release,
        incumbent,
        candidate,
        None,
        mirror_to=candidate.release,
        mirror_share=1.0,
        operation=operation,
        window_s=window_s,
        golden_folder=incumbent.folder,
    )


def live(
    incumbent: ModelRef,
    candidate: ModelRef,
    *,
    window_s: float = 1.0,
    operation: str = "op-1",
    share: float = 0.5,
) -> SlotDesired:
    """The candidate answers on probation; the incumbent gets some copies."""
    return replace(
        shadowing(incumbent, candidate, window_s=window_s, operation=operation),
        active=candidate.release,
        mirror_to=incumbent.release,
        mirror_share=share,
        probation=True,
    )
