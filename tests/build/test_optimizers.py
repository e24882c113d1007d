"""The shipped conformance suite on the bundled optimizers, with digits:1.1."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from modelfleet_build.datasets import BYTE_SCALE
from modelfleet_build.intake import take_in
from modelfleet_build.port import Optimizer
from modelfleet_build.registry import OptimizerPoint, for_class, installed
from modelfleet_build.testing import OptimizerCase, OptimizerConformance
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes.golden import scaled

from .conftest import DIGITS
from .edge import tflm


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> OptimizerCase:
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    facts = take_in(DIGITS / "digits-1.1.onnx", model).with_range(0.0, 1.0)
    images = []
    for name in ("calibration", "validation"):
        with np.load(DIGITS / f"{name}.npz", allow_pickle=False) as arrays:
            images.append(scaled(arrays["images"][:100], BYTE_SCALE))
    reference = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = np.asarray(reference.run(["logits"], {"image": images[1]})[0], np.float32)
    heavy = (
        *("onnx", "onnxruntime", "openvino", "nncf"),
        *("ai_edge_litert", "ai_edge_quantizer", "ethosu", "tflite_micro"),
    )
    return OptimizerCase(model, facts, images[0], images[1], expected, 1e-4, 0.95, heavy)


@pytest.fixture(autouse=True)
def _foreign_warnings() -> Iterator[None]:
    """The converters warn of their own affairs; in a build they run in children."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shipped(name: str) -> Optimizer:
    """The installed plug-in of a shipped class."""
    return for_class(next(item for item in SHIPPED if item.name == name), installed()).load()


class TestOnnxRuntimeOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("x86-onnxruntime")


class TestOpenVinoOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("x86-openvino")


class TestLiteRtOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("arm-litert")


class TestTensorRtOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("jetson-tensorrt")


class TestEthosUOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("ethos-u85-256")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, case: OptimizerCase) -> OptimizerCase:
        return replace(case, options={"accelerator": "ethos-u85-256"})


@tflm
class TestTflmOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("mcu-tflm")


class TestTfliteLegacyOptimizer(OptimizerConformance):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return shipped("arm-tflite-legacy")


def test_an_optimizer_whose_package_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="no-such-distribution") as caught:
        for_class(
            DeviceClass("c", ("x86_64",), "lacking"),
            (OptimizerPoint("lacking", "tests.build.rogue:lacking"),),
        )
    assert caught.value.code is Code.OPTIMIZER_MISSING
