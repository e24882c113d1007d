"""GET, HEAD, PUT /v1/blobs/sha256/{digest}."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import Digest, is_digest
from modelfleet_core.wire.operator import Scope

from ..auth.actor import Actor, DeviceCaller
from ..controller import Controller
from ..http.access import Either, Operator, controller_of
from .local import missing, too_large
from .ranges import Part, etag, part_of

router = APIRouter(prefix="/v1/blobs/sha256", tags=["blobs"])


@router.head("/{digest}", response_model=None, include_in_schema=False)
@router.get("/{digest}", response_model=None)
async def download(
    request: Request, digest: str, caller: Actor | DeviceCaller = Either(Scope.VIEWER)
) -> Response:
    """The file, or one range of it; resumable (If-Range with the ETag)."""
    controller = controller_of(request)
    size = await controller.blobs.size(_digest(digest))
    if size is None:
        raise missing(digest)
    tag = etag(digest)
    headers = {
        "etag": tag,
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        part = part_of(size, request.headers.get("range"), request.headers.get("if-range"), tag)
    except CallerError as error:
        if error.code is Code.BLOB_RANGE:
            request.state.extra_headers = {"content-range": f"bytes */{size}"}
        raise
    headers["content-length"] = str(part.length)
    if part.partial:
        headers["content-range"] = f"bytes {part.start}-{part.start + part.length - 1}/{size}"
    status = 206 if part.partial else 200
    media = "application/octet-stream"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media)
    return StreamingResponse(
        _counted(controller, Digest(digest), part), status_code=status, headers=headers, media_type=media
    )


async def _counted(controller: Controller, digest: Digest, part: Part) -> AsyncIterator[bytes]:
    async for chunk in controller.blobs.read(digest, part.start, part.length):
        controller.metrics.blob_bytes.inc(len(chunk))
        yield chunk


@router.put("/{digest}", response_model=None, responses={201: {"description": "Stored"}})
async def upload(request: Request, digest: str, actor: Actor = Operator(Scope.RELEASER)) -> Response:
    """Stores the body under its digest, verified while it streams; 200 where it was there before."""
    controller = controller_of(request)
    declared = request.headers.get("content-length", "")
    limit = controller.settings.blob_limit
    if declared.isdigit() and int(declared) > limit:
        raise too_large(int(declared), limit)
    new = await controller.blobs.put(_digest(digest), request.stream(), limit)
    return Response(status_code=201 if new else 200, headers={"etag": etag(digest)})


def _digest(text: str) -> Digest:
    if not is_digest(text):
        raise CallerError(
            Code.NOT_FOUND,
            f"{text[:80]!r} is not a sha256",
            expected="64 lower-case hex characters",
            todo="name the blob by its sha256",
        )
    return Digest(text)
