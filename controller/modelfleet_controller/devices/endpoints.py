"""POST /v1/device/enroll, /v1/devices, /v1/classes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import device_id
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.trust.http_signature import parse_signature
from modelfleet_core.wire import codec
from modelfleet_core.wire.enroll import EnrollAnswer, EnrollRequest
from modelfleet_core.wire.operator import Classes, Devices, DeviceView, Scope

from ..auth.actor import Actor
from ..auth.request_verifier import sha256
from ..auth.service import TokenService
from ..controller import Controller
from ..hot.board import DeviceEntry
from ..http.access import INTRODUCES, Operator, controller_of, signed_request
from ..http.body import Body, read, reply
from ..unit import unit_of
from .repository import DeviceRepository
from .service import DeviceService, parse_selector, read_key

router = APIRouter(tags=["devices"])
MAX_ENROL = 64 * 1024
MAX_PAGE = 1000


@router.post(
    "/v1/device/enroll", dependencies=[INTRODUCES], responses={200: {"model": EnrollAnswer}}, status_code=200
)
async def enroll(request: Request) -> Response:
    """A device introduces the key that signs this very request, with an enrolment token."""
    controller = controller_of(request)
    body = await read(request, MAX_ENROL)
    asked = codec.decode(body, EnrollRequest, what="the enrolment", limit=MAX_ENROL)
    key = read_key(asked)
    signed = signed_request(request, sha256(body))
    parsed = parse_signature(signed.headers)
    if parsed.keyid != device_id(key.raw):
        raise CallerError(
            Code.DEVICE_REQUEST,
            f"the request is signed as {parsed.keyid[:64]}, but introduces the key of {device_id(key.raw)}",
            expected="an enrolment signed by the key that it introduces",
            todo="update the agent",
        )
    controller.verifier.prove(signed, parsed, key)
    controller.verifier.fresh(parsed)
    async with unit_of(controller) as unit:
        tokens = TokenService(unit.connection, controller.clock, controller.entropy)
        enrolled = await DeviceService(unit.connection, controller.clock).enrol(asked, key, tokens)
        unit.devices_changed([enrolled.device])
    if enrolled.new:
        controller.metrics.enrolled.inc()
    device = enrolled.device
    return reply(
        EnrollAnswer(
            device.id,
            controller.audience,
            controller.settings.poll_s,
            device.device_class,
            device.class_reasons,
        )
    )


@router.get("/v1/devices", responses={200: {"model": Devices}})
async def list_devices(
    request: Request,
    actor: Actor = Operator(Scope.VIEWER),
    selector: Annotated[str, Query(max_length=2000)] = "",
    device_class: Annotated[str | None, Query(alias="class", max_length=63)] = None,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Response:
    """Devices by id; `next` is the `after` of the next page."""
    controller = controller_of(request)
    labels = parse_selector(selector)
    async with controller.database.read() as connection:
        rows = await DeviceRepository(connection).page(labels, device_class, after, limit + 1)
    page = [controller.board.devices[row.id] for row in rows[:limit] if row.id in controller.board.devices]
    following = rows[limit - 1].id if len(rows) > limit else None
    return reply(Devices(tuple(view(entry) for entry in page), following))


@router.get("/v1/devices/{device}", responses={200: {"model": DeviceView}})
async def show_device(request: Request, device: str, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """One device."""
    return reply(view(await _entry(controller_of(request), device)))


@router.put("/v1/devices/{device}/labels", responses={200: {"model": DeviceView}})
async def put_labels(
    request: Request,
    device: str,
    actor: Actor = Operator(Scope.OPERATOR),
    body: dict[str, str] = Body(dict[str, str], 16 * 1024),
) -> Response:
    """Replaces the device's labels."""
    controller = controller_of(request)
    async with unit_of(controller) as unit:
        changed = await DeviceService(unit.connection, controller.clock).set_labels(device, body)
        unit.devices_changed([changed])
        unit.reassign()
    return reply(view(controller.board.devices[device]))


@router.post("/v1/devices/{device}/revoke", responses={200: {"model": DeviceView}})
async def revoke_device(request: Request, device: str, actor: Actor = Operator(Scope.ADMIN)) -> Response:
    """Refuses every later request of the device."""
    controller = controller_of(request)
    async with unit_of(controller) as unit:
        changed = await DeviceService(unit.connection, controller.clock).revoke(device)
        unit.devices_changed([changed])
        unit.reassign()
    return reply(view(controller.board.devices[device]))


@router.get("/v1/classes", responses={200: {"model": Classes}})
async def list_classes(request: Request, actor: Actor = Operator(Scope.VIEWER)) -> Response:
    """Shipped classes and your own."""
    controller = controller_of(request)
    async with controller.database.read() as connection:
        return reply(Classes(await DeviceService(connection, controller.clock).classes()))


@router.put("/v1/classes/{name}", responses={200: {"model": DeviceClass}})
async def put_class(
    request: Request,
    name: str,
    actor: Actor = Operator(Scope.OPERATOR),
    body: DeviceClass = Body(DeviceClass, 64 * 1024),
) -> Response:
    """Adds or changes one of your own classes; devices are matched anew."""
    if body.name != name[:63]:
        raise CallerError(
            Code.BODY_INVALID,
            f"the path names class {name[:63]!r}, the body {body.name!r}",
            expected="the same name in both",
            todo="correct one of them",
        )
    controller = controller_of(request)
    async with unit_of(controller) as unit:
        changed = await DeviceService(unit.connection, controller.clock).put_class(body, actor.person)
        unit.devices_changed(changed)
        unit.classes_changed()
        if changed:
            unit.reassign()
    return reply(body)


async def _entry(controller: Controller, device: str) -> DeviceEntry:
    entry = controller.board.devices.get(device)
    if entry is None:
        async with controller.database.read() as connection:
            await DeviceService(connection, controller.clock).get(device)
        return controller.board.devices[device]
    return entry


def view(entry: DeviceEntry) -> DeviceView:
    """The device as operators see it."""
    row = entry.row
    return DeviceView(
        id=row.id,
        name=row.name,
        device_class=row.device_class,
        class_reasons=row.class_reasons,
        labels=dict(row.labels),
        facts=row.facts,
        enrolled_at=row.enrolled_at,
        last_seen=entry.last_seen,
        revoked=row.revoked_at is not None,
        revision=entry.revision,
        slots=entry.slots,
    )
