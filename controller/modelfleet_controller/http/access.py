"""Permissions: every route declares one, by exactly one of these dependencies (a test walks all routes).

`Operator(scope)` for people, `Either(scope)` for people and devices, `PUBLIC` and `INTRODUCES` as route
dependencies. The hot routes (devices alone) declare theirs in `hot/app.py`.
"""

from __future__ import annotations

from typing import Final

from fastapi import Depends, Request

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.wire.operator import Scope

from ..auth.actor import Actor, DeviceCaller
from ..auth.request_verifier import SignedRequest
from ..auth.service import TokenService
from ..controller import Controller

EMPTY_SHA256: Final = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def controller_of(request: Request) -> Controller:
    """The controller that serves this request."""
    found = request.app.state.controller
    if not isinstance(found, Controller):
        raise TypeError("the application was not composed by bootstrap")
    return found


class Permission:
    """What a route demands of its caller."""

    name: str


class _Public(Permission):
    name = "public"

    async def __call__(self) -> None:
        """Anybody may."""


class _Operator(Permission):
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.name = scope.value

    async def __call__(self, request: Request) -> Actor:
        """The operator, if the token's scope is large enough."""
        actor = await authenticate(request)
        actor.must(self.scope, f"{request.method} {request.url.path}")
        return actor


class _Signed(Permission):
    name = "device"

    async def __call__(self, request: Request) -> DeviceCaller:
        """The device whose signature holds; only for requests without a body."""
        return controller_of(request).verifier.verify(signed_request(request, EMPTY_SHA256))


class _Either(Permission):
    def __init__(self, scope: Scope) -> None:
        self.name = f"device or {scope.value}"
        self._operator = _Operator(scope)
        self._signed = _Signed()

    async def __call__(self, request: Request) -> Actor | DeviceCaller:
        """A token or a signature."""
        if "signature-input" in request.headers:
            return await self._signed(request)
        return await self._operator(request)


class _Introduces(Permission):
    name = "enrolment"

    async def __call__(self) -> None:
        """The route itself proves the key that the body introduces, and spends a token."""


def Operator(scope: Scope) -> Actor:
    """`actor: Actor = Operator(Scope.VIEWER)`."""
    value: Actor = Depends(_Operator(scope))
    return value


def Either(scope: Scope) -> Actor | DeviceCaller:
    """`caller: Actor | DeviceCaller = Either(Scope.VIEWER)`."""
    value: Actor | DeviceCaller = Depends(_Either(scope))
    return value


PUBLIC: Final = Depends(_Public())
INTRODUCES: Final = Depends(_Introduces())


async def authenticate(request: Request) -> Actor:
    """The operator behind the bearer token.

    Raises:
        CallerError: MF-1603 to MF-1605.
    """
    controller = controller_of(request)
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise CallerError(
            Code.TOKEN_INVALID,
            "the request carries no token",
            expected="Authorization: Bearer mf_...",
            todo="log in with `fleetctl login URL`",
        )
    async with controller.database.read() as connection:
        return await TokenService(connection, controller.clock, controller.entropy).authenticate(
            secret.strip()
        )


def signed_request(request: Request, body_sha256: bytes) -> SignedRequest:
    """The request as the verifier wants it: path and query exactly as on the wire."""
    raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope.get("query_string", b"")
    return SignedRequest(
        method=request.method,
        path=raw_path.partition(b"?")[0].decode("latin-1"),
        query=query.decode("latin-1"),
        headers=request.headers,
        body_sha256=body_sha256,
    )
