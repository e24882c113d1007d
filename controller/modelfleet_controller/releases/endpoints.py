"""POST/GET /v1/releases, GET /v1/releases/{name}:{version}."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from modelfleet_core.wire.operator import ReleasePush, Releases, ReleaseView, Scope

from ..auth.actor import Actor
from ..controller import Controller
from ..http.access import Operator, controller_of
from ..http.body import Body, reply
from ..trust.service import TrustService
from ..unit import unit_of
from .repository import ReleaseRepository
from .service import ReleaseService, verify_push, view

router = APIRouter(prefix="/v1/releases", tags=["releases"])


@router.post("", responses={201: {"model": ReleaseView}})
async def push_release(
    request: Request,
    actor: Actor = Operator(Scope.RELEASER),
    body: ReleasePush = Body(ReleasePush, 64 * 1024),
) -> Response:
    """Takes in a signed release whose files were uploaded; the same one again answers 200."""
    controller: Controller = controller_of(request)
    async with controller.database.read() as connection:
        policy = await TrustService(connection, controller.clock).policy()
    release = await verify_push(body, controller.blobs, policy, controller.clock, actor.person)
    async with unit_of(controller) as unit:
        stored, new = await ReleaseService(unit.connection).add(release)
        unit.release_added(stored)
    return reply(view(stored), 201 if new else 200)


@router.get("", responses={200: {"model": Releases}})
async def list_releases(request: Request, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """All releases, newest first."""
    async with controller_of(request).database.read() as connection:
        found = await ReleaseRepository(connection).all()
    return reply(Releases(tuple(view(release) for release in found)))


@router.get("/{reference}", responses={200: {"model": ReleaseView}})
async def show_release(request: Request, reference: str, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """One release by `name:version` or id."""
    async with controller_of(request).database.read() as connection:
        return reply(view(await ReleaseService(connection).get(reference)))
