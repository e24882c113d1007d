"""POST/GET /v1/tokens, DELETE /v1/tokens/{id}."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from modelfleet_core.wire.operator import Scope, TokenRequest, Tokens, TokenView

from ..http.access import Operator, controller_of
from ..http.body import Body, reply
from .actor import Actor
from .service import API, TokenService

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.post("", responses={201: {"model": TokenView}})
async def create_token(
    request: Request,
    actor: Actor = Operator(Scope.OPERATOR),
    body: TokenRequest = Body(TokenRequest, 64 * 1024),
) -> Response:
    """A new token; its secret stands in this answer alone. API tokens are made by admins."""
    controller = controller_of(request)
    if body.kind == API:
        actor.must(Scope.ADMIN, "making an API token")
    async with controller.database.write() as connection:
        tokens = TokenService(connection, controller.clock, controller.entropy)
        return_value = await tokens.create(body, actor.person)
    return reply(return_value, 201, {"cache-control": "no-store"})


@router.get("", responses={200: {"model": Tokens}})
async def list_tokens(request: Request, actor: Actor = Operator(Scope.OPERATOR)) -> Response:
    """All tokens without their secrets."""
    controller = controller_of(request)
    async with controller.database.read() as connection:
        found = await TokenService(connection, controller.clock, controller.entropy).list()
    return reply(Tokens(found))


@router.delete("/{token}", status_code=204, response_model=None)
async def revoke_token(request: Request, token: str, actor: Actor = Operator(Scope.ADMIN)) -> Response:
    """Ends a token at once."""
    controller = controller_of(request)
    async with controller.database.write() as connection:
        await TokenService(connection, controller.clock, controller.entropy).revoke(token)
    return Response(status_code=204)
