"""GET /livez, /readyz, /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from modelfleet_core.errors import WorldError

from ..trust.repository import TrustRepository
from .access import PUBLIC, controller_of

router = APIRouter(tags=["health"])


@router.get("/livez", dependencies=[PUBLIC], response_class=PlainTextResponse)
async def livez() -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", dependencies=[PUBLIC], response_class=PlainTextResponse)
async def readyz(request: Request) -> Response:
    """The database can be read."""
    try:
        async with controller_of(request).database.read() as connection:
            await TrustRepository(connection).self()
    except WorldError as error:
        return PlainTextResponse(f"{error.happened}\n", 503)
    return PlainTextResponse("ok\n")


@router.get("/metrics", dependencies=[PUBLIC], response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    controller = controller_of(request)
    board = controller.board
    controller.metrics.devices.set(len(board.devices))
    controller.metrics.rollouts.set(
        sum(any(not c.state.ended for c in standing.classes.values()) for standing in board.standings)
    )
    controller.metrics.revision.set(board.revision)
    return Response(controller.metrics.text(), media_type=CONTENT_TYPE_LATEST)
