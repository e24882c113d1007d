"""Tokens: made once, shown once, stored hashed, refused with a reason."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Final

from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import is_name, new_id
from modelfleet_core.wire.operator import Scope, TokenRequest, TokenView

from ..db.database import Connection
from .actor import Actor
from .repository import Token, TokenRepository

API: Final = "api"
ENROLMENT: Final = "enrolment"
_PREFIX: Final = {API: "mf_", ENROLMENT: "mfe_"}
MAX_TTL_S: Final = 3660 * 86_400.0
MAX_USES: Final = 1_000_000
MAX_SECRET: Final = 128


def hashed(secret: str) -> str:
    """What is stored of a secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenService:
    """Rules of tokens over one transaction."""

    def __init__(self, connection: Connection, clock: Clock, entropy: Entropy) -> None:
        self._tokens = TokenRepository(connection)
        self._clock = clock
        self._entropy = entropy

    async def create(self, request: TokenRequest, person: str) -> TokenView:
        """A new token; the answer alone holds its secret.

        Raises:
            CallerError: MF-1601 a field is outside its range.
        """
        _check(request)
        now = self._clock.now()
        secret = _PREFIX[request.kind] + base64.urlsafe_b64encode(self._entropy(32)).decode().rstrip("=")
        token = Token(
            id=new_id("tok", now, self._entropy(10)),
            kind=request.kind,
            name=request.name,
            secret_sha256=hashed(secret),
            scope=request.scope,
            labels=request.labels,
            allow_override=request.allow_override,
            created_at=now,
            created_by=person,
            expires_at=now + timedelta(seconds=request.ttl_s),
            max_uses=request.max_uses if request.kind == ENROLMENT else 0,
            uses=0,
            revoked_at=None,
        )
        await self._tokens.add(token)
        return view(token, secret)

    async def first_admin(self, ttl_s: float) -> str | None:
        """The secret of the first admin token where there has never been one; None otherwise."""
        if await self._tokens.any_api_token():
            return None
        request = TokenRequest(kind=API, name="first-admin", ttl_s=ttl_s, scope=Scope.ADMIN)
        return (await self.create(request, "first start")).secret

    async def authenticate(self, secret: str) -> Actor:
        """Who holds this API token.

        Raises:
            CallerError: MF-1603 unknown, MF-1604 expired, MF-1605 revoked.
        """
        token = await self._valid(secret, API)
        return Actor(person=token.name, token=token.id, scope=token.scope or Scope.VIEWER)

    async def enrolment(self, secret: str) -> Token:
        """The enrolment token of this secret, if it may be used (again).

        Raises:
            CallerError: MF-1603 unknown, MF-1604 expired, MF-1605 revoked, MF-1606 used up.
        """
        token = await self._valid(secret, ENROLMENT)
        if token.uses >= token.max_uses:
            raise CallerError(
                Code.TOKEN_USED_UP,
                f"enrolment token {token.name!r} was used {token.uses} of {token.max_uses} times",
                expected="a token with a use left",
                todo="make one with `fleetctl token create --kind enrolment`",
            )
        return token

    async def spend(self, token: Token) -> None:
        """Counts one use of an enrolment token."""
        await self._tokens.spend(token.id)

    async def list(self) -> tuple[TokenView, ...]:
        """All tokens without their secrets."""
        return tuple(view(token) for token in await self._tokens.all())

    async def revoke(self, token_id: str) -> None:
        """Ends a token at once.

        Raises:
            CallerError: MF-1602.
        """
        if await self._tokens.by_id(token_id) is None:
            raise CallerError(
                Code.NOT_FOUND,
                f"there is no token {token_id[:80]!r}",
                expected="an id that `fleetctl token list` shows",
                todo="look the id up",
            )
        await self._tokens.revoke(token_id, self._clock.now())

    async def _valid(self, secret: str, kind: str) -> Token:
        token = await self._tokens.by_secret(hashed(secret)) if 0 < len(secret) <= MAX_SECRET else None
        if token is None or token.kind != kind:
            raise CallerError(
                Code.TOKEN_INVALID,
                "the token is not known to this controller",
                expected=f"a token that begins with {_PREFIX[kind]}",
                todo="log in again, or ask an admin for a token"
                if kind == API
                else "copy the whole token, or make one with `fleetctl token create`",
            )
        if token.revoked_at is not None:
            raise CallerError(
                Code.TOKEN_REVOKED,
                f"token {token.name!r} was revoked at {token.revoked_at:%Y-%m-%dT%H:%M:%SZ}",
                expected="a token that is valid",
                todo="ask an admin for a new one",
            )
        if token.expires_at <= self._clock.now():
            raise CallerError(
                Code.TOKEN_EXPIRED,
                f"token {token.name!r} expired at {token.expires_at:%Y-%m-%dT%H:%M:%SZ}",
                expected="a token that is valid",
                todo="make a new one with `fleetctl token create`",
            )
        return token


def view(token: Token, secret: str | None = None) -> TokenView:
    """The token as operators see it."""
    return TokenView(
        id=token.id,
        kind=token.kind,
        name=token.name,
        scope=token.scope,
        created_at=token.created_at,
        expires_at=token.expires_at,
        uses=token.uses,
        max_uses=token.max_uses,
        revoked=token.revoked_at is not None,
        allow_override=token.allow_override,
        secret=secret,
    )


def _check(request: TokenRequest) -> None:
    problem = ""
    if request.kind not in _PREFIX:
        problem = f"kind {request.kind[:40]!r} is neither api nor enrolment"
    elif not 0 < len(request.name) <= 128:
        problem = "the name has not 1 to 128 characters"
    elif not 0 < request.ttl_s <= MAX_TTL_S:
        problem = f"ttl_s {request.ttl_s:g} is outside 0 to {MAX_TTL_S:g}"
    elif request.kind == API and request.scope is None:
        problem = "an api token needs a scope"
    elif request.kind == API and (request.labels or request.allow_override):
        problem = "labels and allow_override are for enrolment tokens"
    elif request.kind == ENROLMENT and request.scope is not None:
        problem = "an enrolment token has no scope"
    elif request.kind == ENROLMENT and not 1 <= request.max_uses <= MAX_USES:
        problem = f"max_uses {request.max_uses} is outside 1 to {MAX_USES}"
    else:
        problem = label_problem(request.labels)
    if problem:
        raise CallerError(
            Code.BODY_INVALID,
            f"token request: {problem}",
            expected="a kind, a name, a life and a scope (api) or a number of uses (enrolment)",
            todo="correct the named field",
        )


def label_problem(labels: dict[str, str]) -> str:
    """What is wrong with labels, or an empty text: at most 32, plain keys, values of 1 to 63 characters."""
    if len(labels) > 32:
        return f"{len(labels)} labels, at most 32 are allowed"
    for key, value in labels.items():
        if not is_name(key) or not 0 < len(value) <= 63 or not value.isprintable():
            return f"label {key[:64]!r}={value[:64]!r} is not a plain key with a value of 1 to 63 characters"
    return ""
