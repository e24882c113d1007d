"""The converter's files quantised by ai-edge-quantizer: integers throughout, and still right in LiteRT.

An operator that the quantizer does not know stays a float island between DEQUANTIZE and QUANTIZE, which no
NPU and no integer-only microcontroller runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

from modelfleet_build.tflite import TfliteModel, convert, with_inline_constants

from .graphs import model, node, weights
from .tflite_agreement import Array, logical, operators, run, stored

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MODELS = Path(__file__).parent / "models"
IMAGE = (1, 6, 8, 8)


def quantised(converted: TfliteModel, samples: list[Array]) -> bytes:
    name = converted.inputs[0][0]
    tool = quantizer.Quantizer(bytearray(converted.data))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    rows = [{name: np.ascontiguousarray(stored(sample))} for sample in samples]
    return with_inline_constants(
        bytes(tool.quantize(tool.calibrate({"serving_default": rows})).quantized_model)
    )


def run_int8(data: bytes, converted: TfliteModel, x: Array) -> dict[str, npt.NDArray[np.float32]]:
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner()
    name = converted.inputs[0][0]
    scale, zero = runner.get_input_details()[name]["quantization"]
    answer = runner(**{name: np.clip(np.round(stored(x) / scale + zero), -128, 127).astype(np.int8)})
    result: dict[str, npt.NDArray[np.float32]] = {}
    for output, _ in converted.outputs:
        scale, zero = runner.get_output_details()[output]["quantization"]
        result[output] = logical((answer[output].astype(np.float32) - zero) * np.float32(scale))
    return result


def images(side: int, count: int) -> list[Array]:
    with np.load(DIGITS / "live.npz", allow_pickle=False) as arrays:
        digits = arrays["images"][:count].astype(np.float32) / np.float32(255)
    return [np.tile(digit[None], (1, 1, side // 32, side // 32)) for digit in digits]


@pytest.mark.parametrize("name", ["digits-1.1", "scenes-1.1", "masks-1.0"])
def test_trained_models_are_integers_throughout(name: str) -> None:
    path = next(folder / f"{name}.onnx" for folder in (DIGITS, MODELS) if (folder / f"{name}.onnx").exists())
    converted = convert(onnx.load(path))
    samples = images(converted.inputs[0][1][-1], 20)
    data = quantised(converted, samples[:16])
    assert "DEQUANTIZE" not in operators(data)
    for sample in samples[16:]:
        wanted, got = run(converted, sample), run_int8(data, converted, sample)
        for output, want in wanted.items():
            correlation = np.corrcoef(got[output].reshape(-1), want.reshape(-1))[0, 1]
            assert correlation > 0.97, (output, correlation)


# Lowerings chosen because the shorter operator has no int8 recipe.
INTEGER: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Abs": ([node("Abs", ["c"], "a")], {}),
    "Clip": ([node("Clip", ["c", "zero", "one"], "a")], {"zero": np.float32(0), "one": np.float32(1)}),
    "Concat": (
        [node("Concat", ["c", "c"], "d", axis=2), node("Clip", ["d", "zero", "six"], "a")],
        {"zero": np.float32(0), "six": np.float32(6)},
    ),
    "ConvTranspose": (
        [node("ConvTranspose", ["c", "k"], "a", group=6, strides=[2, 2], pads=[1, 1, 1, 1])],
        {"k": weights(6, 1, 4, 4)},
    ),
    "DepthToSpace": (
        [node("Concat", ["c", "c"], "d", axis=1), node("DepthToSpace", ["d"], "a", blocksize=2)],
        {},
    ),
    "GlobalMaxPool": ([node("GlobalMaxPool", ["c"], "g"), node("Mul", ["c", "g"], "a")], {}),
    "HardSigmoid": ([node("HardSigmoid", ["c"], "a")], {}),
    "HardSwish": ([node("HardSwish", ["c"], "a")], {}),
    "LRN": ([node("LRN", ["c"], "a", size=5, alpha=0.1)], {}),
    "LeakyRelu": ([node("LeakyRelu", ["c"], "a", alpha=0.1)], {}),
    "MaxPool": ([node("MaxPool", ["c"], "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "Neg": ([node("Neg", ["c"], "a")], {}),
    "PRelu": ([node("PRelu", ["c", "k"], "a")], {"k": np.abs(weights(6, 1, 1))}),
    "Resize": (
        [node("Resize", ["c", "", "k"], "a", mode="linear", coordinate_transformation_mode="asymmetric")],
        {"k": np.asarray([1, 1, 1.5, 2], np.float32)},
    ),
    "Sigmoid": ([node("Sigmoid", ["c"], "s"), node("Mul", ["c", "s"], "a")], {}),
    "Split": (
        [
            onnx.helper.make_node("Split", ["c", "k"], ["l", "r"], axis=1, name="s"),
            node("Concat", ["r", "l"], "a", axis=1),
        ],
        {"k": np.asarray([2, 4], np.int64)},
    ),
    "Transpose": (
        [
            node("Reshape", ["c", "five"], "r"),
            node("Transpose", ["r"], "t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["t", "four"], "a"),
        ],
        {"five": np.asarray([1, 2, 3, 8, 8], np.int64), "four": np.asarray([1, 6, 8, 8], np.int64)},
    ),
}


@pytest.mark.parametrize("op", INTEGER)
def test_lowerings_leave_no_float_island(op: str) -> None:
    nodes, constants = INTEGER[op]
    assert op in {item.op_type for item in nodes}
    around = [node("Conv", ["x", "w"], "c"), *nodes, node("GlobalAveragePool", ["a"])]
    converted = convert(model(around, IMAGE, {"w": weights(6, 6, 1, 1), **constants}))
    random = np.random.default_rng(2)
    samples = [random.normal(0, 1, IMAGE).astype(np.float32) for _ in range(8)]
    data = quantised(converted, samples)
    assert "DEQUANTIZE" not in operators(data)
    wanted = np.concatenate([run(converted, sample)["y"] for sample in samples]).reshape(-1)
    got = np.concatenate([run_int8(data, converted, sample)["y"] for sample in samples]).reshape(-1)
    # The quantizer's ranges are running means, so a few extremes are clipped.
    assert np.median(np.abs(got - wanted)) < 0.02 * np.abs(wanted).max()


def test_constants_behind_the_flatbuffer_are_put_into_it() -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("GlobalAveragePool", ["c"])]
    converted = convert(model(nodes, (1, 512, 4, 4), {"w": weights(600, 512, 1, 1)}))
    sample = np.random.default_rng(2).normal(0, 1, (1, 512, 4, 4)).astype(np.float32)
    tool = quantizer.Quantizer(bytearray(converted.data))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    rows = [{"x": np.ascontiguousarray(stored(sample))}]
    apart = bytes(tool.quantize(tool.calibrate({"serving_default": rows})).quantized_model)
    packed: Any = schema.ModelT.InitFromPackedBuf(bytearray(apart), 0)
    assert any(buffer.offset > 1 for buffer in packed.buffers), "the quantizer no longer does this"
    inline = with_inline_constants(apart)
    whole: Any = schema.ModelT.InitFromPackedBuf(bytearray(inline), 0)
    assert not any(buffer.offset for buffer in whole.buffers)
    assert max(len(buffer.data) for buffer in whole.buffers if buffer.data is not None) == 600 * 512
    np.testing.assert_array_equal(
        run_int8(inline, converted, sample)["y"], run_int8(apart, converted, sample)["y"]
    )
    assert with_inline_constants(inline) is inline
