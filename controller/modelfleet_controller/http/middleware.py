"""Pure ASGI around FastAPI: a request id, one log line and one count per request."""

from __future__ import annotations

import logging
from typing import Final

from modelfleet_core import logs

from ..controller import Controller
from ..hot.asgi import Asgi, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)
_QUIET: Final = ("/livez", "/readyz", "/metrics")
REQUEST_ID: Final = b"x-request-id"


class RequestLog:
    """Logs every request of an operator, with its id (taken from X-Request-Id where it is plain)."""

    def __init__(self, app: Asgi, controller: Controller) -> None:
        self._app = app
        self._controller = controller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or self._controller.entropy(8).hex()
        begun = self._controller.clock.monotonic()
        status = 500

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id.encode())]
            await send(message)

        with logs.bound(request=request_id):
            try:
                await self._app(scope, receive, counting)
            finally:
                route = scope.get("route")
                path = getattr(route, "path_format", None) or "unknown"
                self._controller.metrics.requests.labels(path, str(status)).inc()
                if scope["path"] not in _QUIET:
                    logs.info(
                        _log,
                        "request.answered",
                        method=scope["method"],
                        path=scope["path"][:200],
                        status=status,
                        seconds=round(self._controller.clock.monotonic() - begun, 6),
                    )


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            text: str = value.decode("latin-1")
            return text if 0 < len(text) <= 64 and text.isalnum() else None
    return None
