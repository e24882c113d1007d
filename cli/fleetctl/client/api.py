"""Every call that fleetctl makes, by name: wire types in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fleetctl.client.transport import Transport
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.wire.build import BuildOperation, BuildOrder, Builds, BuildView
from modelfleet_core.wire.operator import (
    Classes,
    Decisions,
    DecisionView,
    Devices,
    DeviceView,
    Operation,
    OperationAnswer,
    PlanView,
    ReleasePush,
    Releases,
    ReleaseView,
    RolloutCreate,
    Rollouts,
    RolloutView,
    TokenRequest,
    Tokens,
    TokenView,
    TrustView,
)

CHUNK: Final = 1024 * 1024
PAGE: Final = 500
DECISIONS_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """`POST /v1/trust/release-keys`."""

    pem: str


class Api:
    """The controller's API over one transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def url(self) -> str:
        """Address of the controller."""
        return self.transport.url

    # releases and blobs

    def releases(self) -> Releases:
        """All releases."""
        return self.transport.get("/v1/releases", Releases)

    def release(self, reference: str) -> ReleaseView:
        """One release by `name:version`."""
        return self.transport.get(f"/v1/releases/{_part(reference)}", ReleaseView)

    def push_release(self, push: ReleasePush) -> ReleaseView:
        """Registers a release whose blobs were uploaded."""
        return self.transport.post("/v1/releases", push, ReleaseView)

    def has_blob(self, digest: str) -> bool:
        """Whether the controller holds the blob."""
        status, _ = self.transport.send("HEAD", f"/v1/blobs/sha256/{digest}", allowed=frozenset({404}))
        return status != 404

    def upload(self, data: bytes) -> str:
        """Uploads bytes unless they are there; returns their digest."""
        digest = str(sha256_hex(data))
        self.upload_bytes(data, digest)
        return digest

    def upload_bytes(self, data: bytes, digest: str) -> bool:
        """Uploads bytes by their digest; False when they were there."""
        if self.has_blob(digest):
            return False
        self.transport.send("PUT", f"/v1/blobs/sha256/{digest}", content=data)
        return True

    def upload_file(self, path: Path, digest: str) -> bool:
        """Uploads a file by its digest, which the controller checks; False when it was there."""
        if self.has_blob(digest):
            return False
        size = {"content-length": str(path.stat().st_size)}
        self.transport.send("PUT", f"/v1/blobs/sha256/{digest}", content=_chunks(path), headers=size)
        return True

    def download(self, digest: str, write: Callable[[bytes], object], limit: int) -> None:
        """Passes a blob on, piece by piece; whoever keeps it checks its digest."""
        self.transport.download(f"/v1/blobs/sha256/{digest}", write, limit)

    # builds

    def order_build(self, order: BuildOrder) -> BuildView:
        """Orders a build whose inputs were uploaded."""
        return self.transport.post("/v1/builds", order, BuildView)

    def builds(self) -> Builds:
        """The newest builds."""
        return self.transport.get("/v1/builds", Builds)

    def build(self, build: str) -> BuildView:
        """One build with its files."""
        return self.transport.get(f"/v1/builds/{_part(build)}", BuildView)

    def operate_build(self, build: str, operation: BuildOperation) -> BuildView:
        """A verb on a build."""
        return self.transport.post(f"/v1/builds/{_part(build)}/operations", operation, BuildView)

    # devices, classes, tokens

    def devices(self, selector: str = "", device_class: str = "") -> Devices:
        """All devices that fit, page by page."""
        params = {"limit": str(PAGE)}
        if selector:
            params["selector"] = selector
        if device_class:
            params["class"] = device_class
        found: list[DeviceView] = []
        while True:
            page = self.transport.get("/v1/devices", Devices, params)
            found += page.items
            if page.next is None or not page.items:
                return Devices(tuple(found))
            params["after"] = page.next

    def device(self, device: str) -> DeviceView:
        """One device by id."""
        return self.transport.get(f"/v1/devices/{_part(device)}", DeviceView)

    def label_device(self, device: str, labels: dict[str, str]) -> DeviceView:
        """Replaces a device's labels."""
        return self.transport.post(f"/v1/devices/{_part(device)}/labels", labels, DeviceView, method="PUT")

    def revoke_device(self, device: str) -> DeviceView:
        """Refuses every further request of the device."""
        return self.transport.post(f"/v1/devices/{_part(device)}/revoke", {}, DeviceView)

    def classes(self) -> Classes:
        """All device classes."""
        return self.transport.get("/v1/classes", Classes)

    def apply_class(self, device_class: DeviceClass) -> DeviceClass:
        """Creates or replaces a class."""
        path = f"/v1/classes/{_part(device_class.name)}"
        return self.transport.post(path, device_class, DeviceClass, method="PUT")

    def tokens(self) -> Tokens:
        """All tokens, without their secrets."""
        return self.transport.get("/v1/tokens", Tokens)

    def create_token(self, request: TokenRequest) -> TokenView:
        """Makes a token; its secret is in this answer alone."""
        return self.transport.post("/v1/tokens", request, TokenView)

    def revoke_token(self, token: str) -> None:
        """Ends a token."""
        self.transport.send("DELETE", f"/v1/tokens/{_part(token)}")

    # rollouts

    def plan_rollout(self, create: RolloutCreate) -> PlanView:
        """Dry run: who would get what."""
        return self.transport.post("/v1/rollouts/plan", create, PlanView)

    def create_rollout(self, create: RolloutCreate) -> RolloutView:
        """Starts a rollout."""
        return self.transport.post("/v1/rollouts", create, RolloutView)

    def rollouts(self) -> Rollouts:
        """All rollouts, newest first."""
        return self.transport.get("/v1/rollouts", Rollouts)

    def rollout(self, rollout: str) -> RolloutView:
        """One rollout by id or name, with its devices."""
        return self.transport.get(f"/v1/rollouts/{_part(rollout)}", RolloutView)

    def operate(self, rollout: str, operation: Operation) -> OperationAnswer:
        """A verb on a rollout."""
        return self.transport.post(f"/v1/rollouts/{_part(rollout)}/operations", operation, OperationAnswer)

    def decisions(self, rollout: str = "") -> Decisions:
        """The whole decision log, of one rollout or of all, page by page."""
        params = {"limit": str(DECISIONS_PAGE)} | ({"rollout": rollout} if rollout else {})
        found: list[DecisionView] = []
        while True:
            page = self.transport.get("/v1/audit", Decisions, params).items
            found += page
            if len(page) < DECISIONS_PAGE:
                return Decisions(tuple(found))
            params["after"] = str(page[-1].sequence)

    # trust and health

    def trust(self) -> TrustView:
        """Audience and public keys that the controller knows."""
        return self.transport.get("/v1/trust", TrustView)

    def add_release_key(self, pem: str) -> TrustView:
        """Registers a key whose releases the controller accepts."""
        return self.transport.post("/v1/trust/release-keys", ReleaseKey(pem), TrustView)

    def is_alive(self) -> bool:
        """Whether the controller answers at all (no token needed)."""
        return self.transport.send("GET", "/livez", allowed=frozenset({503}))[0] == 200

    def is_ready(self) -> bool:
        """Whether the controller can do its work."""
        return self.transport.send("GET", "/readyz", allowed=frozenset({503}))[0] == 200


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _part(text: str) -> str:
    """One path segment; `:` stays as it is, for `name:version`."""
    return quote(text, safe=":")
