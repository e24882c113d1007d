"""HTTP to one controller: sends and reads wire types, turns every failure into one of our errors.

Refuses to send the token in the clear to anything but this machine, and to read answers without end.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError, WorldError
from modelfleet_core.wire import codec
from modelfleet_core.wire.problem import Problem

T = TypeVar("T")

MAX_ANSWER: Final = 64 * 1024 * 1024
CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0
JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Target:
    """A controller and what it takes to talk to it."""

    url: str
    token: str
    ca: Path | None = None
    insecure: bool = False


class Transport:
    """One connection pool to one controller. `inner` replaces the network (for tests)."""

    def __init__(self, target: Target, inner: httpx.BaseTransport | None = None) -> None:
        check_url(target.url, insecure=target.insecure)
        self.url = target.url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {target.token}", "user-agent": "fleetctl"},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=_tls(target.ca) if self.url.startswith("https:") else False,
            follow_redirects=False,
            trust_env=False,
            transport=inner,
        )

    def __enter__(self) -> Self:
        """The same."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the pool."""
        self.close()

    def close(self) -> None:
        """Closes the pool."""
        self._http.close()

    def get(self, path: str, kind: type[T], params: Mapping[str, str] | None = None) -> T:
        """The answer to a GET as `kind`."""
        return self._decode(self.send("GET", path, params=params)[1], kind)

    def post(self, path: str, body: object, kind: type[T], method: str = "POST") -> T:
        """The answer to a body as `kind`."""
        return self._decode(self.send(method, path, content=codec.encode(body), headers=JSON)[1], kind)

    def download(self, path: str, write: Callable[[bytes], object], limit: int) -> None:
        """Passes the body of a GET on, piece by piece, however large it is.

        Raises:
            WorldError: MF-5010. CallerError: the controller's code; MF-6003 more than `limit` bytes.
        """
        try:
            with self._http.stream("GET", path) as response:
                if response.status_code != 200:
                    body, kind = response.read()[:MAX_ANSWER], response.headers.get("content-type", "")
                    raise _refusal(response.status_code, body, kind, f"GET {path}", self.url)
                for chunk in response.iter_bytes():
                    limit -= len(chunk)
                    if limit < 0:
                        raise _not_understood(f"GET {path} answers more bytes than it shall", self.url)
                    write(chunk)
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        allowed: frozenset[int] = frozenset(),
    ) -> tuple[int, bytes]:
        """Status and body of an answer that is good (2xx, or one of `allowed`).

        Raises:
            WorldError: MF-5010, it cannot be reached, or the code that it gives for its own trouble.
            CallerError: the code that the controller gives; MF-6003 where it gives none.
        """
        try:
            with self._http.stream(
                method, path, params=dict(params or {}), content=content, headers=dict(headers or {})
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise _not_understood(
                            f"{method} {path} answers more than {MAX_ANSWER} bytes", self.url
                        )
                status = response.status_code
                kind = response.headers.get("content-type", "")
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        if status // 100 == 2 or status in allowed:
            return status, bytes(body)
        raise _refusal(status, bytes(body), kind, f"{method} {path}", self.url)

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return codec.decode(body, kind, what="the controller's answer", limit=MAX_ANSWER)
        except ModelfleetError as error:
            raise _not_understood(error.happened, self.url) from error


def check_url(url: str, *, insecure: bool) -> None:
    """Refuses addresses that are none, and plain HTTP to another machine.

    Raises:
        CallerError: MF-6011, MF-6012.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise CallerError(
            Code.CLI_ARGUMENT,
            f"{url[:200]!r} is not the address of a controller",
            expected="https://HOST[:PORT], or http:// on this machine",
            todo="give the address that `fleetctl server start` printed",
        )
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        raise CallerError(
            Code.CLI_INSECURE,
            f"{url} would send the token in the clear",
            expected="https:// for a controller on another machine",
            todo="put TLS in front of the controller, or accept it with `fleetctl login URL --insecure`",
        )


def unreachable(url: str, error: Exception) -> WorldError:
    """The error for a controller that does not answer."""
    return WorldError(
        Code.CONTROLLER_UNREACHABLE,
        f"the controller at {url} does not answer: {str(error)[:200] or type(error).__name__}",
        expected="a running controller at that address",
        todo="start it with `fleetctl server start`, or choose another with `fleetctl context use`",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise CallerError(
            Code.CLI_FILE,
            f"the certificates in {ca} cannot be read: {error}",
            expected="a file of certificates in PEM",
            todo="log in again with the right --ca FILE",
        ) from error


def _refusal(status: int, body: bytes, kind: str, what: str, url: str) -> ModelfleetError:
    if not kind.startswith("application/problem+json"):
        return _not_understood(f"{what} is answered with status {status}", url)
    try:
        told = codec.decode(body, Problem, what="the problem")
    except ModelfleetError:
        return _not_understood(f"{what} is answered with status {status} and a broken problem", url)
    try:
        code, happened = Code(told.code), told.detail
    except ValueError:  # a newer controller's code: it stands in the text
        code, happened = Code.CLI_ANSWER, f"{told.code}: {told.detail}"
    root: type[ModelfleetError] = WorldError if status >= 500 else CallerError
    if code.value.startswith("MF-20") and root is CallerError:
        root = IntegrityError
    return root(code, happened, expected=told.expected, todo=told.todo)


def _not_understood(happened: str, url: str) -> CallerError:
    return CallerError(
        Code.CLI_ANSWER,
        happened,
        expected=f"a Modelfleet controller at {url}",
        todo="check the address, and that controller and fleetctl have the same version",
    )
