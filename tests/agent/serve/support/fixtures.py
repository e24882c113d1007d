"""Variant folders that many tests share: built once for a test run, never written to afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelfleet_agent.control.protocol import ModelRef

from .variants import build

Variants = Callable[..., ModelRef]


def library(folder: Path) -> Variants:
    """`variants("1.1")`, `variants("1.1", "litert")`, `variants("1.1", spoil=1.0)`."""
    built: dict[tuple[str, str, float], ModelRef] = {}

    def variants(version: str, runtime: str = "onnxruntime", spoil: float = 0.0) -> ModelRef:
        key = (version, runtime, spoil)
        if key not in built:
            built[key] = build(folder, version, runtime, spoil)
        return built[key]

    return variants
