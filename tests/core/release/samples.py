"""Small valid releases for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelfleet_core.release.contract import Layout, LogicalTensor
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


def artifact(path: str, digit: str = "a", size: int = 10) -> Artifact:
    return Artifact(path, digit * 64, size)


def variant(name: str = "x86-onnxruntime.int8", /, **changes: Any) -> Variant:
    device_class, _, precision = name.rpartition(".")
    fields: dict[str, Any] = {
        "name": name,
        "device_class": device_class,
        "precision": Precision(precision),
        "recipe": f"{precision}-recipe",
        "rank": 0,
        "runtime": RuntimeNeed("onnxruntime", "1.17"),
        "entry": "model.onnx",
        "files": (artifact("model.onnx"), artifact("contract.json", "b"), artifact("golden.npz", "c")),
        "bounds": SelfTestBounds(0.05, 0.1),
        "measurements": Measurements("top1", 0.97, 0.98, 1.0, 0.99, 1000, 500),
    }
    return Variant(**(fields | changes))


def manifest(*variants: Variant, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "digits",
        "version": "1.1",
        "task": Task.CLASSIFICATION,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "inputs": (LogicalTensor("image", (-1, 1, 32, 32), Layout.NCHW),),
        "outputs": (LogicalTensor("logits", (-1, 10)),),
        "lineage": Lineage("d" * 64, "digits.onnx"),
        "variants": variants,
    }
    return Manifest(**(fields | changes))
