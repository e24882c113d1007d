"""The shipped conformance suite on the runtimes that run here, each with real variants of three tasks."""

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

from . import scenes, variants
from tests.build.edge import tflm

WRITERS: dict[str, Callable[[Path], tuple[str, InputContract]]] = {
    "onnxruntime": variants.onnx_variant,
    "litert": variants.tflite_variant,
    "openvino": variants.openvino_variant,
    "tflm": variants.tflite_variant,
}
HEAVY = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert",),
    "openvino": ("openvino", "nncf"),
    "tflm": ("tflite_micro",),
}


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], ConformanceCase]:
    """The case of a runtime and a task, written once."""
    known: dict[tuple[str, str], ConformanceCase] = {}

    def of(runtime: str, task: str) -> ConformanceCase:
        if (runtime, task) not in known:
            known[runtime, task] = _case(tmp_path_factory.mktemp(runtime), runtime, task)
        return known[runtime, task]

    return of


def _case(folder: Path, runtime: str, task: str) -> ConformanceCase:
    if task == "classes":
        entry, contract = WRITERS[runtime](folder)
        inputs = variants.images(4)
        reference = onnxruntime.InferenceSession(str(variants.MODEL), providers=["CPUExecutionProvider"])
        expected = {"logits": np.asarray(reference.run(["logits"], {"image": inputs})[0], np.float32)}
    else:
        model = scenes.DETECTOR if task == "boxes" else scenes.SEGMENTER
        entry, contract = scenes.write_variant(folder, model, runtime)
        inputs, expected = scenes.inputs(3), scenes.answers(model, 3)
    # Masks are large logits after many layers: float32 sums in another order.
    tolerance = 2e-3 if task == "masks" else 2e-4
    return ConformanceCase(folder, entry, contract, {"image": inputs}, expected, tolerance, HEAVY[runtime])


class Bundled(RuntimeConformance):
    """What the three have in common; `NAME` says which it is."""

    NAME = ""

    @pytest.fixture
    def runtime(self) -> Runtime:
        return registry.load(self.NAME)

    @pytest.fixture(params=["classes", "boxes", "masks"])
    def case(
        self, request: pytest.FixtureRequest, cases: Callable[[str, str], ConformanceCase]
    ) -> ConformanceCase:
        return cases(self.NAME, str(request.param))


class TestOnnxRuntime(Bundled):
    NAME = "onnxruntime"


class TestLiteRt(Bundled):
    NAME = "litert"


class TestOpenVino(Bundled):
    NAME = "openvino"


@tflm
class TestTfliteMicro(Bundled):
    NAME = "tflm"
