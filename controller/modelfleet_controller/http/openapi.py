"""The OpenAPI document: FastAPI writes paths and answers, this adds bodies and the hot routes.

Bodies are decoded by the core codec (`http.body`), so FastAPI does not see them; their schemas come from
the same dataclasses by pydantic, which does nothing else in this program.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from modelfleet_core.wire.checkin import Checkin, CheckinAnswer
from modelfleet_core.wire.enroll import EnrollRequest
from modelfleet_core.wire.event import EventAnswer, EventBatch
from modelfleet_core.wire.problem import Problem
from modelfleet_core.wire.report import ReportAnswer, ReportBatch

from .access import Permission
from .body import BodyReader

_REF: Final = "#/components/schemas/{model}"
_HOT: Final[dict[str, tuple[str, type, type]]] = {
    "/v1/device/checkin": ("The device says where it stands and is told what to do", Checkin, CheckinAnswer),
    "/v1/device/reports": ("Evidence, one report per window and slot", ReportBatch, ReportAnswer),
    "/v1/device/events": ("Transitions of the device, exactly once", EventBatch, EventAnswer),
}


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of the application.

    Raises:
        TypeError: something is routed that declares no permission, such as a mounted application.
    """
    for route in app.routes:
        if not isinstance(route, APIRoute):
            raise TypeError(f"{route!r} is no route of ours")
        yield route


def permissions(route: APIRoute) -> list[Permission]:
    """The permissions that a route declares; exactly one is right."""
    return [call for call in _calls(route.dependant) if isinstance(call, Permission)]


def _calls(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once and kept by the application."""
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for route in api_routes(app):
        for method in sorted(route.methods or ()):
            operation = found["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                _describe(operation, route, schemas)
    for path, (summary, body, reply) in _HOT.items():
        found["paths"][path] = {"post": _hot(summary, body, reply, schemas)}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    found["components"]["securitySchemes"] = {
        "operator": {"type": "http", "scheme": "bearer"},
        "device": {
            "type": "apiKey",
            "in": "header",
            "name": "Signature-Input",
            "description": "RFC 9421, Ed25519, label sig1 over @method @path @query content-digest",
        },
    }
    found["paths"] = dict(sorted(found["paths"].items()))
    app.openapi_schema = found
    return found


def _describe(operation: dict[str, Any], route: APIRoute, schemas: dict[str, Any]) -> None:
    declared = permissions(route)[0].name
    operation["x-permission"] = declared
    security: list[dict[str, list[str]]] = []
    if declared not in ("public", "enrolment", "device"):
        security.append({"operator": []})
    if declared == "enrolment" or declared.startswith("device"):
        security.append({"device": []})
    operation["security"] = security
    _add_problem(operation, schemas)
    readers = [call for call in _calls(route.dependant) if isinstance(call, BodyReader)]
    kind = readers[0].kind if readers else EnrollRequest if declared == "enrolment" else None
    if kind is not None:
        operation["requestBody"] = {"required": True, "content": _content(kind, schemas)}
    elif route.path_format.startswith("/v1/blobs/") and "PUT" in (route.methods or ()):
        operation["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }


def _hot(summary: str, body: type, reply: type, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["device"],
        "summary": summary,
        "operationId": summary.lower().replace(" ", "_").replace(",", ""),
        "x-permission": "device",
        "security": [{"device": []}],
        "requestBody": {"required": True, "content": _content(body, schemas)},
        "responses": {"200": {"description": "Stored and answered", "content": _content(reply, schemas)}},
    }
    if body is Checkin:
        operation["responses"]["204"] = {"description": "The statement named by If-None-Match still holds"}
    _add_problem(operation, schemas)
    return operation


def _add_problem(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "An error with its code",
        "content": {"application/problem+json": _content(Problem, schemas)["application/json"]},
    }


def _content(
    kind: Any, schemas: dict[str, Any]
) -> dict[str, Any]:  # any type expression, such as dict[str, str]
    schema = TypeAdapter(kind).json_schema(ref_template=_REF)
    schemas.update(schema.pop("$defs", {}))
    if schema.get("type") == "object" and "title" in schema and "properties" in schema:
        name = str(schema["title"])
        schemas[name] = schema
        schema = {"$ref": _REF.format(model=name)}
    return {"application/json": {"schema": schema}}
