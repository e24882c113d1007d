"""Small ONNX graphs for tests, with seeded weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def weights(*shape: int, seed: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def node(op: str, inputs: Sequence[str], output: str = "y", /, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=f"the_{op}_{output}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: Mapping[str, Any] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    output_shapes: Sequence[Sequence[int | str] | None] | None = None,
    opset: int = OPSET,
    dtype: int = TensorProto.FLOAT,
    output_dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with the input `x`; the shapes of its outputs are inferred unless given."""
    wanted = output_shapes or [None] * len(outputs)
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [
            helper.make_tensor_value_info(name, output_dtype, list(size) if size is not None else None)
            for name, size in zip(outputs, wanted, strict=True)
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def classifier(
    side: int = 8, classes: int = 4, *, extra: Sequence[onnx.NodeProto] = (), last: str = "y"
) -> onnx.ModelProto:
    """Conv, Relu, GlobalAveragePool, Flatten, Gemm on [N, 1, side, side]; `extra` nodes follow `y`."""
    nodes = [
        node("Conv", ["x", "w"], "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "b"),
        node("GlobalAveragePool", ["b"], "c"),
        node("Flatten", ["c"], "d"),
        node("Gemm", ["d", "g", "h"], "y", transB=1),
        *extra,
    ]
    constants = {"w": weights(6, 1, 3, 3), "g": weights(classes, 6), "h": weights(classes)}
    return model(nodes, ["N", 1, side, side], constants, outputs=[last], output_shapes=[["N", classes]])
