"""Plain ASGI: reading a bounded body and answering, without a framework in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from ..http.body import too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Disconnected(Exception):
    """The caller went away before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The request's body.

    Raises:
        CallerError: MF-1601, more than `limit` bytes.
        Disconnected: the caller went away.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit:
        return body
    data = bytearray(body)
    while message.get("more_body", False):
        if len(data) > limit:
            raise too_large(len(data), limit)
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        data += message.get("body", b"")
    if len(data) > limit:
        raise too_large(len(data), limit)
    return bytes(data)


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case; of a repeated one the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def answer(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Sends a whole answer."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    if status != 204:
        raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
