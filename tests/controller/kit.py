"""What the controller's tests are made of: a whole controller in a folder, devices that sign, signed
releases.

Everything is the real thing (database, blobs, signatures, ASGI application); only the clock is set by hand
and the entropy is a counter.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from modelfleet_controller.bootstrap import Application, compose
from modelfleet_controller.controller import Controller
from modelfleet_controller.settings import Settings
from modelfleet_core.clock import ManualClock
from modelfleet_core.ids import device_id
from modelfleet_core.release.contract import Layout, LogicalTensor
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.release.manifest import (
    Artifact,
    Lineage,
    Manifest,
    Measurements,
    Precision,
    RuntimeNeed,
    SelfTestBounds,
    Task,
    Variant,
)
from modelfleet_core.trust.bundle import sign_bundle
from modelfleet_core.trust.director import check_statement
from modelfleet_core.trust.http_signature import encode_nonce, sign_request
from modelfleet_core.trust.keys import EcdsaP256Private, ed25519_from_seed, generate_ecdsa_p256
from modelfleet_core.trust.policy import TrustFile, TrustPolicy, policy_of
from modelfleet_core.trust.statement import build_statement
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, CheckinAnswer, SlotStatus
from modelfleet_core.wire.director import DirectorStatement
from modelfleet_core.wire.enroll import EnrollRequest
from modelfleet_core.wire.event import DeviceEvent, EventAnswer, EventBatch, EventKind
from modelfleet_core.wire.operator import ReleasePush, TrustView
from modelfleet_core.wire.report import Report, ReportAnswer, ReportBatch

GIB = 1024**3
RELEASE_KEY = generate_ecdsa_p256()
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
URL = "http://controller.test"

X86 = DeviceFacts(
    architecture="x86_64", runtimes={"onnxruntime": "1.22.0"}, memory_bytes=4 * GIB, agent_version="0.1.0"
)
OPENVINO = DeviceFacts(architecture="x86_64", runtimes={"openvino": "2025.2"}, memory_bytes=4 * GIB)
ARM = DeviceFacts(architecture="aarch64", runtimes={"litert": "2.1"}, memory_bytes=GIB)
FACTS = {"x86-onnxruntime": X86, "x86-openvino": OPENVINO, "arm-litert": ARM}
RUNTIMES = {"x86-onnxruntime": "onnxruntime", "x86-openvino": "openvino", "arm-litert": "litert"}


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type] # a test is a coroutine function

    return run


@dataclass
class Counting:
    """Entropy that never repeats and is the same in every run."""

    count: int = 0
    seed: str = "kit"

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_256(f"{self.seed}:{self.count}".encode()).digest(size)


@dataclass
class Rig:
    """A composed controller with an admin who is logged in."""

    application: Application
    clock: ManualClock
    http: httpx.AsyncClient
    token: str
    nonces: int = 0

    @property
    def controller(self) -> Controller:
        return self.application.controller

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        expect: int | None = None,
    ) -> httpx.Response:
        """One request of an operator; `expect` asserts the status."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        content = None if body is None else codec.encode(body)
        answer = await self.http.request(method, path, content=content, headers=headers)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    async def get(self, path: str, kind: type[Any]) -> Any:
        """A decoded answer of 200."""
        answer = await self.call("GET", path, expect=200)
        return codec.decode(answer.content, kind, what=path)

    async def api_token(self, scope: str) -> str:
        body = {"kind": "api", "name": f"a {scope}", "ttl_s": 3600.0, "scope": scope}
        return str((await self.call("POST", "/v1/tokens", body, expect=201)).json()["secret"])

    async def enrolment_token(self, **more: object) -> str:
        body = {"kind": "enrolment", "name": "devices", "ttl_s": 3600.0, "max_uses": 1000, **more}
        return str((await self.call("POST", "/v1/tokens", body, expect=201)).json()["secret"])

    async def trust(self) -> TrustFile:
        view = await self.get("/v1/trust", TrustView)
        return TrustFile(view.audience, view.release_keys, view.director_keys, self.clock.now())

    async def trust_release_key(self, key: EcdsaP256Private = RELEASE_KEY) -> None:
        answer = await self.call("POST", "/v1/trust/release-keys", {"pem": key.public().to_pem()})
        assert answer.status_code in (200, 201), answer.text

    async def upload(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        answer = await self.http.put(
            f"/v1/blobs/sha256/{digest}", content=data, headers={"authorization": f"Bearer {self.token}"}
        )
        assert answer.status_code in (200, 201), answer.text
        return digest

    async def push(self, built: Built) -> httpx.Response:
        for data in built.blobs:
            await self.upload(data)
        return await self.call("POST", "/v1/releases", built.push)

    async def device(
        self, name: str, facts: DeviceFacts = X86, labels: Mapping[str, str] | None = None, token: str = ""
    ) -> FakeDevice:
        """A device that is enrolled."""
        made = FakeDevice(self, name, facts)
        secret = token or await self.enrolment_token(allow_override=True)
        answer = await made.enroll(secret, dict(labels or {}))
        assert answer.status_code == 200, answer.text
        return made


@asynccontextmanager
async def rig(
    folder: Path, clock: ManualClock | None = None, token: str = "", **settings: Any
) -> AsyncIterator[Rig]:
    """A controller over `folder`; the same folder again is a restart (give the token of the first)."""
    clock = clock or ManualClock(START)
    seed = f"{folder.name}:{clock.elapsed}"  # the same salts in every run
    application = await compose(Settings(folder, **settings), clock, Counting(seed=seed), run=False)
    transport = httpx.ASGITransport(application.asgi, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            yield Rig(application, clock, http, application.admin_token or token)
    finally:
        await application.close()


@dataclass
class FakeDevice:
    """A device without models: it signs, checks statements, and reports what it is told to."""

    rig: Rig
    name: str
    facts: DeviceFacts = X86
    skew_s: float = 0.0
    revision: int = 0
    etag: str | None = None
    sequence: int = 0
    epoch: str = "e1"
    slots: dict[str, SlotStatus] = field(default_factory=dict)
    policy: TrustPolicy | None = None
    audience: str | None = None

    def __post_init__(self) -> None:
        self.key = ed25519_from_seed(hashlib.sha256(self.name.encode()).digest())
        self.id = device_id(self.key.public().raw)

    def nonce(self) -> str:
        self.rig.nonces += 1
        seed = f"{self.name}:{self.rig.nonces}:{self.rig.clock.elapsed}"
        return encode_nonce(hashlib.sha256(seed.encode()).digest()[:16])

    def signed(
        self, method: str, path: str, body: bytes, nonce: str, *, created: int | None = None
    ) -> dict[str, str]:
        """Headers of a signed request."""
        at = int(self.rig.clock.now().timestamp() + self.skew_s) if created is None else created
        where, _, query = path.partition("?")
        return sign_request(
            method=method,
            path=where,
            query=query,
            body=body,
            created=at,
            nonce=nonce,
            keyid=self.id,
            signer=self.key,
            audience=self.audience or self.rig.controller.audience,
        )

    async def send(
        self, path: str, body: bytes, *, method: str = "POST", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """A signed request; `headers` are added unsigned."""
        signed = self.signed(method, path, body, self.nonce())
        return await self.rig.http.request(method, path, content=body, headers={**signed, **(headers or {})})

    async def enroll(self, token: str, labels: dict[str, str] | None = None) -> httpx.Response:
        public = base64.b64encode(self.key.public().raw).decode()
        body = codec.encode(EnrollRequest(token, public, self.name, self.facts, labels or {}))
        return await self.send("/v1/device/enroll", body)

    def checkin_body(self, *, with_facts: bool = False) -> bytes:
        said = Checkin(
            revision=self.revision,
            boot_id="boot-1",
            agent_version="0.1.0",
            slots=tuple(self.slots.values()),
            facts=self.facts if with_facts else None,
            outbox_epoch=self.epoch,
        )
        return codec.encode(said)

    async def check_in(self, *, with_facts: bool = False) -> DirectorStatement | None:
        """The verified statement, or None for 204."""
        body = self.checkin_body(with_facts=with_facts)
        nonce = self.nonce()
        headers = self.signed("POST", "/v1/device/checkin", body, nonce)
        if self.etag is not None:
            headers["if-none-match"] = self.etag
        answer = await self.rig.http.post("/v1/device/checkin", content=body, headers=headers)
        self.poll_s = float(answer.headers.get("modelfleet-poll-s", "nan"))
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        if self.policy is None:
            view = await self.rig.trust()
            # without a release key there is nothing to authorise, but statements are still signed
            keys = view.release_keys or (RELEASE_KEY.public().to_pem(),)
            self.policy = policy_of(replace(view, release_keys=keys))
        told = codec.decode(answer.content, CheckinAnswer, what="answer")
        statement = check_statement(
            told.statement,
            self.policy,
            device=self.id,
            nonce=nonce,
            last_revision=self.revision,
            now_floor=self.rig.clock.now(),
        )
        self.revision = statement.revision
        self.etag = answer.headers["etag"]
        return statement

    async def report(self, *reports: Report) -> ReportAnswer:
        """Sends reports."""
        body = codec.encode(ReportBatch(reports, sent_unix_s=self.rig.clock.now().timestamp()))
        answer = await self.send("/v1/device/reports", body)
        assert answer.status_code == 200, answer.text
        return codec.decode(answer.content, ReportAnswer, what="answer")

    def event(
        self, kind: EventKind, operation: str, release: str, slot: str = "digits", **more: Any
    ) -> DeviceEvent:
        """The next event of the outbox."""
        self.sequence += 1
        return DeviceEvent(self.sequence, self.rig.clock.now(), kind, slot, operation, release, **more)

    async def tell(self, *events: DeviceEvent) -> EventAnswer:
        """Sends events."""
        answer = await self.send("/v1/device/events", codec.encode(EventBatch(self.epoch, events)))
        assert answer.status_code == 200, answer.text
        return codec.decode(answer.content, EventAnswer, what="answer")


@dataclass(frozen=True)
class Built:
    """A signed release: its blobs and the request that pushes it."""

    manifest: Manifest
    id: str
    push: ReleasePush
    blobs: tuple[bytes, ...]
    bundles: Mapping[str, bytes]
    files: Mapping[str, bytes]


def build(
    name: str = "digits",
    version: str = "1.0",
    classes: tuple[str, ...] = ("x86-onnxruntime",),
    key: EcdsaP256Private = RELEASE_KEY,
    content: str = "",
    size_error: int = 0,
) -> Built:
    """A release with one variant per class; its files are a few bytes each."""
    files: dict[str, bytes] = {}
    variants: list[Variant] = []
    for device_class in classes:
        own = {
            "model.bin": f"model {name}:{version} for {device_class} {content}".encode(),
            "contract.json": b"{}",
            "golden.npz": f"golden {name}:{version}".encode(),
        }
        files.update({f"{device_class}/{path}": data for path, data in own.items()})
        artifacts = tuple(
            Artifact(path, hashlib.sha256(data).hexdigest(), len(data) + size_error)
            for path, data in own.items()
        )
        variants.append(
            Variant(
                name=f"{device_class}.fp32",
                device_class=device_class,
                precision=Precision.FP32,
                recipe="fp32",
                rank=0,
                runtime=RuntimeNeed(RUNTIMES.get(device_class, "onnxruntime"), "1.0"),
                entry="model.bin",
                files=artifacts,
                bounds=SelfTestBounds(1e-3, 1e-3),
                measurements=Measurements("top1", 0.99, 0.99, 0.0, 1.0, 20, 100),
            )
        )
    manifest = Manifest(
        name=name,
        version=version,
        task=Task.CLASSIFICATION,
        created_at=START,
        inputs=(LogicalTensor("image", (-1, 1, 32, 32), Layout.NCHW),),
        outputs=(LogicalTensor("scores", (-1, 10)),),
        lineage=Lineage("0" * 64, "digits.onnx"),
        variants=tuple(variants),
        golden_value=0.99,
    )
    release_json = codec.pretty(manifest)
    release_id = hashlib.sha256(release_json).hexdigest()
    bundles: dict[str, bytes] = {}
    for variant in variants:
        listed = {file.path: file.sha256 for file in variant.files} | {"release.json": release_id}
        bundles[variant.name] = sign_bundle(build_statement(variant.name, listed, release_id), key)
    push = ReleasePush(release_id, {name: hashlib.sha256(data).hexdigest() for name, data in bundles.items()})
    blobs = (release_json, *bundles.values(), *dict.fromkeys(files.values()))
    return Built(manifest, release_id, push, blobs, bundles, files)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose body must be whole."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = json.loads(answer.content)
    assert set(body) == {"type", "title", "status", "code", "detail", "expected", "todo"}
    assert body["status"] == answer.status_code
    assert body["detail"]
    assert body["expected"]
    assert body["todo"]
    return answer.status_code, body["code"]
