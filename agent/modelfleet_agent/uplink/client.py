"""Signed requests of one device (RFC 9421), its corrected clock, and what the controller's refusals mean.

A 401 for time carries the controller's time, signed by the director key with the nonce of the refused
request. The device keeps the difference as an offset and tries once more (semantics section 4, "Clock").
The system's clock is never touched."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.trust.director import check_time, read_time_header
from modelfleet_core.trust.dsse import Signer
from modelfleet_core.trust.http_signature import (
    NONCE_BYTES,
    NONCE_HEADER,
    TIME_HEADER,
    encode_nonce,
    sign_request,
)
from modelfleet_core.trust.policy import TrustPolicy
from modelfleet_core.wire import codec
from modelfleet_core.wire.problem import Problem

from .transport import MAX_ANSWER, Answer, Outgoing, Stream, Transport

_UNAUTHORISED: Final = 401
_BUSY: Final = frozenset({408, 425, 429})
MAX_RETRY_AFTER_S: Final = 3600.0


class CorrectedClock:
    """The device's clock plus the offset that the controller's signed time showed. Safe for several
    threads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = 0.0
        self._lock = threading.Lock()

    @property
    def offset_s(self) -> float:
        """Seconds to add to the machine's clock; 0 until a signed time told otherwise."""
        with self._lock:
            return self._offset_s

    def now(self) -> datetime:
        """The corrected instant."""
        return self._clock.now() + timedelta(seconds=self.offset_s)

    def uncorrected(self) -> datetime:
        """The machine's own instant, by which serve cuts its windows."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return self._clock.monotonic()

    def wait(self, seconds: float) -> None:
        """Blocks for about that long."""
        self._clock.wait(seconds)

    def learn(self, time_unix_s: float) -> None:
        """Takes over a signed time."""
        with self._lock:
            self._offset_s = time_unix_s - self._clock.now().timestamp()


@dataclass(frozen=True, slots=True)
class Signed:
    """An answer and the nonce of the request that it answers."""

    answer: Answer
    nonce: str


class ControllerClient:
    """One device speaking to its controller. Safe for several threads.

    Args:
        transport: carries the bytes.
        device: the device's id, or what stands in for it at enrolment.
        signer: the device's key.
        policy: of the pinned trust file; its audience goes into every signature.
        clock: corrected here when the controller says so.
        entropy: for nonces.
    """

    def __init__(
        self,
        transport: Transport,
        device: str,
        signer: Signer,
        policy: TrustPolicy,
        clock: CorrectedClock,
        entropy: Entropy,
    ) -> None:
        self._transport = transport
        self._device = device
        self._signer = signer
        self._policy = policy
        self._clock = clock
        self._entropy = entropy

    def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Signed:
        """One signed request and its answer, 2xx.

        Raises:
            CallerError: the controller refuses: its own code where this version knows it, else MF-3050.
            WorldError: MF-5010 it cannot be reached, MF-5003 it is busy or broken.
            IntegrityError: the signed time in its answer does not hold (MF-21xx).
        """
        signed = self._send(method, path, body, headers or {})
        if signed.answer.status == _UNAUTHORISED and self._learn_time(signed):
            signed = self._send(method, path, body, headers or {})
        check(signed.answer)
        return signed

    @contextmanager
    def open(self, path: str, headers: Mapping[str, str]) -> Iterator[Stream]:
        """A signed GET as a stream, 2xx or 416.

        Raises:
            CallerError, WorldError, IntegrityError: as `exchange`.
        """
        for attempt in (1, 2):
            request, nonce = self._request("GET", path, b"", headers)
            with self._transport.open(request) as stream:
                if stream.status < 300 or stream.status == 416:
                    yield stream
                    return
                answer = Answer(stream.status, stream.headers, _read(stream, MAX_ANSWER))
            if attempt == 1 and answer.status == _UNAUTHORISED and self._learn_time(Signed(answer, nonce)):
                continue
            check(answer)

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Signed:
        request, nonce = self._request(method, path, body, headers)
        return Signed(self._transport.send(request), nonce)

    def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Outgoing, str]:
        nonce = encode_nonce(self._entropy(NONCE_BYTES))
        signature = sign_request(
            method=method,
            path=path,
            query="",
            body=body,
            created=int(self._clock.now().timestamp()),
            nonce=nonce,
            keyid=self._device,
            signer=self._signer,
            audience=self._policy.audience,
        )
        return Outgoing(method, path, {**headers, **signature, NONCE_HEADER: nonce}, body=body), nonce

    def _learn_time(self, signed: Signed) -> bool:
        header = signed.answer.headers.get(TIME_HEADER.lower())
        if header is None:
            return False
        time = check_time(read_time_header(header), self._policy, signed.nonce)
        self._clock.learn(time.time_unix_s)
        return True


def check(answer: Answer) -> None:
    """Lets 2xx and 304 pass.

    Raises:
        CallerError: the controller refuses; its own code where this version knows it, else MF-3050.
        WorldError: MF-5003, it is busy or broken.
    """
    if answer.status < 300 or answer.status == 304:
        return
    code, happened, expected, todo = _problem(answer)
    if answer.status >= 500 or answer.status in _BUSY:
        raise WorldError(
            Code.CONTROLLER_BUSY, happened, expected="an answer", todo="nothing: the device tries again"
        )
    raise CallerError(code, happened, expected=expected, todo=todo)


def retry_after_s(answer: Answer) -> float:
    """Seconds that the controller asks to wait, 0 where it does not."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), MAX_RETRY_AFTER_S) if text.isdecimal() and len(text) < 8 else 0.0


def _problem(answer: Answer) -> tuple[Code, str, str, str]:
    try:
        problem = codec.decode(answer.body, Problem, what="the refusal")
        code = Code(problem.code)
    except (ModelfleetError, ValueError):
        text = answer.body[:200].decode("utf-8", "replace")
        return (
            Code.CONTROLLER_ANSWER,
            f"the controller answered {answer.status}: {text}",
            "an answer that this version of the agent knows",
            "look at the address and at what stands between device and controller",
        )
    return code, problem.detail[:500], problem.expected[:500], problem.todo[:500]


def _read(stream: Stream, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (part := stream.read(64 * 1024)):
        data += part
    return data[:limit]
