"""The hot routes: POST /v1/device/checkin, /reports and /events as plain ASGI in front of FastAPI.

Each proves the device's signature, decodes by msgspec, answers from the board, and writes what must be
durable in a group commit before it answers. Declared permission of every route here: `device`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.rollout.assignment import assign
from modelfleet_core.trust.director import issue_time, time_header
from modelfleet_core.trust.http_signature import TIME_HEADER, parse_signature
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, CheckinAnswer
from modelfleet_core.wire.enroll import TimeStatement
from modelfleet_core.wire.event import EventAnswer, EventBatch
from modelfleet_core.wire.report import ReportAnswer, ReportBatch

from ..auth.actor import DeviceCaller
from ..auth.request_verifier import SignedRequest, sha256
from ..controller import Controller
from ..db.group_commit import Lane
from ..devices.repository import DeviceRow
from ..http.problems import body_of, status_of
from ..http.problems import headers_of as problem_headers
from .asgi import Asgi, Disconnected, Receive, Scope, Send, answer, headers_of, read_body
from .board import DeviceEntry
from .limits import check_checkin, check_events, check_reports
from .polling import poll_s
from .statement import digest_of, issue, still_holds

_log = logging.getLogger(__name__)

POLL_HEADER: Final = "modelfleet-poll-s"
MAX_CHECKIN: Final = 64 * 1024
MAX_BATCH: Final = 1024 * 1024
PERMISSION: Final = "device"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a hot route answers."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """Durable writes of the hot routes: (device id, body) in, the answer out, one group commit for all."""

    reports: Lane[tuple[str, ReportBatch], ReportAnswer]
    events: Lane[tuple[str, EventBatch], EventAnswer]
    facts: Lane[tuple[str, DeviceFacts], DeviceRow]


class HotRoutes:
    """An ASGI application that answers the hot routes and leaves everything else to `rest`."""

    def __init__(self, controller: Controller, lanes: Lanes, rest: Asgi) -> None:
        self._controller = controller
        self._lanes = lanes
        self._rest = rest
        self.routes: dict[str, Callable[[DeviceCaller, bytes, dict[str, str]], Awaitable[Reply]]] = {
            "/v1/device/checkin": self._checkin,
            "/v1/device/reports": self._reports,
            "/v1/device/events": self._events,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        route = self.routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        headers = headers_of(scope)
        try:
            limit = MAX_CHECKIN if scope["path"] == "/v1/device/checkin" else MAX_BATCH
            body = await read_body(receive, limit)
            caller = self._controller.verifier.verify(_signed(scope, headers, body))
            reply = await route(caller, body, headers)
        except ModelfleetError as error:
            reply = self._refusal(error, headers)
        except Disconnected:
            return
        except Exception:
            logs.error(_log, "request.failed", trace=True, path=scope["path"])
            reply = Reply(500, b"", {})
        await answer(send, reply.status, reply.body, reply.headers)

    # ---------------------------------------------------------------- the routes

    async def _checkin(self, caller: DeviceCaller, body: bytes, headers: dict[str, str]) -> Reply:
        controller = self._controller
        said = codec.decode(body, Checkin, what="the check-in", limit=MAX_CHECKIN)
        entry = controller.board.devices[caller.device]
        check_checkin(said)
        if said.facts is not None and said.facts != entry.row.facts:
            await controller.commits.submit(self._lanes.facts, (caller.device, said.facts))
        now = controller.clock.now()
        if said.revision > controller.board.revision and said.revision != entry.revision:
            logs.warning(
                _log,
                "device.revision_ahead",
                device=caller.device,
                revision=said.revision,
                ours=controller.board.revision,
            )
        controller.board.heard(entry, now, said.revision, said.slots)
        return self._answer_checkin(caller, entry, headers)

    def _answer_checkin(self, caller: DeviceCaller, entry: DeviceEntry, headers: dict[str, str]) -> Reply:
        controller = self._controller
        board, settings = controller.board, controller.settings
        now = controller.clock.now()
        slots = assign(board.subject(entry), board.standings, board.baselines)
        digest = digest_of(slots)
        seconds = poll_s(settings.poll_s, slots, caller.nonce)
        if still_holds(headers.get("if-none-match"), digest, now, settings.statement_life_s):
            controller.metrics.checkins.labels("unchanged").inc()
            return Reply(204, b"", {POLL_HEADER: str(seconds), "etag": headers["if-none-match"]})
        issued = issue(
            caller.device,
            board.revision,
            slots,
            digest,
            caller.nonce,
            now,
            settings.statement_life_s,
            controller.director,
        )
        controller.metrics.checkins.labels("statement").inc()
        answered = CheckinAnswer(issued.envelope, seconds)
        return _json(answered, {POLL_HEADER: str(seconds), "etag": issued.etag})

    async def _reports(self, caller: DeviceCaller, body: bytes, headers: dict[str, str]) -> Reply:
        batch = codec.decode(body, ReportBatch, what="the reports", limit=MAX_BATCH)
        check_reports(batch)
        answered = await self._controller.commits.submit(self._lanes.reports, (caller.device, batch))
        metrics = self._controller.metrics.reports
        metrics.labels("accepted").inc(answered.accepted)
        metrics.labels("duplicate").inc(answered.duplicates)
        return _json(answered)

    async def _events(self, caller: DeviceCaller, body: bytes, headers: dict[str, str]) -> Reply:
        batch = codec.decode(body, EventBatch, what="the events", limit=MAX_BATCH)
        check_events(batch)
        answered = await self._controller.commits.submit(self._lanes.events, (caller.device, batch))
        self._controller.metrics.events.inc(len(batch.events))
        return _json(answered)

    # ---------------------------------------------------------------- refusals

    def _refusal(self, error: ModelfleetError, headers: dict[str, str]) -> Reply:
        self._controller.metrics.refusals.labels(error.code.value).inc()
        extra = {**problem_headers(error), **time_headers(self._controller, error, headers)}
        return Reply(status_of(error), body_of(error), extra)


def time_headers(controller: Controller, error: ModelfleetError, headers: dict[str, str]) -> dict[str, str]:
    """The signed time, for a proven request that was refused for its time alone (semantics section 4,
    clock).
    """
    if error.code is not Code.REQUEST_CLOCK:
        return {}
    nonce = parse_signature(headers).nonce
    told = TimeStatement(controller.clock.now().timestamp(), nonce)
    return {TIME_HEADER.lower(): time_header(issue_time(told, controller.director))}


def _signed(scope: Scope, headers: dict[str, str], body: bytes) -> SignedRequest:
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    return SignedRequest(
        method="POST",
        path=raw_path.partition(b"?")[0].decode("latin-1"),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        body_sha256=sha256(body),
    )


def _json(value: object, headers: dict[str, str] | None = None) -> Reply:
    return Reply(200, codec.encode(value), {"content-type": "application/json", **(headers or {})})
