"""POST/GET /v1/rollouts, dry run, one rollout, its operations."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from modelfleet_core.wire.operator import (
    Operation,
    OperationAnswer,
    PlanView,
    RolloutCreate,
    Rollouts,
    RolloutView,
    Scope,
)

from ..auth.actor import Actor
from ..http.access import Operator, controller_of
from ..http.body import Body, reply
from . import creating
from .service import RolloutService

router = APIRouter(prefix="/v1/rollouts", tags=["rollouts"])

_LIMIT = 512 * 1024


@router.post("/plan", responses={200: {"model": PlanView}})
async def plan_rollout(
    request: Request,
    actor: Actor = Operator(Scope.VIEWER),
    body: RolloutCreate = Body(RolloutCreate, _LIMIT),
) -> Response:
    """Dry run: who would get what, how many bytes, who has no fitting variant."""
    controller = controller_of(request)
    return reply(creating.dry_run(controller.board, creating.read(body), controller.clock.now()))


@router.post("", responses={201: {"model": RolloutView}})
async def create_rollout(
    request: Request,
    actor: Actor = Operator(Scope.OPERATOR),
    body: RolloutCreate = Body(RolloutCreate, _LIMIT),
) -> Response:
    """Begins a rollout; a repetition with the same idempotency key answers 200 with the same one."""
    made, new = await RolloutService(controller_of(request)).create(body, actor)
    return reply(made, 201 if new else 200)


@router.get("", responses={200: {"model": Rollouts}})
async def list_rollouts(request: Request, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """The newest rollouts."""
    return reply(await RolloutService(controller_of(request)).list())


@router.get("/{name}", responses={200: {"model": RolloutView}})
async def show_rollout(request: Request, name: str, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """One rollout by id, or the newest of that name."""
    return reply(await RolloutService(controller_of(request)).show(name))


@router.post("/{name}/operations", responses={200: {"model": OperationAnswer}})
async def operate_rollout(
    request: Request,
    name: str,
    actor: Actor = Operator(Scope.OPERATOR),
    body: Operation = Body(Operation, 64 * 1024),
) -> Response:
    """A verb: pause, resume, promote, abort, retry, undo."""
    return reply(await RolloutService(controller_of(request)).operate(name, body, actor))
