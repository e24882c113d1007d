"""Small signed releases: real manifests, real signatures, files that only the supervisor looks at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.contract import LogicalTensor
from modelfleet_core.release.manifest import (
    CONTRACT_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
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
from modelfleet_core.trust.keys import EcdsaP256Private
from modelfleet_core.trust.statement import build_statement
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import Mode, SlotAssignment

from tests.agent.fakes import FakeController

VARIANT = "x86-onnxruntime.fp32"


@dataclass(frozen=True)
class Release:
    """One release with one variant: its files, its manifest's bytes, its bundle."""

    manifest: Manifest
    manifest_bytes: bytes
    files: dict[str, bytes]
    bundle: bytes

    @property
    def id(self) -> str:
        return sha256_hex(self.manifest_bytes)

    def put(self, controller: FakeController) -> Release:
        """Uploads everything."""
        for data in (self.manifest_bytes, self.bundle, *self.files.values()):
            controller.put_blob(data)
        return self

    def assignment(self, operation: str, mode: Mode = Mode.SHADOW, **changes: object) -> SlotAssignment:
        base = SlotAssignment(
            slot=self.manifest.name,
            operation=operation,
            release=self.id,
            reference=self.manifest.reference(),
            variant=VARIANT,
            bundle=hashlib.sha256(self.bundle).hexdigest(),
            mode=mode,
            window_s=60.0,
            probation_s=10.0,
            rollout="ro_1",
        )
        return replace(base, **changes)  # type: ignore[arg-type]


def release(
    version: str,
    key: EcdsaP256Private,
    *,
    name: str = "digits",
    size: int = 3000,
    golden_value: float | None = 0.9,
    **variant: object,
) -> Release:
    """A release whose content follows from its version."""
    files = {
        "model.onnx": Random(version).randbytes(size),
        CONTRACT_NAME: b'{"contract":1}\n',
        GOLDEN_NAME: Random(f"golden {version}").randbytes(200),
    }
    artifacts = tuple(Artifact(n, hashlib.sha256(d).hexdigest(), len(d)) for n, d in sorted(files.items()))
    fields: dict[str, object] = {
        "name": VARIANT,
        "device_class": "x86-onnxruntime",
        "precision": Precision.FP32,
        "recipe": "as it came",
        "rank": 0,
        "runtime": RuntimeNeed("onnxruntime", "1.17"),
        "entry": "model.onnx",
        "files": artifacts,
        "bounds": SelfTestBounds(1e-3, 0.1),
        "measurements": Measurements("top1", 0.9, 0.9, 0.0, 1.0, size, 100),
    }
    manifest = Manifest(
        name=name,
        version=version,
        task=Task.CLASSIFICATION,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        inputs=(LogicalTensor("image", (-1, 3)),),
        outputs=(LogicalTensor("logits", (-1, 10)),),
        lineage=Lineage("0" * 64, f"{name}.onnx"),
        variants=(Variant(**(fields | variant)),),  # type: ignore[arg-type]
        golden_value=golden_value,
    )
    manifest_bytes = codec.pretty(manifest)
    digests = {a.path: a.sha256 for a in artifacts} | {MANIFEST_NAME: sha256_hex(manifest_bytes)}
    bundle = sign_bundle(build_statement(VARIANT, digests, sha256_hex(manifest_bytes)), key)
    return Release(manifest, manifest_bytes, files, bundle)
