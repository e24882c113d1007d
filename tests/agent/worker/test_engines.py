"""A runtime that builds engines on the device gets a folder for them, and no other runtime does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelfleet_agent.control.protocol import ModelRef
from modelfleet_agent.worker.model import LoadedVariant, open_variant
from modelfleet_agent.worker.protocol import Open
from modelfleet_core.release.contract import InputContract
from modelfleet_runtimes.onnxruntime import OnnxRuntime
from modelfleet_runtimes.port import NO_OPTIONS, Runtime, Session

from tests.agent.serve.support.fixtures import Variants


@dataclass(frozen=True, slots=True)
class Keeping(OnnxRuntime):
    """ONNX Runtime that says where it was told to keep engines."""

    engines: Path | None = None
    told: list[Path | None] = field(default_factory=list)

    def with_engines(self, folder: Path) -> Runtime:
        return replace(self, engines=folder)

    def open(
        self,
        folder: Path,
        entry: str,
        contract: InputContract,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Session:
        self.told.append(self.engines)
        return OnnxRuntime.open(self, folder, entry, contract, threads, options)


def load(ref: ModelRef, engines: str) -> None:
    for step in open_variant(Open(ref.folder, ref.variant, 1, False, engines), lambda: 0):
        if isinstance(step, LoadedVariant):
            step.close()


@pytest.mark.parametrize("engines", ["", "engines"])
def test_the_folder_reaches_the_runtime(
    variants: Variants, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engines: str
) -> None:
    runtime, made = Keeping(), variants("1.1")  # made before: making one opens a runtime too
    monkeypatch.setattr("modelfleet_runtimes.registry.load", lambda name: runtime)
    load(made, engines and str(tmp_path / engines))
    assert runtime.told == [tmp_path / engines if engines else None]


def test_a_runtime_without_engines_is_opened_as_ever(variants: Variants, tmp_path: Path) -> None:
    load(variants("1.1"), str(tmp_path / "engines"))
    assert not (tmp_path / "engines").exists()
