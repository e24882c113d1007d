"""What the HTTP server answers: Open Inference Protocol v2, health, `/metrics`, `/status`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError

from ...control.application import MAX_TIMEOUT_S
from ..app import Serve
from ..model import Model
from ..request import Inference, empty
from . import metrics, oip
from .server import HttpRequest, HttpResponse

TIMEOUT_S: Final = 10.0
_STATUS: Final = {
    Code.SLOT_EMPTY: 404,
    Code.SERVE_OVERLOADED: 503,
    Code.SERVE_DRAINING: 503,
    Code.DEADLINE_PASSED: 504,
}

log = logging.getLogger(__name__)


class Routes:
    """The handler of the HTTP server.

    Args:
        serve: the data plane.
        version: of Modelfleet, shown to clients.
    """

    def __init__(self, serve: Serve, version: str) -> None:
        self._serve = serve
        self._version = version

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer; never raises but for cancellation."""
        try:
            return await self._route(request)
        except ModelfleetError as error:
            status = _STATUS.get(error.code, 400 if isinstance(error, CallerError) else 500)
            text = f"{error.happened}; expected: {error.expected}; to do: {error.todo}"
            return _json(status, {"error": f"{error.code.value}: {text}", "code": error.code.value})
        except Exception as error:  # a fault of ours must not take the connection's task down unseen
            logs.error(log, "http.fault", trace=True, kind=type(error).__name__)
            return _json(500, {"error": "internal error; the log of serve shows more"})

    async def _route(self, request: HttpRequest) -> HttpResponse:
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["v2", "models"] and len(parts) >= 3:
            return await self._model(request, parts[2], parts[3:])
        plain: dict[str, Callable[[], HttpResponse]] = {
            "v2": self._server_metadata,
            "v2/health/live": lambda: HttpResponse(200),
            "v2/health/ready": lambda: HttpResponse(200 if self._serve.is_ready() else 400),
            "metrics": lambda: HttpResponse(200, (metrics.render(self._serve),), metrics.CONTENT_TYPE),
            "status": lambda: _json(200, self._serve.actual()),
        }
        route = plain.get("/".join(parts))
        if route is None:
            return _json(404, {"error": f"there is nothing at {request.path[:200]}"})
        if request.method not in ("GET", "HEAD"):
            return _json(405, {"error": f"{request.method} is not offered here"})
        return route()

    async def _model(self, request: HttpRequest, name: str, rest: list[str]) -> HttpResponse:
        model = self._serve.slot(name).active
        if model is None:
            raise empty(name)
        if rest[:1] == ["versions"] and len(rest) >= 2:
            if rest[1] != _version(model):
                raise oip.invalid(
                    f"{name} has no version {rest[1][:64]!r} here", f"version {_version(model)}"
                )
            rest = rest[2:]
        if rest == ["infer"]:
            if request.method != "POST":
                return _json(405, {"error": "inference takes POST"})
            return await self._infer(request, name)
        if request.method not in ("GET", "HEAD"):
            return _json(405, {"error": f"{request.method} is not offered here"})
        if rest == ["ready"]:
            return HttpResponse(200 if model.ready else 400)
        if rest == []:
            if model.contract is None:
                raise empty(name)
            inputs, outputs = model.contract.logical()
            platform = f"modelfleet_{model.runtime.partition(' ')[0] or 'starting'}"
            return HttpResponse(200, (oip.metadata(name, _version(model), platform, inputs, outputs),))
        return _json(404, {"error": f"there is nothing at {request.path[:200]}"})

    async def _infer(self, request: HttpRequest, name: str) -> HttpResponse:
        wanted = oip.parse(request.body, request.headers.get(oip.HEADER_LENGTH))
        timeout = min(wanted.timeout_s or TIMEOUT_S, MAX_TIMEOUT_S)
        deadline = asyncio.get_running_loop().time() + timeout
        served = await self._serve.infer(name, Inference(wanted.inputs, wanted.body, deadline))
        model = self._serve.slot(name).loaded(served.release)
        body, head = oip.respond(wanted, served, name, _version(model) if model is not None else "")
        if head is None:
            return HttpResponse(200, body)
        return HttpResponse(
            200, body, "application/octet-stream", (("Inference-Header-Content-Length", str(head)),)
        )

    def _server_metadata(self) -> HttpResponse:
        about = {"name": "modelfleet", "version": self._version, "extensions": ["binary_tensor_data"]}
        return _json(200, about)


def _version(model: Model) -> str:
    return model.ref.reference.rpartition(":")[2]


def _json(status: int, value: object) -> HttpResponse:
    return HttpResponse(status, (msgspec.json.encode(value),))
