"""The Unix socket of the SDK: questions in, replies out, tensors untouched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError

from ..control.application import MAX_TIMEOUT_S, VERSION, Ask, Metadata, Question, Reply, Trouble
from ..control.framing import MAX_SPLIT, Buffer, open_split, split_frame
from ..control.stream import FrameStream
from .app import Serve
from .request import Inference, empty

SOCKET_MODE: Final = 0o660
MAX_CONNECTIONS: Final = 256
MAX_UNDER_WAY: Final = 16
"""Questions of one connection that are under way; beyond that serve stops reading from it."""
AGAIN: Final = frozenset({Code.SERVE_DRAINING})

_DECODER: Final = msgspec.msgpack.Decoder(Question)
_ENCODER: Final = msgspec.msgpack.Encoder()


class SdkServer:
    """Listens for applications."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.open: set[_Application] = set()
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        """Listen; a socket that a dead serve left behind is replaced (the caller holds serve's lock).

        Raises:
            OSError: nobody can listen there.
        """
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Application(self), str(path))
        path.chmod(SOCKET_MODE)

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    def hang_up(self) -> None:
        """Close every connection after what was written."""
        for application in tuple(self.open):
            application.close()


class _Application(FrameStream):
    """One connection of an application."""

    def __init__(self, server: SdkServer) -> None:
        super().__init__(MAX_SPLIT)
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.open) >= MAX_CONNECTIONS:
            self.close()
            return
        self._server.open.add(self)

    def ended(self) -> None:
        self._server.open.discard(self)

    def received(self, payload: bytearray) -> None:
        head, body = open_split(payload)
        try:
            question = _DECODER.decode(head)
        except msgspec.DecodeError as error:
            self._send(Reply(0, trouble=_misunderstood(str(error))), ())
            self.close()
            return
        if question.version != VERSION:
            self._send(Reply(question.number, trouble=_misunderstood(f"version {question.version}")), ())
            return
        task = asyncio.create_task(self._answer(question, body))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if len(self._tasks) >= MAX_UNDER_WAY and self.transport is not None:
            self.transport.pause_reading()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.transport is not None and not self.transport.is_reading() and not self.transport.is_closing():
            self.transport.resume_reading()

    async def _answer(self, question: Question, body: memoryview) -> None:
        try:
            if question.ask is Ask.METADATA:
                self._send(Reply(question.number, metadata=self._metadata(question.slot)), ())
                return
            wait = min(max(question.timeout_s, 0.0), MAX_TIMEOUT_S)
            deadline = asyncio.get_running_loop().time() + wait
            served = await self._server.serve.infer(question.slot, Inference(question.inputs, body, deadline))
        except ModelfleetError as error:
            again = error.code in AGAIN
            trouble = Trouble(error.code.value, error.happened, error.expected, error.todo, again)
            self._send(Reply(question.number, trouble=trouble), ())
            return
        reply = Reply(question.number, served.release, served.variant, served.compute_ns, served.outputs)
        self._send(reply, (served.body,))

    def _metadata(self, name: str) -> Metadata:
        slot = self._server.serve.slot(name)
        model = slot.active
        if model is None or model.contract is None:
            raise empty(name)
        inputs, outputs = model.contract.logical()
        ref = model.ref
        return Metadata(ref.release, ref.reference, ref.variant, model.ready, inputs, outputs)

    def _send(self, reply: Reply, bodies: tuple[Buffer, ...]) -> None:
        self.send(split_frame(_ENCODER.encode(reply), bodies))


def _misunderstood(reason: str) -> Trouble:
    return Trouble(
        Code.REQUEST_INVALID.value,
        f"the request cannot be understood: {reason[:300]}",
        f"a question of version {VERSION}",
        "use the SDK of the same version",
    )
