"""HTTP/1.1 on asyncio streams through h11: bounded heads and bodies, keep-alive, one request at a time."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import h11

from modelfleet_core import logs

from ...control.framing import MAX_BODY, MAX_HEAD, Buffer

MAX_REQUEST_HEAD: Final = 16 * 1024
MAX_REQUEST_BODY: Final = MAX_BODY + MAX_HEAD
MAX_CONNECTIONS: Final = 128
IDLE_S: Final = 300.0
_CHUNK: Final = 256 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A whole request; header names are lower case, the target is without its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: memoryview


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response."""

    status: int
    body: Sequence[Buffer] = ()
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class _TooMuchError(Exception):
    """The body is longer than the limit, or cannot be unpacked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HttpServer:
    """Listens on TCP and hands whole requests to `handler`, which does not raise."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and say where (port 0 = any free one).

        Raises:
            OSError: the address is taken or not ours.
        """
        self._server = await asyncio.start_server(self._serve, host, port)
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def hang_up(self) -> None:
        """Close every connection."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open[task] = writer
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or idle, or serve goes down
        except h11.RemoteProtocolError as error:
            logs.info(log, "http.malformed", reason=str(error)[:200])
        finally:
            del self._open[task]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_HEAD)
        while True:
            try:
                request = await self._request(connection, reader, writer)
                response = await self._handler(request) if request is not None else None
            except h11.RemoteProtocolError as error:
                response = _plain(error.error_status_hint, "malformed request")
            except _TooMuchError as error:
                response = _plain(error.status, str(error))
            if response is None:
                return
            if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                return
            await _respond(connection, writer, response)
            if not _may_go_on(connection):
                return
            connection.start_next_cycle()

    async def _request(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> HttpRequest | None:
        head: h11.Request | None = None
        parts: list[bytes] = []
        size = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(
                        connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                async with asyncio.timeout(IDLE_S):
                    connection.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                head = event
                # h11 bounds only a head that is not complete yet.
                if sum(len(name) + len(value) for name, value in head.headers) > MAX_REQUEST_HEAD:
                    raise _TooMuchError(431, f"the head has more than {MAX_REQUEST_HEAD} bytes")
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > MAX_REQUEST_BODY:
                    raise _TooMuchError(413, f"the body has more than {MAX_REQUEST_BODY} bytes")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                body = _unpacked(parts[0] if len(parts) == 1 else b"".join(parts), headers)
                path = head.target.decode("latin-1").partition("?")[0]
                return HttpRequest(head.method.decode("latin-1"), path, headers, memoryview(body))
            else:  # the client closed
                return None


def _may_go_on(connection: h11.Connection) -> bool:
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


def _unpacked(body: bytes, headers: dict[str, str]) -> bytes:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return body
    if coding not in ("gzip", "deflate"):
        raise _TooMuchError(415, f"content coding {coding[:32]!r}; gzip and deflate are known")
    unpacker = zlib.decompressobj(wbits=47)
    try:
        data = unpacker.decompress(body, MAX_REQUEST_BODY + 1)
    except zlib.error as error:
        raise _TooMuchError(400, "the body is not what its content coding says") from error
    if len(data) > MAX_REQUEST_BODY or not unpacker.eof:
        raise _TooMuchError(413, f"the body unpacks to more than {MAX_REQUEST_BODY} bytes or is cut off")
    return data


async def _respond(connection: h11.Connection, writer: asyncio.StreamWriter, response: HttpResponse) -> None:
    size = sum(memoryview(part).nbytes for part in response.body)
    headers = [
        ("Content-Length", str(size)),
        ("Content-Type", response.content_type),
        *response.headers,
    ]
    writer.write(connection.send(h11.Response(status_code=response.status, headers=headers)) or b"")
    for part in response.body:
        sent = connection.send_with_data_passthrough(h11.Data(data=part))  # type: ignore[arg-type]
        for piece in sent or ():
            writer.write(piece)
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()


def _plain(status: int, reason: str) -> HttpResponse:
    return HttpResponse(status, (b'{"error": "' + reason.replace('"', "'").encode() + b'"}',))
