"""The port through which bytes reach the controller, and its implementation on urllib3.

Nothing here signs, retries or follows a redirect: a signature covers one request to one address.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0
MAX_ANSWER: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request: method, path and query exactly as they are signed, headers, body."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query as on the wire."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Stream(Protocol):
    """An answer whose body is read bit by bit."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, names in lower case."""
        ...

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end.

        Raises:
            WorldError: MF-5010, the connection broke.
        """
        ...


class Transport(Protocol):
    """Sends requests to one controller."""

    def send(self, request: Outgoing, *, limit: int = MAX_ANSWER) -> Answer:
        """The whole answer, whatever its status.

        Raises:
            WorldError: MF-5010, the controller cannot be reached or its answer has more than `limit` bytes.
        """
        ...

    def open(self, request: Outgoing) -> AbstractContextManager[Stream]:
        """The answer as a stream.

        Raises:
            WorldError: MF-5010, the controller cannot be reached.
        """
        ...


class HttpTransport:
    """HTTP/1.1 by urllib3, TLS checked against the trust file's CA where it has one.

    Args:
        url: `http://host[:port]` or `https://host[:port]`.
        ca: PEM certificates to trust instead of the system's, or None.
    """

    def __init__(self, url: str, ca: str | None = None) -> None:
        parsed = parse_url(url)
        context: ssl.SSLContext | None = None
        if parsed.scheme == "https":
            context = ssl.create_default_context(cadata=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=4, ssl_context=context, timeout=timeout, retries=False
        )

    def close(self) -> None:
        """Closes idle connections."""
        self._pool.clear()

    def send(self, request: Outgoing, *, limit: int = MAX_ANSWER) -> Answer:
        """See `Transport.send`."""
        with self.open(request) as stream:
            parts: list[bytes] = []
            length = 0
            while part := stream.read(64 * 1024):
                length += len(part)
                if length > limit:
                    raise unreachable(f"the controller's answer has more than {limit} bytes")
                parts.append(part)
            return Answer(stream.status, stream.headers, b"".join(parts))

    @contextmanager
    def open(self, request: Outgoing) -> Iterator[Stream]:
        """See `Transport.open`."""
        headers = {"Accept-Encoding": "identity", **request.headers}
        if request.body:
            headers["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                request.method,
                self._url + request.target,
                body=request.body or None,
                headers=headers,
                preload_content=False,
                redirect=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            raise unreachable(f"{self._url} cannot be reached: {_reason(error)}") from error
        stream = _Urllib3Stream(response, self._url)
        try:
            yield stream
        finally:
            # A body that was not read to its end would be taken for the next answer.
            if stream.ended:
                response.release_conn()
            else:
                response.close()


class _Urllib3Stream:
    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self._response = response
        self._url = url
        self.ended = False
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    @property
    def status(self) -> int:
        return self._response.status

    def read(self, size: int) -> bytes:
        try:
            data = self._response.read(size, decode_content=False)
        except (HTTPError, OSError) as error:
            raise unreachable(f"the connection to {self._url} broke: {_reason(error)}") from error
        self.ended = self.ended or not data
        return data


def check_url(url: str, *, insecure: bool) -> str:
    """The controller's address, once it is found to be one that may be spoken to.

    Raises:
        CallerError: MF-3008, it is no address, or it is neither loopback nor TLS and `insecure` was not said.
    """
    try:
        parsed = parse_url(url.strip())
    except HTTPError as error:
        raise _bad_url(url, f"it cannot be read: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _bad_url(url, "it is neither http:// nor https://")
    if parsed.auth or parsed.path not in (None, "/") or parsed.query or parsed.fragment:
        raise _bad_url(url, "it has more than scheme, host and port")
    host = parsed.host.strip("[]")
    loopback = host == "localhost" or host == "::1" or host.startswith("127.")
    if parsed.scheme == "http" and not loopback and not insecure:
        raise CallerError(
            Code.CONTROLLER_INSECURE,
            f"{url} would be reached without TLS",
            expected="https://, or http:// on this machine",
            todo="give the controller a certificate, or say --insecure if the network is yours alone",
        )
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.scheme}://{parsed.host}{port}"


def _bad_url(url: str, happened: str) -> CallerError:
    return CallerError(
        Code.CONTROLLER_INSECURE,
        f"{url[:200]!r} is not the address of a controller: {happened}",
        expected="https://host[:port]",
        todo="correct the address",
    )


def unreachable(happened: str) -> WorldError:
    """The error of a network that does not carry."""
    return WorldError(
        Code.CONTROLLER_UNREACHABLE,
        happened,
        expected="a controller that answers",
        todo="nothing: the device goes on serving and tries again; look at the network if it lasts",
    )


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return f"{error}"[:200] if cause is None else f"{cause}"[:200]
