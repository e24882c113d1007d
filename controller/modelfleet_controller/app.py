"""The HTTP application: FastAPI for operators, the hot routes in front of it, errors as problems."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError

from .audit import endpoints as audit
from .auth import endpoints as auth
from .blobs import endpoints as blobs
from .builds import endpoints as builds
from .controller import Controller
from .devices import endpoints as devices
from .hot.app import HotRoutes, Lanes, time_headers
from .hot.asgi import Asgi
from .http import health
from .http.access import PUBLIC
from .http.middleware import RequestLog
from .http.openapi import api_routes, document, permissions
from .http.problems import body_of, headers_of, status_of
from .releases import endpoints as releases
from .rollouts import endpoints as rollouts
from .trust import endpoints as trust

_log = logging.getLogger(__name__)

ROUTERS: tuple[APIRouter, ...] = (
    blobs.router,
    releases.router,
    devices.router,
    rollouts.router,
    builds.router,
    audit.router,
    trust.router,
    auth.router,
    health.router,
)


def build_api(controller: Controller, version: str) -> FastAPI:
    """The FastAPI part. A route without exactly one declared permission is a fault of ours: refused at the
    start.
    """
    app = FastAPI(
        title="Modelfleet controller",
        version=version,
        summary="Releases, devices and rollouts of a fleet",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        default_response_class=Response,
    )
    app.state.controller = controller
    # flat, so that every route can be walked; `include_router` nests them (prefixes are in the paths already)
    for router in (*ROUTERS, _openapi_router(app)):
        app.router.routes.extend(router.routes)
    for route in api_routes(app):
        if len(permissions(route)) != 1:
            raise RuntimeError(
                f"{sorted(route.methods or ())} {route.path} declares no permission, or several"
            )
    app.add_exception_handler(ModelfleetError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    return app


def build_asgi(controller: Controller, lanes: Lanes, version: str) -> Asgi:
    """The whole application: hot routes in front, then the log, then FastAPI."""
    return HotRoutes(controller, lanes, RequestLog(build_api(controller, version), controller))


def _openapi_router(app: FastAPI) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/openapi.json", dependencies=[PUBLIC], include_in_schema=False)
    async def openapi() -> Response:
        """The OpenAPI document."""
        return _json(document(app))

    return router


def _json(value: dict[str, Any]) -> Response:
    return JSONResponse(value)


def _problem(request: Request, error: ModelfleetError) -> Response:
    extra = time_headers(request.app.state.controller, error, dict(request.headers))
    more = getattr(request.state, "extra_headers", {})
    return Response(body_of(error), status_of(error), {**headers_of(error), **extra, **more})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelfleetError)
    if status_of(error) >= 500:
        logs.error(_log, "request.failed", code=error.code.value, reason=error.happened)
    return _problem(request, error)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = CallerError(
        Code.NOT_FOUND,
        f"{request.method} {request.url.path[:200]}: {error.detail}",
        expected="a method and path of /openapi.json",
        todo="correct the request, or update the program that sent it",
    )
    answer = _problem(request, refusal)
    answer.status_code = error.status_code
    answer.headers.update(dict(error.headers or {}))
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    refusal = CallerError(
        Code.BODY_INVALID,
        f"{where}: {first['msg']}",
        expected="parameters as /openapi.json says",
        todo=f"correct {where}",
    )
    return _problem(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    logs.error(_log, "request.failed", trace=True, path=request.url.path[:200])
    return Response(b"", 500)
