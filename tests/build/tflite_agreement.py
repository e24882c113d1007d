"""The converter against onnxruntime, in the real LiteRT."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from modelfleet_build.tflite import TfliteModel, convert

TOLERANCE = 1e-4
Array = npt.NDArray[Any]
_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def reference(made: onnx.ModelProto, x: Array, outputs: list[str] | None = None) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    results = session.run(outputs, {session.get_inputs()[0].name: x})
    return [np.asarray(item) for item in results]


def stored(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def logical(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def run(converted: TfliteModel, x: Array) -> dict[str, Array]:
    """Outputs in logical layout, by name."""
    runner = Interpreter(model_content=converted.data, num_threads=1).get_signature_runner()
    answer = runner(**{converted.inputs[0][0]: stored(x)})
    return {name: logical(np.asarray(answer[name])) for name, _ in converted.outputs}


def agree(got: Array, want: Array, tolerance: float = TOLERANCE) -> None:
    assert got.shape == want.shape
    if want.dtype != np.float32:
        np.testing.assert_array_equal(got, want)
        return
    finite = np.abs(want[np.isfinite(want)])
    largest = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(largest, 1e-3), equal_nan=True)


def check(
    made: onnx.ModelProto, shape: tuple[int, ...] = (1, 3, 7, 9), *, positive: bool = False, rounds: int = 2
) -> TfliteModel:
    """The TFLite file answers as onnxruntime does, within 1e-4 of the largest value."""
    converted = convert(made)
    random = np.random.default_rng(11)
    for _ in range(rounds):
        x = random.normal(0, 2, shape).astype(np.float32)
        x = np.abs(x) + np.float32(0.1) if positive else x
        answer = run(converted, x)
        for item, want in zip(made.graph.output, reference(made, x), strict=True):
            agree(answer[item.name], want)
    return converted


def operators(data: bytes) -> Counter[str]:
    """How often the file uses each TFLite operator."""
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    codes = [_NAMES[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[item.opcodeIndex] for item in model.subgraphs[0].operators)
