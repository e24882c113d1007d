"""fleetctl under test: the real command line on streams that a test reads, and a controller in memory.

The controller answers over httpx's transport port, so everything but the network is the real thing.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from fleetctl.app import App
from fleetctl.client.api import Api
from fleetctl.client.transport import Target, Transport
from fleetctl.run import run
from fleetctl.settings import read_settings
from fleetctl.terminal import Terminal
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.release.manifest import Manifest
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import BuildOperation, BuildOrder, Builds, BuildView
from modelfleet_core.wire.checkin import SlotStatus
from modelfleet_core.wire.operator import (
    Classes,
    ClassView,
    Decisions,
    DecisionView,
    Devices,
    DeviceView,
    GateView,
    Operation,
    OperationAnswer,
    PlanClass,
    PlanView,
    ReleasePush,
    Releases,
    ReleaseView,
    RolloutCreate,
    RolloutDevice,
    Rollouts,
    RolloutView,
    TokenRequest,
    Tokens,
    TokenView,
    TrustView,
)
from modelfleet_core.wire.problem import problem

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
URL = "http://127.0.0.1:8080"
TOKEN = "mf_secret-token"
DIRECTOR = ed25519_from_seed(b"\x02" * 32)


class Stream(io.StringIO):
    """A text stream that may be a terminal."""

    def __init__(self, text: str = "", *, tty: bool = False) -> None:
        super().__init__(text)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Sent:
    """One request as the controller saw it."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass
class FakeController:
    """The operators' API in memory: real wire types in and out, real token check, every request kept."""

    token: str = TOKEN
    audience: str = "mfc-test"
    reachable: bool = True
    release_keys: list[str] = field(default_factory=list)
    director: str = DIRECTOR.public().to_pem()
    blobs: dict[str, bytes] = field(default_factory=dict)
    releases: list[ReleaseView] = field(default_factory=list)
    devices: list[DeviceView] = field(default_factory=list)
    tokens: list[TokenView] = field(default_factory=list)
    classes: list[DeviceClass] = field(default_factory=lambda: list(SHIPPED))
    rollouts: list[RolloutView] = field(default_factory=list)
    decisions: list[DecisionView] = field(default_factory=list)
    looks: list[RolloutView | Exception] = field(default_factory=list)
    builds: list[BuildView] = field(default_factory=list)
    """The first is shown until the last one; each look takes one off."""
    sent: list[Sent] = field(default_factory=list)
    page: int = 2

    def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("Connection refused", request=request)
        body = request.read()
        self.sent.append(Sent(request.method, request.url.path, dict(request.url.params), body))
        path = request.url.path
        if path in ("/livez", "/readyz"):
            return httpx.Response(200)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _problem(
                401,
                CallerError(
                    Code.TOKEN_INVALID, "the token is not known", expected="a token", todo="log in again"
                ),
            )
        try:
            value = self._route(
                request.method, path.removeprefix("/v1/").split("/"), body, request.url.params
            )
        except CallerError as error:
            return _problem(404 if error.code is Code.NOT_FOUND else 422, error)
        if isinstance(value, httpx.Response):
            return value
        return httpx.Response(200, content=codec.encode(value), headers={"content-type": "application/json"})

    def bodies(self, method: str, ending: str = "") -> list[Sent]:
        return [s for s in self.sent if s.method == method and s.path.endswith(ending)]

    def _route(self, method: str, path: list[str], body: bytes, query: Any) -> Any:
        match [method, *path]:
            case ["GET", "trust"]:
                return TrustView(self.audience, tuple(self.release_keys), (self.director,))
            case ["POST", "trust", "release-keys"]:
                pem = codec.decode(body, dict[str, str], what="key")["pem"]
                self.release_keys += [] if pem in self.release_keys else [pem]
                return TrustView(self.audience, tuple(self.release_keys), (self.director,))
            case ["HEAD", "blobs", "sha256", digest]:
                return httpx.Response(200 if digest in self.blobs else 404)
            case ["PUT", "blobs", "sha256", digest]:
                if sha256_hex(body) != digest:
                    raise CallerError(
                        Code.BLOB_DIGEST, "digest differs", expected=digest, todo="send it again"
                    )
                self.blobs[digest] = body
                return httpx.Response(201)
            case ["POST", "releases"]:
                return self._push(codec.decode(body, ReleasePush, what="push"))
            case ["GET", "releases"]:
                return Releases(tuple(self.releases))
            case ["GET", "releases", reference]:
                return _find(self.releases, lambda r: r.reference == reference, reference)
            case ["GET", "devices"]:
                return self._devices(query)
            case ["GET", "devices", device]:
                return _find(self.devices, lambda d: d.id == device, device)
            case ["PUT", "devices", device, "labels"]:
                found = _find(self.devices, lambda d: d.id == device, device)
                return self._replace(found, labels=codec.decode(body, dict[str, str], what="labels"))
            case ["POST", "devices", device, "revoke"]:
                return self._replace(_find(self.devices, lambda d: d.id == device, device), revoked=True)
            case ["GET", "classes"]:
                return Classes(tuple(self.classes))
            case ["PUT", "classes", _]:
                made = codec.decode(body, DeviceClass, what="class")
                self.classes.append(made)
                return made
            case ["GET", "tokens"]:
                return Tokens(tuple(replace(t, secret=None) for t in self.tokens))
            case ["POST", "tokens"]:
                return self._token(codec.decode(body, TokenRequest, what="token"))
            case ["DELETE", "tokens", token]:
                self.tokens.remove(_find(self.tokens, lambda t: t.id == token, token))
                return httpx.Response(204)
            case ["POST", "rollouts", "plan"]:
                codec.decode(body, RolloutCreate, what="rollout")
                return PLAN
            case ["POST", "rollouts"]:
                codec.decode(body, RolloutCreate, what="rollout")
                self.rollouts.append(rollout())
                return self.rollouts[-1]
            case ["GET", "rollouts"]:
                return Rollouts(tuple(self.rollouts))
            case ["GET", "rollouts", name]:
                return self._look(name)
            case ["POST", "rollouts", name, "operations"]:
                operation = codec.decode(body, Operation, what="operation")
                found = _find(self.rollouts, lambda r: name in (r.id, r.name), name)
                return OperationAnswer(found.id, f"{operation.verb} done")
            case ["GET", "blobs", "sha256", digest]:
                return httpx.Response(200, content=self.blobs[digest])
            case ["POST", "builds"]:
                codec.decode(body, BuildOrder, what="order")
                return self.builds[0]
            case ["GET", "builds"]:
                return Builds(tuple(self.builds))
            case ["GET", "builds", _]:
                return self.builds.pop(0) if len(self.builds) > 1 else self.builds[0]
            case ["POST", "builds", _, "operations"]:
                codec.decode(body, BuildOperation, what="operation")
                return self.builds[0]
            case ["GET", "audit"]:
                wanted, after = query.get("rollout"), int(query.get("after", 0))
                fitting = [d for d in self.decisions if wanted in (None, d.rollout) and d.sequence > after]
                return Decisions(tuple(fitting[: int(query["limit"])]))
            case _:
                raise CallerError(
                    Code.NOT_FOUND, f"no route {path}", expected="a route", todo="read the docs"
                )

    def _look(self, name: str) -> RolloutView:
        if self.looks:
            found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            if isinstance(found, Exception):
                raise found
            return found
        seen: RolloutView = _find(self.rollouts, lambda r: name in (r.id, r.name), name)
        return seen

    def _push(self, push: ReleasePush) -> ReleaseView:
        for digest in (push.manifest, *push.bundles.values()):
            assert digest in self.blobs
        manifest = codec.decode(self.blobs[push.manifest], Manifest, what="release.json")
        for variant in manifest.variants:
            assert all(f.sha256 in self.blobs for f in variant.files)
        view = ReleaseView(
            push.manifest, manifest.reference(), manifest.created_at, NOW, ("f" * 64,), manifest, push.bundles
        )
        self.releases = [r for r in self.releases if r.id != view.id] + [view]
        return view

    def _devices(self, query: Any) -> Devices:
        wanted = [p.split("=") for p in query.get("selector", "").split(",") if p]
        found = [
            d
            for d in self.devices
            if all(d.labels.get(k) == v for k, v in wanted) and query.get("class") in (None, d.device_class)
        ]
        start = next((i + 1 for i, d in enumerate(found) if d.id == query.get("after")), 0)
        page = found[start : start + self.page]
        return Devices(tuple(page), page[-1].id if start + self.page < len(found) else None)

    def _replace(self, device: DeviceView, **changes: Any) -> DeviceView:
        made = replace(device, **changes)
        self.devices[self.devices.index(device)] = made
        return made

    def _token(self, request: TokenRequest) -> TokenView:
        ends = NOW + timedelta(seconds=request.ttl_s)
        made = TokenView(
            id=f"tok_{len(self.tokens)}",
            kind=request.kind,
            name=request.name,
            scope=request.scope,
            created_at=NOW,
            expires_at=ends,
            uses=0,
            max_uses=request.max_uses,
            revoked=False,
            allow_override=request.allow_override,
            secret="mfe_only-once",
        )
        self.tokens.append(made)
        return made


def _find(items: Iterable[Any], fits: Callable[[Any], bool], name: str) -> Any:
    found = next((i for i in items if fits(i)), None)
    if found is None:
        raise CallerError(Code.NOT_FOUND, f"there is no {name!r}", expected="a known one", todo="list them")
    return found


def _problem(status: int, error: CallerError) -> httpx.Response:
    body = codec.encode(problem(status, error.diagnostics()))
    return httpx.Response(status, content=body, headers={"content-type": "application/problem+json"})


@dataclass
class Cli:
    """Runs commands as one person on one machine."""

    home: Path
    controller: FakeController = field(default_factory=FakeController)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    env: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    width: int | None = None

    def __call__(
        self, *arguments: object, stdin: str = "", tty: bool = False, err_tty: bool | None = None
    ) -> Ended:
        settings = read_settings({"HOME": str(self.home), **self.env})
        out, err = Stream(tty=tty), Stream(tty=tty if err_tty is None else err_tty)
        terminal = Terminal(Stream(stdin, tty=tty), out, err, color=settings.color, width=self.width)
        counter = iter(range(10**6))
        app = App(
            settings,
            terminal,
            self.clock,
            lambda size: hashlib.shake_256(b"%d" % next(counter)).digest(size),
            self.connect,
            lambda _: self.typed.pop(0),
        )
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(a) for a in arguments], app)
        return Ended(code, out.getvalue(), err.getvalue())

    def connect(self, target: Target) -> Api:
        return Api(Transport(target, httpx.MockTransport(self.controller.answer)))

    def connect_api(self) -> Api:
        """The API as a command would get it."""
        return self.connect(Target(URL, self.controller.token))

    def logged_in(self) -> Cli:
        """The same person, logged in to the controller in memory."""
        ended = self("login", URL, "--token-stdin", stdin=TOKEN + "\n")
        assert ended.code == 0, ended
        self.controller.sent.clear()
        return self

    @property
    def config(self) -> Path:
        return self.home / ".config" / "fleetctl" / "config.json"


GATE = GateView(
    metric="latency_p95",
    verdict="worse",
    effect=0.214,
    tolerance=0.05,
    evidence=83.2,
    needed=60.0,
    promote_evidence=0.4,
    promote_needed=20.0,
    reports=12,
    devices=2,
    set_aside=0,
    sentence="p95 is 21 % slower than the incumbent's on the same inputs; 5 % is tolerated.",
)
GOLDEN = replace(
    GATE, metric="golden", verdict="fine", effect=-0.012, tolerance=0.02, evidence=1.0, needed=2.0,
    sentence="1.2 points better on 64 golden samples.",
)  # fmt: skip


def class_view(name: str = "x86-onnxruntime", **changes: Any) -> ClassView:
    fields: dict[str, Any] = {
        "device_class": name,
        "state": "running",
        "stage": 0,
        "stage_name": "shadow",
        "stage_mode": "shadow",
        "stages": 3,
        "stage_started_at": NOW - timedelta(minutes=5),
        "outcome": None,
        "stopped_in": None,
        "stopped_by": None,
        "reason": "",
        "outcomes": {"shadowing": 2},
        "gates": (),
    }
    return ClassView(**(fields | changes))


def rollout(*classes: ClassView, **changes: Any) -> RolloutView:
    fields: dict[str, Any] = {
        "id": "ro_01",
        "name": "digits-1-3",
        "release": "digits:1.3",
        "release_id": "3" * 64,
        "slot": "digits",
        "created_at": NOW - timedelta(hours=3),
        "created_by": "first-admin",
        "state": "running",
        "outcome": None,
        "reason": "",
        "small_fleet": False,
        "classes": classes or (class_view(),),
    }
    return RolloutView(**(fields | changes))


ROLLED_BACK = rollout(
    class_view(
        state="rolled_back",
        outcome="rolled_back",
        stopped_in="shadow",
        stopped_by="latency_p95",
        reason="latency_p95 is worse.",
        outcomes={"rolled_back": 2},
        gates=(GATE, GOLDEN),
        stage_history=("shadow",),
    ),
    state="finished",
    outcome="rolled_back",
    reason="rolled back in every class",
    small_fleet=True,
    devices=(
        RolloutDevice(
            "dev_1", "cam-1", "x86-onnxruntime", "refused", "MF-2015", "the signature does not match"
        ),
        RolloutDevice("dev_2", "cam-2", "x86-onnxruntime", "rolled_back"),
    ),
)

PLAN = PlanView(
    release="digits:1.3",
    devices=3,
    classes=(
        PlanClass("x86-onnxruntime", 2, "x86-onnxruntime.int8", 101_738, ("shadow 2", "canary 1"), ()),
        PlanClass("arm-litert", 1, None, 0, (), ("cam-3: no variant fits",)),
    ),
    gates=("latency_p95 tolerance 5%",),
    warnings=("small-fleet plan: weaker evidence",),
)


def device(number: int, **changes: Any) -> DeviceView:
    fields: dict[str, Any] = {
        "id": f"dev_{number}",
        "name": f"cam-{number}",
        "device_class": "x86-onnxruntime",
        "class_reasons": ("x86-openvino: runtime openvino is not offered",),
        "labels": {"site": "north"},
        "facts": DeviceFacts("x86_64", {"onnxruntime": "1.22.0"}, 4 * 10**9, 10**9, 4, overridden=("cpus",)),
        "enrolled_at": NOW - timedelta(days=3),
        "last_seen": NOW - timedelta(seconds=42),
        "revoked": False,
        "revision": 7,
        "slots": (SlotStatus("digits", "idle", "1" * 64, "digits:1.0", "x86-onnxruntime.int8"),),
    }
    return DeviceView(**(fields | changes))
