"""GET /v1/audit: the decision log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from modelfleet_core.wire.operator import Decisions, Scope

from ..auth.actor import Actor
from ..http.access import Operator, controller_of
from ..http.body import reply
from .repository import AuditRepository

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", responses={200: {"model": Decisions}})
async def list_decisions(
    request: Request,
    actor: Actor = Operator(Scope.VIEWER),
    rollout: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """Decisions in order, of one rollout or of all; each is bound to the one before by its hash."""
    async with controller_of(request).database.read() as connection:
        return reply(Decisions(await AuditRepository(connection).page(rollout, after, limit)))
