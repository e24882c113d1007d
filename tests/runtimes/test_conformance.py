"""The shipped conformance suite on the bundled runtimes that run here, each with a real variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from modelfleet_core.release.contract import InputContract
from modelfleet_runtimes import registry
from modelfleet_runtimes.port import Runtime
from modelfleet_runtimes.testing import ConformanceCase, RuntimeConformance

from . import variants
from tests.build.edge import tflm


def _case(
    folder: Path, write: Callable[[Path], tuple[str, InputContract]], heavy: tuple[str, ...]
) -> ConformanceCase:
    entry, contract = write(folder)
    inputs = variants.images(4)
    reference = onnxruntime.InferenceSession(str(variants.MODEL), providers=["CPUExecutionProvider"])
    expected = np.asarray(reference.run(["logits"], {"image": inputs})[0], np.float32)
    return ConformanceCase(folder, entry, contract, {"image": inputs}, {"logits": expected}, 2e-4, heavy)


class TestOnnxRuntime(RuntimeConformance):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return registry.load("onnxruntime")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
        folder = tmp_path_factory.mktemp("onnxruntime")
        return _case(folder, variants.onnx_variant, ("onnxruntime",))


class TestLiteRt(RuntimeConformance):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return registry.load("litert")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
        return _case(tmp_path_factory.mktemp("litert"), variants.tflite_variant, ("ai_edge_litert",))


@tflm
class TestTfliteMicro(RuntimeConformance):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return registry.load("tflm")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
        return _case(tmp_path_factory.mktemp("tflm"), variants.tflite_variant, ("tflite_micro",))


class TestOpenVino(RuntimeConformance):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return registry.load("openvino")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
        folder = tmp_path_factory.mktemp("openvino")
        return _case(folder, variants.openvino_variant, ("openvino", "nncf"))
