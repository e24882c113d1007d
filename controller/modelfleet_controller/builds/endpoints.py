"""POST/GET /v1/builds, one build, its operations."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from modelfleet_core.wire.build import BuildOperation, BuildOrder, Builds, BuildView
from modelfleet_core.wire.operator import Scope

from ..auth.actor import Actor
from ..http.access import Operator, controller_of
from ..http.body import Body, reply
from .service import BuildService

router = APIRouter(prefix="/v1/builds", tags=["builds"])


@router.post("", responses={201: {"model": BuildView}})
async def order_build(
    request: Request,
    actor: Actor = Operator(Scope.RELEASER),
    body: BuildOrder = Body(BuildOrder, 512 * 1024),
) -> Response:
    """Orders a build of uploaded inputs; a repetition with the same key answers 200 with the same one."""
    made, new = await BuildService(controller_of(request)).order(body, actor)
    return reply(made, 201 if new else 200)


@router.get("", responses={200: {"model": Builds}})
async def list_builds(request: Request, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """The newest builds, without their files."""
    return reply(await BuildService(controller_of(request)).list())


@router.get("/{build}", responses={200: {"model": BuildView}})
async def show_build(request: Request, build: str, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """One build: how far it is, what became of it, and its files, which are blobs."""
    return reply(await BuildService(controller_of(request)).show(build))


@router.post("/{build}/operations", responses={200: {"model": BuildView}})
async def operate_build(
    request: Request,
    build: str,
    actor: Actor = Operator(Scope.RELEASER),
    body: BuildOperation = Body(BuildOperation, 64 * 1024),
) -> Response:
    """A verb: cancel."""
    return reply(await BuildService(controller_of(request)).cancel(build, body, actor))
