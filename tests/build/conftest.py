from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelfleet_build.pipeline import BuildResult, build
from modelfleet_build.progress import ProgressEvent
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.request import BuildRequest, Limits
from modelfleet_core.clock import SystemClock
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Precision
from modelfleet_core.release.shipped_classes import SHIPPED

from .graphs import classifier

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
CLASSES = ("x86-onnxruntime", "x86-openvino", "arm-litert")
QUICK = Limits(rounds=3, calls_per_round=3, latency_s=1.0, convert_s=60, measure_s=60)


@dataclass(frozen=True, slots=True)
class FullBuild:
    """One real build of digits:1.1 for the three shipped classes."""

    result: BuildResult
    folder: Path
    events: list[ProgressEvent] = field(default_factory=list)


@pytest.fixture(scope="session")
def full_build(tmp_path_factory: pytest.TempPathFactory) -> FullBuild:
    folder = tmp_path_factory.mktemp("build") / "digits-1.1"
    events: list[ProgressEvent] = []
    request = BuildRequest(
        model=DIGITS / "digits-1.1.onnx",
        name="digits",
        version="1.1",
        classes=CLASSES,
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        output=folder,
        known_classes=tuple(lean(item) for item in SHIPPED),
    )
    return FullBuild(build(request, events.append, SystemClock()), folder, events)


@dataclass(frozen=True, slots=True)
class Bench:
    """A small model with data in a folder of its own, and a way to build it."""

    folder: Path
    request: BuildRequest
    events: list[ProgressEvent] = field(default_factory=list)

    def build(self, optimizers: tuple[OptimizerPoint, ...] | None = None, **changes: Any) -> BuildResult:
        return build(replace(self.request, **changes), self.events.append, SystemClock(), optimizers)

    def leftovers(self) -> list[str]:
        """What a build left beside its inputs."""
        return sorted(path.name for path in (self.folder / "out").iterdir())


def write_images(path: Path, count: int, seed: int, *, labelled: bool = True, **changes: Any) -> Path:
    """Random images [count, 1, 8, 8] with labels of four classes; `changes` replace arrays."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"images": random.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)}
    if labelled:
        arrays["labels"] = random.integers(0, 4, count)
    np.savez(path, **{**arrays, **changes})
    return path


def lean(device_class: DeviceClass) -> DeviceClass:
    """The class with the first float and the first int8 recipe only: enough for the rules of the pipeline."""
    usual = [name for name in device_class.recipes if not name.startswith("int8")][:1]
    return replace(device_class, recipes=(*usual, "int8"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A four-class network on 8x8 images with random data; builds fp32 for onnxruntime in about a second."""
    onnx.save(classifier(), tmp_path / "small.onnx")
    (tmp_path / "out").mkdir()
    return Bench(
        tmp_path,
        BuildRequest(
            model=tmp_path / "small.onnx",
            name="small",
            version="1.0",
            classes=("x86-onnxruntime",),
            validation=write_images(tmp_path / "validation.npz", 40, 1),
            calibration=write_images(tmp_path / "calibration.npz", 16, 2, labelled=False),
            golden=write_images(tmp_path / "golden.npz", 12, 3),
            output=tmp_path / "out" / "release",
            precisions=(Precision.FP32,),
            known_classes=tuple(lean(item) for item in SHIPPED),
            limits=QUICK,
        ),
    )


Point = Callable[[str], tuple[OptimizerPoint, ...]]


@pytest.fixture
def rogue() -> Point:
    """The plug-in of `tests.build.rogue` of that name, as the only one."""
    return lambda name: (OptimizerPoint("rogue", f"tests.build.rogue:{name}"),)
