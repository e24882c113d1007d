"""A case for every row of the operator table, and a refusal for every row that refuses something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from .graphs import model, node, weights

IMAGE = (1, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Case:
    """`op` is the operator under test; its node is the last one unless the case says otherwise."""

    op: str
    nodes: list[onnx.NodeProto]
    constants: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = IMAGE
    opset: int = 17
    positive: bool = False
    output_dtype: int = onnx.TensorProto.FLOAT

    def model(self) -> onnx.ModelProto:
        return model(self.nodes, self.shape, self.constants, opset=self.opset, output_dtype=self.output_dtype)


def ints(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(values, np.int64)


def one(op: str, constants: Mapping[str, Any] | None = None, /, **attributes: Any) -> Case:
    """A node with the input and, behind it, the constants."""
    known = constants or {}
    return Case(op, [node(op, ["x", *known], **attributes)], known)


def two(op: str) -> Case:
    """A node of two values with unlike layouts: an image and its mean over the width."""
    mean = node("ReduceMean", ["x"], "m", axes=[3], keepdims=0)
    back = node("Unsqueeze", ["m", "last"], "u")
    return Case(op, [mean, back, node(op, ["x", "u"])], {"last": ints(3)})


def condition(op: str) -> Case:
    above, below = node("Greater", ["x", "a"], "g"), node("Less", ["x", "b"], "l")
    inputs = ["g"] if op == "Not" else ["g", "l"]
    chosen = node("Where", ["c", "x", "a"])
    return Case(
        op, [above, below, node(op, inputs, "c"), chosen], {"a": np.float32(0.3), "b": weights(6, 1, 1)}
    )


def compared(op: str) -> Case:
    return Case(op, [node(op, ["x", "k"], "c"), node("Cast", ["c"], to=1)], {"k": weights(1, 8)})


def positive(op: str, **attributes: Any) -> Case:
    return Case(op, [node(op, ["x"], **attributes)], positive=True)


CHANNELS = {"s": weights(6), "b": weights(6, seed=4)}
STATISTICS = {**CHANNELS, "m": weights(6, seed=5), "v": np.abs(weights(6, seed=6)) + 0.1}

CASES: list[Case] = [
    *(one(op) for op in ("Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish")),
    *(one(op) for op in ("LeakyRelu", "Neg", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Tanh")),
    *(positive(op) for op in ("Log", "Sqrt", "Reciprocal")),
    *(two(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu")),
    *(condition(op) for op in ("And", "Or", "Not")),
    *(compared(op) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *(
        one(op)
        for op in ("GlobalAveragePool", "GlobalMaxPool", "Softmax", "LogSoftmax", "Flatten", "Transpose")
    ),
    *(positive(op) for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceMean", "ReduceSumSquare")),
    *(one(op, axes=[1, 3]) for op in ("ReduceMax", "ReduceMin", "ReduceLogSumExp")),
    one("ReduceProd", axes=[1]),
    one("ReduceSum", {"a": ints(2)}),
    Case("ArgMax", [node("ArgMax", ["x"], axis=1)], output_dtype=onnx.TensorProto.INT64),
    Case("ArgMin", [node("ArgMin", ["x"], axis=-1, keepdims=0)], output_dtype=onnx.TensorProto.INT64),
    one("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 0, 1], strides=[2, 2]),
    one("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], strides=[2, 2], ceil_mode=1),
    one("BatchNormalization", STATISTICS),
    Case("Cast", [node("Cast", ["x"], to=7)], output_dtype=onnx.TensorProto.INT64),
    one("Clip", {"low": np.float32(-0.7), "high": np.float32(0.9)}),
    one("Concat", {"k": weights(1, 2, 7, 8)}, axis=1),
    one("Conv", {"w": weights(4, 3, 3, 3), "b": weights(4)}, group=2, kernel_shape=[3, 3], dilations=[2, 1]),
    one("ConvTranspose", {"w": weights(6, 4, 3, 3)}, strides=[2, 2], group=2, output_padding=[1, 1]),
    one("DepthToSpace", blocksize=1),
    Case("DepthToSpace", [node("DepthToSpace", ["x"], blocksize=2, mode="CRD")], shape=(1, 12, 3, 5)),
    Case("Dropout", [node("Dropout", ["x"])]),
    Case("Identity", [node("Identity", ["x"])]),
    one("Expand", {"s": ints(2, 1, 6, 7, 8)}),
    one("Gather", {"i": ints(4, 0, -1)}, axis=1),
    Case("Mish", [node("Mish", ["x"])], opset=18),
    Case("Gelu", [node("Gelu", ["x"])], opset=20),
    Case(
        "Gemm",
        [node("Gemm", ["x", "w", "b"], alpha=0.5, transA=1)],
        {"w": weights(1, 4), "b": weights(3, 1)},
        (1, 3),
    ),
    one("InstanceNormalization", CHANNELS),
    one("LRN", size=3, alpha=0.5, beta=0.6, bias=1.5),
    *(one("LRN", size=size, alpha=0.5, beta=beta) for size, beta in ((5, 0.5), (1, 1.0), (15, 0.75))),
    one("LayerNormalization", {"s": weights(7, 8), "b": weights(7, 8)}, axis=2),
    Case(
        "GroupNormalization", [node("GroupNormalization", ["x", "s", "b"], num_groups=3)], CHANNELS, opset=21
    ),
    Case(
        "GroupNormalization",
        [node("GroupNormalization", ["x", "s", "b"], num_groups=3)],
        {"s": weights(3), "b": weights(3, seed=4)},
        opset=18,
    ),
    one("LpNormalization", axis=1),
    one("MatMul", {"w": weights(8, 5)}),
    one("Pad", {"p": ints(0, 1, 2, 0, 0, 0, -1, 3), "v": np.float32(1.5)}),
    one("Pow", {"e": np.float32(3.0)}),
    one("Reshape", {"s": ints(1, 3, 2, 56)}),
    Case(
        "Resize",
        [node("Resize", ["x", "", "s"], mode="cubic")],
        {"s": np.asarray([1, 1, 1.5, 2], np.float32)},
    ),
    one("Slice", {"s": ints(5, -1), "e": ints(1, -9), "a": ints(1, 3), "t": ints(-2, -3)}),
    one("SpaceToDepth", blocksize=1),
    Case("SpaceToDepth", [node("SpaceToDepth", ["x"], blocksize=2)], shape=(1, 3, 4, 6)),
    Case(
        "Split", [onnx.helper.make_node("Split", ["x", "k"], ["y", "z"], axis=1, name="s")], {"k": ints(4, 2)}
    ),
    Case("Squeeze", [node("GlobalAveragePool", ["x"], "g"), node("Squeeze", ["g"])]),
    one("Tile", {"r": ints(1, 2, 1, 3)}),
    one("Unsqueeze", {"a": ints(2)}),
    Case(
        "Upsample",
        [node("Upsample", ["x", "s"], mode="linear")],
        {"s": np.asarray([1, 1, 2, 3], np.float32)},
        opset=9,
    ),
    Case(
        "Where",
        [node("Greater", ["x", "k"], "c"), node("Where", ["c", "x", "k"])],
        {"k": weights(6, 1, 1)},
    ),
]

SEQUENCE_3D = (1, 2, 3, 4, 5)
REFUSALS: dict[str, Case] = {
    "ArgMax": Case(
        "ArgMax", [node("ArgMax", ["x"], axis=1, select_last_index=1)], output_dtype=onnx.TensorProto.INT64
    ),
    "ArgMin": Case(
        "ArgMin", [node("ArgMin", ["x"], axis=1, select_last_index=1)], output_dtype=onnx.TensorProto.INT64
    ),
    "AveragePool": Case(
        "AveragePool", [node("AveragePool", ["x"], kernel_shape=[2, 2, 2])], shape=SEQUENCE_3D
    ),
    "BatchNormalization": Case(
        "BatchNormalization",
        [
            node("ReduceMean", ["x"], "r", axes=[0, 2, 3], keepdims=0),
            node("BatchNormalization", ["x", "s", "b", "r", "v"]),
        ],
        STATISTICS,
    ),
    "Cast": Case("Cast", [node("Cast", ["x"], to=10)], output_dtype=onnx.TensorProto.FLOAT16),
    "Clip": Case("Clip", [node("ReduceMax", ["x"], "r", keepdims=0), node("Clip", ["x", "", "r"])]),
    "Conv": Case("Conv", [node("Conv", ["x", "w"])], {"w": weights(4, 2, 2, 2, 2)}, SEQUENCE_3D),
    "ConvTranspose": Case(
        "ConvTranspose", [node("ConvTranspose", ["x", "w"])], {"w": weights(2, 4, 2, 2, 2)}, SEQUENCE_3D
    ),
    "Dropout": one("Dropout", {"r": np.float32(0.5), "t": np.asarray(True)}),
    "Gather": Case(
        "Gather", [node("ArgMax", ["x"], "i", axis=3, keepdims=0), node("Gather", ["x", "i"], axis=1)]
    ),
    "GlobalMaxPool": Case("GlobalMaxPool", [node("GlobalMaxPool", ["x"])], shape=SEQUENCE_3D),
    "LRN": one("LRN", size=4),
    "LayerNormalization": Case(
        "LayerNormalization",
        [onnx.helper.make_node("LayerNormalization", ["x", "s"], ["z", "y"], name="n")],
        {"s": weights(8)},
    ),
    "MatMul": Case("MatMul", [node("MatMul", ["x", "x"])], shape=(1, 1, 1, 2, 3, 3)),
    "MaxPool": one("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
    "Pad": Case("Pad", [node("Pad", ["x", "p"], mode="wrap")], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, opset=19),
    "Resize": Case(
        "Resize",
        [node("Resize", ["x", "", "s"], mode="linear", antialias=1)],
        {"s": np.asarray([1, 1, 0.5, 0.5], np.float32)},
        opset=18,
    ),
    "Upsample": Case(
        "Upsample", [node("Upsample", ["x", "s"])], {"s": np.asarray([1, 2, 2, 2], np.float32)}, opset=9
    ),
}
