"""Small networks of kinds that classifiers are not: attention, sequences, many inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from modelfleet_build.tflite import Refused, convert

from .graphs import model, node, weights
from .tflite_agreement import agree, check, logical, operators, stored


def ints(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(values, np.int64)


def test_a_vision_transformer() -> None:
    """Patches, one block of attention and a perceptron, as exporters write them."""
    heads, width, tokens = 2, 8, 16
    nodes = [
        node("Conv", ["x", "patch"], "p", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", ["p", "flat"], "p1"),
        node("Transpose", ["p1"], "t", perm=[0, 2, 1]),
        node("Add", ["t", "positions"], "e"),
        node("LayerNormalization", ["e", "s", "b"], "n"),
    ]
    for name in "qkv":
        nodes += [
            node("MatMul", ["n", f"w{name}"], f"{name}0"),
            node("Add", [f"{name}0", "b"], f"{name}1"),
            node("Reshape", [f"{name}1", "split"], f"{name}2"),
            node("Transpose", [f"{name}2"], name, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], "a"),
        node("Div", ["a", "root"], "a1"),
        node("Softmax", ["a1"], "a2"),
        node("MatMul", ["a2", "v"], "o"),
        node("Transpose", ["o"], "o1", perm=[0, 2, 1, 3]),
        node("Reshape", ["o1", "merge"], "o2"),
        node("Add", ["o2", "e"], "r"),
        node("MatMul", ["r", "up"], "m"),
        node("Div", ["m", "two"], "g"),
        node("Erf", ["g"], "g1"),
        node("Add", ["g1", "one"], "g2"),
        node("Mul", ["m", "g2"], "g3"),
        node("Mul", ["g3", "half"], "g4"),
        node("MatMul", ["g4", "down"], "m1"),
        node("Add", ["m1", "r"], "z"),
        node("ReduceMean", ["z"], "c", axes=[1], keepdims=0),
        node("Gemm", ["c", "head"]),
    ]
    constants = {
        "patch": weights(width, 3, 4, 4),
        "flat": ints(1, width, tokens),
        "positions": weights(1, tokens, width),
        "s": weights(width) + 1,
        "b": weights(width),
        **{f"w{name}": weights(width, width, seed=ord(name)) for name in "qkv"},
        "split": ints(1, tokens, heads, width // heads),
        "merge": ints(1, tokens, width),
        "root": np.float32(2),
        "two": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "up": weights(width, 16),
        "down": weights(16, width),
        "head": weights(width, 5),
    }
    converted = check(model(nodes, (1, 3, 16, 16), constants), (1, 3, 16, 16))
    used = operators(converted.data)
    assert used["GELU"] == 1
    assert used["TRANSPOSE"] <= 4, "patches come as they are stored; only the heads move"


def test_a_one_dimensional_network_stays_channels_last() -> None:
    nodes = [
        node("Conv", ["x", "w1"], "a", kernel_shape=[3], pads=[1, 1]),
        node("Relu", ["a"], "r"),
        node("MaxPool", ["r"], "p", kernel_shape=[2], strides=[2]),
        node("Conv", ["p", "w2"], "b", kernel_shape=[3], group=4),
        node("GlobalAveragePool", ["b"], "g"),
        node("Flatten", ["g"], "f"),
        node("Gemm", ["f", "k"]),
    ]
    constants = {"w1": weights(4, 2, 3), "w2": weights(4, 1, 3), "k": weights(4, 3)}
    used = operators(check(model(nodes, (1, 2, 20), constants), (1, 2, 20)).data)
    assert used["TRANSPOSE"] == 1, "the input alone"


def _many(nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.ModelProto:
    shapes = {"x": [1, 3, 4, 5], "v": [1, 3]}
    graph = helper.make_graph(
        nodes,
        "many",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(weights(3, 3, 1, 1), "w"), numpy_helper.from_array(ints(1, 3, 1, 1), "s")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_inputs_and_outputs_in_every_relation() -> None:
    """An output that is an input, one that is a transposed input, one given twice, one read further."""
    nodes = [
        node("Identity", ["x"], "same"),
        node("Transpose", ["x"], "turned", perm=[0, 3, 1, 2]),
        node("Conv", ["x", "w"], "c"),
        node("Reshape", ["v", "s"], "factor"),
        node("Mul", ["c", "factor"], "m"),
        node("Identity", ["m"], "again"),
        node("Relu", ["m"], "r"),
    ]
    outputs = ["same", "turned", "m", "again", "r", "factor"]
    made = _many(nodes, outputs)
    converted = convert(made)
    feeds = {"x": weights(1, 3, 4, 5), "v": weights(1, 3)}
    answer = Interpreter(model_content=converted.data).get_signature_runner()(
        **{name: stored(value) for name, value in feeds.items()}
    )
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, want in zip(outputs, session.run(None, feeds), strict=True):
        agree(logical(np.asarray(answer[name])), np.asarray(want))
    assert {name for name, _ in converted.outputs} == set(outputs)


def test_an_output_that_is_constant_is_refused() -> None:
    nodes = [node("Neg", ["w"], "n"), node("Relu", ["x"], "r")]
    with pytest.raises(Refused, match="does not depend on any input"):
        convert(_many(nodes, ["r", "n"]))


def test_a_batch_of_the_model_becomes_one() -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("Flatten", ["c"])]
    made = model(nodes, ["N", 3, 4, 5], {"w": weights(2, 3, 1, 1)})
    converted = convert(made)
    assert converted.inputs == (("x", (1, 3, 4, 5)),)
    assert converted.outputs == (("y", (1, 40)),)


def test_a_feature_pyramid_with_every_upsampling() -> None:
    smooth = [("linear", "half_pixel"), ("linear", "align_corners"), ("cubic", "half_pixel")]
    kinds = [("nearest", "asymmetric"), *smooth]
    nodes = [node("Conv", ["x", "w"], "a0", strides=[2, 2], kernel_shape=[1, 1])]
    for step, (mode, transformation) in enumerate(kinds):
        attributes = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": "floor"}
        nodes += [
            node("Resize", [f"a{step}", "", "s"], f"u{step}", **attributes),
            node("MaxPool", [f"u{step}"], f"a{step + 1}", kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [node("Concat", [f"a{step}" for step in range(5)], axis=1)]
    constants = {"w": weights(4, 3, 1, 1), "s": np.asarray([1, 1, 2, 2], np.float32)}
    check(model(nodes, (1, 3, 10, 12), constants), (1, 3, 10, 12))
