"""GET /v1/trust, GET /v1/device/trust, POST /v1/trust/release-keys."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from modelfleet_core.wire.operator import Scope, TrustView

from ..auth.actor import Actor
from ..controller import Controller
from ..http.access import PUBLIC, Operator, controller_of
from ..http.body import Body, reply
from .service import TrustService

router = APIRouter(tags=["trust"])


@dataclass(frozen=True, slots=True)
class ReleaseKeyRequest:
    """A public key as PEM (SubjectPublicKeyInfo, ECDSA P-256)."""

    pem: str


@router.get("/v1/trust", responses={200: {"model": TrustView}})
async def show(request: Request, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """Audience and public keys: what a trust file is made of."""
    controller = controller_of(request)
    async with controller.database.read() as connection:
        keys = await TrustService(connection, controller.clock).release_keys()
    return reply(_view(controller, keys))


@router.get("/v1/device/trust", dependencies=[PUBLIC], responses={200: {"model": TrustView}})
async def show_devices(request: Request) -> Response:
    """The same public keys for a device that has no trust file (`--trust-on-first-use`)."""
    controller = controller_of(request)
    async with controller.database.read() as connection:
        keys = await TrustService(connection, controller.clock).release_keys()
    return reply(_view(controller, keys), headers={"cache-control": "no-store"})


@router.post("/v1/trust/release-keys", responses={201: {"model": TrustView}})
async def add_release_key(
    request: Request,
    actor: Actor = Operator(Scope.ADMIN),
    body: ReleaseKeyRequest = Body(ReleaseKeyRequest, 16 * 1024),
) -> Response:
    """Registers a key whose releases are accepted; 200 where it was known."""
    controller = controller_of(request)
    async with controller.database.write() as connection:
        service = TrustService(connection, controller.clock)
        new = await service.add_release_key(body.pem, actor.person)
        keys = await service.release_keys()
    return reply(_view(controller, keys), 201 if new else 200)


def _view(controller: Controller, keys: tuple[str, ...]) -> TrustView:
    return TrustView(controller.audience, keys, (controller.director.public().to_pem(),))
