"""Bodies in and out of FastAPI routes: through the core codec alone, pydantic sees none of them."""

from __future__ import annotations

from typing import Generic, TypeVar

from fastapi import Depends, Request
from fastapi.responses import Response

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.wire import codec

T = TypeVar("T")


class BodyReader(Generic[T]):
    """A dependency that gives the decoded body; the OpenAPI document reads `kind` from it."""

    def __init__(self, kind: type[T], limit: int) -> None:
        self.kind = kind
        self.limit = limit

    async def __call__(self, request: Request) -> T:
        """The body, at most `limit` bytes.

        Raises:
            CallerError: MF-1601.
        """
        return codec.decode(await read(request, self.limit), self.kind, what="the body", limit=self.limit)


def Body(kind: type[T], limit: int = codec.MAX_BODY_BYTES) -> T:
    """`body: Push = Body(Push)`: the request's body as that type."""
    value: T = Depends(BodyReader(kind, limit))
    return value


async def read(request: Request, limit: int) -> bytes:
    """The raw body, refused as soon as it exceeds `limit` bytes."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise too_large(int(declared), limit)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise too_large(len(data), limit)
    return bytes(data)


def too_large(size: int, limit: int) -> CallerError:
    """The refusal of a body that is too long."""
    return CallerError(
        Code.BODY_INVALID,
        f"the body has {size} bytes or more",
        expected=f"at most {limit} bytes",
        todo="send less at once",
    )


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in canonical JSON."""
    return Response(codec.encode(value), status, headers, media_type="application/json")
