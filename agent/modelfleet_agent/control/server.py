"""Serve's side of the control socket: one frame of msgpack in, one out (`protocol.py` says what they
mean)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, Protocol

import msgspec

from modelfleet_core import logs
from modelfleet_core.errors import ModelfleetError

from .framing import frame
from .protocol import MAX_FRAME, PROTOCOL, Actual, Desired, Kind, Reply, Request, WindowClosed
from .stream import FrameStream

SOCKET_MODE: Final = 0o600

log = logging.getLogger(__name__)


class Data(Protocol):
    """What the supervisor may ask of serve."""

    @property
    def boot_id(self) -> str:
        """Names this start of serve."""
        ...

    async def want(self, desired: Desired) -> None:
        """Follow a new table."""
        ...

    def actual(self) -> Actual:
        """What is so."""
        ...

    def windows_after(self, acknowledged: int) -> tuple[WindowClosed, ...]:
        """Forget what was acknowledged, and give the oldest of the rest."""
        ...


class ControlServer:
    """Answers supervisors.

    Args:
        data: serve.
        drain: called once a supervisor asked for it and has its reply.
    """

    def __init__(self, data: Data, drain: Callable[[], None]) -> None:
        self._data = data
        self._drain = drain
        self._server: asyncio.Server | None = None
        self._open: set[_Conversation] = set()

    async def start(self, path: Path) -> None:
        """Listen; a socket that a dead serve left behind is replaced (the caller holds serve's lock).

        Raises:
            OSError: nobody can listen there.
        """
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Conversation(self), str(path))
        path.chmod(SOCKET_MODE)

    async def stop(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for conversation in tuple(self._open):
            conversation.close()

    def opened(self, conversation: _Conversation) -> None:
        self._open.add(conversation)

    def closed(self, conversation: _Conversation) -> None:
        self._open.discard(conversation)

    async def answer(self, request: Request) -> Reply:
        """The reply to one request; errors are told, not raised."""
        boot_id = self._data.boot_id
        if request.protocol != PROTOCOL and request.kind not in (Kind.HELLO, Kind.DRAIN):
            return Reply(boot_id=boot_id, error=f"protocol {request.protocol}; this serve speaks {PROTOCOL}")
        if request.kind is Kind.HELLO:
            return Reply(boot_id=boot_id)
        if request.kind is Kind.WINDOWS:
            return Reply(boot_id=boot_id, windows=self._data.windows_after(request.acknowledged))
        if request.kind is Kind.DESIRED:
            if request.desired is None:
                return Reply(boot_id=boot_id, error="the request holds no table")
            try:
                await self._data.want(request.desired)
            except (OSError, ModelfleetError) as error:
                return Reply(boot_id=boot_id, actual=self._data.actual(), error=str(error)[:500])
        return Reply(boot_id=boot_id, actual=self._data.actual())

    def after(self, request: Request) -> None:
        """The reply has been written."""
        if request.kind is Kind.DRAIN:
            self._drain()


class _Conversation(FrameStream):
    """One supervisor; requests are answered in order."""

    def __init__(self, server: ControlServer) -> None:
        super().__init__(MAX_FRAME)
        self._server = server
        self._decoder = msgspec.msgpack.Decoder(Request)
        self._encoder = msgspec.msgpack.Encoder()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.opened(self)

    def ended(self) -> None:
        self._server.closed(self)

    def received(self, payload: bytearray) -> None:
        try:
            request = self._decoder.decode(payload)
        except msgspec.DecodeError as error:
            # A supervisor of another version may speak otherwise: it must at least learn which protocol is
            # spoken.
            self._reply(Reply(error=f"the request cannot be read: {str(error)[:300]}"))
            return
        self._begin(self._serve(request))

    def refused(self, error: ModelfleetError) -> None:
        logs.warning(log, "control.refused", reason=error.happened)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Request) -> None:
        async with self._turn:
            self._reply(await self._server.answer(request))
        self._server.after(request)

    def _reply(self, reply: Reply) -> None:
        self.send(frame(self._encoder.encode(reply)))
