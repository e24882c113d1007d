"""A controller in memory: the transport port with real signatures, and every failure a network can have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from modelfleet_agent.uplink.transport import MAX_ANSWER, Answer, Outgoing, Stream, unreachable
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.ids import device_id
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.trust.director import issue_statement, issue_time, time_header
from modelfleet_core.trust.http_signature import (
    NONCE_HEADER,
    TIME_HEADER,
    check_request,
    check_window,
    parse_signature,
)
from modelfleet_core.trust.keys import (
    EcdsaP256Private,
    Ed25519Private,
    Ed25519Public,
    ed25519_from_seed,
    ed25519_public_from_raw,
    generate_ecdsa_p256,
)
from modelfleet_core.trust.policy import TrustFile, write_trust_file
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, CheckinAnswer
from modelfleet_core.wire.director import DirectorStatement, SlotAssignment
from modelfleet_core.wire.enroll import EnrollAnswer, EnrollRequest, TimeStatement
from modelfleet_core.wire.event import DeviceEvent, EventAnswer, EventBatch
from modelfleet_core.wire.operator import TrustView
from modelfleet_core.wire.problem import problem
from modelfleet_core.wire.report import Report, ReportAnswer, ReportBatch

STATUS = {
    Code.REQUEST_CLOCK: 401,
    Code.REQUEST_KEY_UNKNOWN: 401,
    Code.DEVICE_REVOKED: 403,
    Code.TOKEN_USED_UP: 403,
    Code.NOT_FOUND: 404,
}
_RANGE = re.compile(r"bytes=(\d+)-")
FACTS = DeviceFacts(architecture="x86_64", runtimes={"onnxruntime": "1.22.0"}, memory_bytes=1 << 30)


def entropy(seed: int = 0) -> Callable[[int], bytes]:
    return Random(seed).randbytes


@dataclass
class MemoryStream:
    """An answer's body in memory, which may break off."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    breaks_after: int | None = None
    taken: Callable[[int], None] = lambda count: None
    _at: int = 0

    def read(self, size: int) -> bytes:
        if self.breaks_after is not None and self._at >= self.breaks_after:
            raise unreachable("the connection broke")
        end = min(self._at + size, len(self.body), self.breaks_after or len(self.body))
        part = self.body[self._at : end]
        self._at = end
        self.taken(len(part))
        return part


@dataclass
class FakeController:
    """What the device sees of a controller. Set its fields to what the test needs.

    Attributes:
        clock: the controller's own.
        reachable: False = every request fails.
        assignments: what the next statement says.
        life_s: life of a statement.
        blobs: digest -> content.
        breaks_after: body bytes after which a download breaks off, consumed one per download.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    reachable: bool = True
    assignments: tuple[SlotAssignment, ...] = ()
    revision: int = 1
    life_s: float = 86_400.0
    poll_s: float = 60.0
    token: str = "mfe_token"
    audience: str = "fleet-1"
    device_class: str | None = "x86-onnxruntime"
    director: Ed25519Private = field(default_factory=lambda: ed25519_from_seed(b"d" * 32))
    release_key: EcdsaP256Private = field(default_factory=generate_ecdsa_p256)
    keys: dict[str, Ed25519Public] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    breaks_after: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    tells_lengths: bool = True
    events: list[DeviceEvent] = field(default_factory=list)
    outbox: dict[str, int] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    sent_unix_s: list[float | None] = field(default_factory=list)
    checkins: list[Checkin] = field(default_factory=list)
    enrolments: list[EnrollRequest] = field(default_factory=list)
    requests: list[Outgoing] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    bytes_sent: int = 0
    lose_answers: int = 0
    refuse: list[ModelfleetError] = field(default_factory=list)
    forge_statement: Callable[[DirectorStatement], DirectorStatement] = lambda statement: statement

    def trust(self) -> TrustFile:
        return TrustFile(
            audience=self.audience,
            release_keys=(self.release_key.public().to_pem(),),
            director_keys=(self.director.public().to_pem(),),
            issued_at=self.clock.now(),
        )

    def trust_bytes(self) -> bytes:
        return write_trust_file(self.trust())

    def put_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def kinds(self) -> list[str]:
        """Kinds of the events that came, in order."""
        return [event.kind.value for event in self.events]

    # The transport port.

    def send(self, request: Outgoing, *, limit: int = MAX_ANSWER) -> Answer:
        with self.open(request) as stream:
            body = b""
            while part := stream.read(65536):
                body += part
            return Answer(stream.status, stream.headers, body)

    @contextmanager
    def open(self, request: Outgoing) -> Iterator[Stream]:
        if not self.reachable:
            raise unreachable("no route to the controller")
        self.requests.append(request)
        try:
            stream = self._answer(request)
        except ModelfleetError as error:
            body = codec.encode(problem(STATUS.get(error.code, 400), error.diagnostics()))
            headers = {"content-type": "application/problem+json"}
            if error.code is Code.REQUEST_CLOCK:
                nonce = parse_signature(request.headers).nonce
                told = TimeStatement(self.clock.now().timestamp(), nonce)
                headers[TIME_HEADER.lower()] = time_header(issue_time(told, self.director))
            stream = MemoryStream(STATUS.get(error.code, 400), headers, body)
        if self.lose_answers and request.method == "POST":
            self.lose_answers -= 1
            raise unreachable("the answer was lost")
        yield stream

    def _answer(self, request: Outgoing) -> MemoryStream:
        if self.refuse:
            raise self.refuse.pop(0)
        if request.path == "/livez":
            return MemoryStream(200, {}, b"ok")
        if request.path == "/v1/device/trust":
            view = TrustView(self.audience, self.trust().release_keys, self.trust().director_keys)
            return MemoryStream(200, {}, codec.encode(view))
        if request.path == "/v1/device/enroll":
            return self._enroll(request)
        device, nonce = self._verify(request)
        if request.path == "/v1/device/checkin":
            return self._checkin(device, nonce, request)
        if request.path == "/v1/device/events":
            return self._events(request)
        if request.path == "/v1/device/reports":
            batch = codec.decode(request.body, ReportBatch, what="reports")
            self.sent_unix_s.append(batch.sent_unix_s)
            fresh = [report for report in batch.reports if report not in self.reports]
            self.reports += fresh
            return _json(ReportAnswer(len(fresh), len(batch.reports) - len(fresh)))
        if request.path.startswith("/v1/blobs/sha256/"):
            return self._blob(request)
        raise _refusal(Code.NOT_FOUND, request.path)

    def _verify(self, request: Outgoing, key: Ed25519Public | None = None) -> tuple[str, str]:
        parsed = parse_signature(request.headers)
        verifier = key or self.keys.get(parsed.keyid)
        if verifier is None:
            raise _refusal(Code.REQUEST_KEY_UNKNOWN, parsed.keyid)
        check_request(
            parsed,
            method=request.method,
            path=request.path,
            query=request.query,
            body=request.body,
            verifier=verifier,
            audience=self.audience,
        )
        if parsed.keyid in self.revoked:
            raise _refusal(Code.DEVICE_REVOKED, parsed.keyid)
        check_window(parsed, self.clock.now().timestamp())
        if parsed.nonce in self.nonces:
            raise _refusal(Code.REQUEST_REPLAYED, parsed.nonce)
        self.nonces.add(parsed.nonce)
        assert request.headers[NONCE_HEADER] == parsed.nonce
        return parsed.keyid, parsed.nonce

    def _enroll(self, request: Outgoing) -> MemoryStream:
        asked = codec.decode(request.body, EnrollRequest, what="enrolment")
        import base64

        key = ed25519_public_from_raw(base64.b64decode(asked.public_key))
        device, _ = self._verify(request, key)
        assert device == device_id(key.raw)
        if device not in self.keys and asked.token != self.token:
            raise _refusal(Code.TOKEN_USED_UP, "the token was used")
        self.token = "used up"
        self.keys[device] = key
        self.enrolments.append(asked)
        return _json(EnrollAnswer(device, self.audience, self.poll_s, self.device_class))

    def _checkin(self, device: str, nonce: str, request: Outgoing) -> MemoryStream:
        self.checkins.append(codec.decode(request.body, Checkin, what="check-in"))
        etag = f'"{hashlib.sha256(codec.encode([self.revision, self.assignments])).hexdigest()[:16]}"'
        headers = {"modelfleet-poll-s": str(self.poll_s), "etag": etag}
        if request.headers.get("If-None-Match") == etag:
            return MemoryStream(204, headers, b"")
        now = self.clock.now()
        statement = DirectorStatement(
            device=device,
            revision=self.revision,
            issued_at=now,
            expires_at=now + timedelta(seconds=self.life_s),
            nonce=nonce,
            slots=self.assignments,
        )
        envelope = issue_statement(self.forge_statement(statement), self.director)
        return _json(CheckinAnswer(envelope, self.poll_s), headers)

    def _events(self, request: Outgoing) -> MemoryStream:
        batch = codec.decode(request.body, EventBatch, what="events")
        through = self.outbox.get(batch.epoch, 0)
        for event in batch.events:
            if event.sequence == through + 1:
                self.events.append(event)
                through = event.sequence
        self.outbox[batch.epoch] = through
        return _json(EventAnswer(batch.epoch, through))

    def _blob(self, request: Outgoing) -> MemoryStream:
        data = self.blobs.get(request.path.rpartition("/")[2])
        if data is None:
            raise _refusal(Code.NOT_FOUND, request.path)
        breaks = self.breaks_after.pop(0) if self.breaks_after else None
        match = _RANGE.fullmatch(request.headers.get("Range", ""))

        def taken(count: int) -> None:
            self.bytes_sent += count

        if match is None or self.ignores_ranges:
            length = {"content-length": str(len(data))} if self.tells_lengths else {}
            return MemoryStream(200, length, data, breaks, taken)
        start = int(match.group(1))
        if start >= len(data):
            return MemoryStream(416, {"content-range": f"bytes */{len(data)}"}, b"")
        content_range = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers = {"content-range": content_range, "content-length": str(len(data) - start)}
        return MemoryStream(206, headers, data[start:], breaks, taken)

    def assign(self, *assignments: SlotAssignment) -> None:
        """What the device shall run from now on."""
        self.assignments = assignments
        self.revision += 1

    def reassign(self, **changes: object) -> None:
        """Changes fields of the one assignment."""
        self.assign(replace(self.assignments[0], **changes))  # type: ignore[arg-type]


def _json(value: object, headers: Mapping[str, str] | None = None) -> MemoryStream:
    return MemoryStream(200, headers or {}, codec.encode(value))


def _refusal(code: Code, happened: str) -> CallerError:
    return CallerError(code, happened, expected="something else", todo="nothing")
