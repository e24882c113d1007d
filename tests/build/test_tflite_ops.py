"""Graphs that are hard for layout, padding and broadcasting, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .graphs import model, node, weights
from .tflite_agreement import check

IMAGE = (1, 3, 7, 9)


PADS = [[0, 0, 0, 0], [1, 1, 1, 1], [2, 1, 0, 3], [0, 0, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [2, 1]])
@pytest.mark.parametrize("kernel", [[3, 3], [1, 1], [2, 3]])
def test_conv_padding(pads: list[int], strides: list[int], kernel: list[int]) -> None:
    nodes = [node("Conv", ["x", "w", "b"], kernel_shape=kernel, pads=pads, strides=strides)]
    check(model(nodes, IMAGE, {"w": weights(5, 3, *kernel), "b": weights(5)}))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_conv_auto_pad(auto_pad: str, strides: list[int]) -> None:
    nodes = [node("Conv", ["x", "w"], kernel_shape=[2, 4], auto_pad=auto_pad, strides=strides)]
    check(model(nodes, IMAGE, {"w": weights(5, 3, 2, 4)}))


@pytest.mark.parametrize("dilations", [[2, 2], [1, 3]])
@pytest.mark.parametrize("pads", [[2, 2, 2, 2], [0, 3, 1, 3]])
@pytest.mark.parametrize("group", [1, 3])
def test_dilated_conv(dilations: list[int], pads: list[int], group: int) -> None:
    attributes: dict[str, Any] = {
        "dilations": dilations,
        "pads": pads,
        "group": group,
        "kernel_shape": [3, 3],
    }
    nodes = [node("Conv", ["x", "w"], **attributes)]
    check(model(nodes, IMAGE, {"w": weights(6, 3 // group, 3, 3)}))


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("pads", PADS)
def test_depthwise_conv(multiplier: int, pads: list[int]) -> None:
    nodes = [node("Conv", ["x", "w", "b"], kernel_shape=[3, 3], pads=pads, strides=[2, 2], group=3)]
    check(model(nodes, IMAGE, {"w": weights(3 * multiplier, 1, 3, 3), "b": weights(3 * multiplier)}))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 2]])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [3, 2]])
@pytest.mark.parametrize("kernel", [[2, 2], [3, 4]])
def test_conv_transpose(pads: list[int], strides: list[int], kernel: list[int]) -> None:
    nodes = [node("ConvTranspose", ["x", "w", "b"], kernel_shape=kernel, pads=pads, strides=strides)]
    check(model(nodes, IMAGE, {"w": weights(3, 5, *kernel), "b": weights(5)}))


def test_conv_transpose_with_output_padding() -> None:
    attributes: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "output_padding": [1, 1]}
    constants = {"w": weights(3, 5, 3, 3)}
    doubling = model([node("ConvTranspose", ["x", "w"], pads=[1, 1, 1, 1], **attributes)], IMAGE, constants)
    check(doubling)
    check(model([node("ConvTranspose", ["x", "w"], pads=[0, 0, 0, 0], **attributes)], IMAGE, constants))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_pooling(op: str, pads: list[int], strides: list[int]) -> None:
    check(model([node(op, ["x"], kernel_shape=[3, 3], pads=pads, strides=strides)], IMAGE))


@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 0, 0, 1]])
def test_max_pool_with_uneven_pads_never_lets_the_padding_win(pads: list[int]) -> None:
    below_zero = [
        node("Abs", ["x"], "a"),
        node("Neg", ["a"], "n"),
        node("MaxPool", ["n"], kernel_shape=[2, 2], pads=pads, strides=[1, 1]),
    ]
    check(model(below_zero, IMAGE))
    after_relu = [
        node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]),
        node("Relu", ["c"], "r"),
        node("MaxPool", ["r"], kernel_shape=[2, 2], pads=pads, strides=[2, 2]),
    ]
    check(model(after_relu, IMAGE, {"w": weights(4, 3, 1, 1)}))


def test_average_pool_that_counts_its_padding() -> None:
    attributes: dict[str, Any] = {
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [2, 2],
        "count_include_pad": 1,
    }
    check(model([node("AveragePool", ["x"], **attributes)], IMAGE))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling(op: str) -> None:
    check(model([node(op, ["x"], "p"), node("Flatten", ["p"])], IMAGE))
    check(model([node(op, ["x"])], IMAGE))


CONSTANTS: list[Any] = [
    weights(1, 3, 1, 1),
    weights(3, 1, 1),
    weights(1, 1, 7, 9),
    weights(7, 9),
    weights(9),
    weights(1),
    np.float32(1.5),
    weights(1, 3, 7, 9),
]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("index", range(len(CONSTANTS)))
def test_constants_broadcast_along_logical_axes(op: str, index: int) -> None:
    constant = np.asarray(np.abs(CONSTANTS[index]) + 0.5, np.float32)
    check(model([node(op, ["x", "k"])], IMAGE, {"k": constant}))
    if op in ("Sub", "Div"):
        check(model([node(op, ["k", "x"])], IMAGE, {"k": constant}), positive=True)


def test_quotients_by_zero_are_infinite() -> None:
    zeros = np.asarray([0, 1, -0.5], np.float32).reshape(3, 1, 1)
    check(model([node("Div", ["x", "k"])], IMAGE, {"k": zeros}))


def test_two_values_add_and_multiply() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]),
        node("Add", ["c", "x"], "a"),
        node("GlobalAveragePool", ["a"], "g"),
        node("Sigmoid", ["g"], "s"),
        node("Mul", ["a", "s"]),
    ]
    check(model(nodes, IMAGE, {"w": weights(3, 3, 1, 1)}))


@pytest.mark.parametrize("op", ["Abs", "Exp", "HardSwish", "LeakyRelu", "Neg", "Relu", "Sigmoid", "Tanh"])
def test_unary(op: str) -> None:
    check(model([node(op, ["x"])], IMAGE))


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_unary_of_positive_values(op: str) -> None:
    check(model([node(op, ["x"])], IMAGE), positive=True)


@pytest.mark.parametrize(
    "bounds", [(0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, None), (None, 0.7), (None, None), (0.0, None)]
)
@pytest.mark.parametrize("after", ["Conv", "Abs", "input"])
def test_clip_fused_and_alone(bounds: tuple[float | None, float | None], after: str) -> None:
    names = [f"k{i}" if value is not None else "" for i, value in enumerate(bounds)]
    constants: dict[str, Any] = {
        name: np.float32(value)
        for name, value in zip(names, bounds, strict=True)
        if name and value is not None
    }
    source, before = "x", []
    if after == "Conv":
        source, before = "c", [node("Conv", ["x", "w"], "c", kernel_shape=[1, 1])]
    elif after == "Abs":
        source, before = "c", [node("Abs", ["x"], "c")]
    nodes = [*before, node("Clip", [source, *names])]
    check(model(nodes, IMAGE, {"w": weights(3, 3, 1, 1), **constants}))


def test_an_activation_is_not_fused_into_a_value_that_others_read() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]),
        node("Relu", ["c"], "r"),
        node("Sub", ["r", "c"]),
    ]
    check(model(nodes, IMAGE, {"w": weights(3, 3, 1, 1)}))


def test_an_activation_is_not_fused_into_an_output() -> None:
    nodes = [node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]), node("Relu", ["c"])]
    check(model(nodes, IMAGE, {"w": weights(3, 3, 1, 1)}, outputs=["c", "y"]))


def test_two_activations_in_a_row() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]),
        node("Relu", ["c"], "r"),
        node("Clip", ["r", "low", "high"]),
    ]
    bounds = {"low": np.float32(-1), "high": np.float32(1)}
    check(model(nodes, IMAGE, {"w": weights(3, 3, 1, 1), **bounds}))


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,)])
def test_gemm(trans: int, bias: tuple[int, ...] | None) -> None:
    matrix = weights(5, 6) if trans else weights(6, 5)
    inputs, constants = ["x", "w"], {"w": matrix}
    if bias is not None:
        inputs, constants = ["x", "w", "b"], {"w": matrix, "b": weights(*bias)}
    check(model([node("Gemm", inputs, transB=trans, alpha=0.5, beta=2.0)], (1, 6), constants), (1, 6))


@pytest.mark.parametrize("shape", [(1, 6), (1, 4, 6)])
def test_matmul(shape: tuple[int, ...]) -> None:
    nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"])]
    check(model(nodes, shape, {"w": weights(6, 5), "b": weights(5)}), shape)


@pytest.mark.parametrize(
    "size", [(1, -1), (1, 3, 63), (1, 27, 7), (1, 7, 3, 9), (1, 9, 21), (1, 189, 1, 1), (1, 1, 21, 9)]
)
def test_reshape_keeps_the_logical_order(size: tuple[int, ...]) -> None:
    check(model([node("Reshape", ["x", "s"])], IMAGE, {"s": np.asarray(size, np.int64)}))


@pytest.mark.parametrize("shape", [(1, 3, 1, 5), (1, 3, 5, 1), (1, 1, 4, 5), (1, 6, 1, 1)])
def test_flatten_of_thin_images(shape: tuple[int, ...]) -> None:
    check(model([node("Flatten", ["x"])], shape), shape)


def test_flatten_of_an_image_and_back() -> None:
    nodes = [
        node("Flatten", ["x"], "f"),
        node("Gemm", ["f", "w"], "g"),
        node("Reshape", ["g", "s"], "r"),
        node("Relu", ["r"]),
    ]
    constants = {"w": weights(189, 24), "s": np.asarray([1, 2, 3, 4], np.int64)}
    check(model(nodes, IMAGE, constants))


def test_squeeze_and_unsqueeze() -> None:
    nodes = [
        node("GlobalAveragePool", ["x"], "g"),
        node("Squeeze", ["g", "axes"], "s"),
        node("Unsqueeze", ["s", "axes"]),
    ]
    check(model(nodes, IMAGE, {"axes": np.asarray([2, 3], np.int64)}))


@pytest.mark.parametrize("perm", [[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 3, 2, 1]])
def test_transpose(perm: list[int]) -> None:
    check(model([node("Transpose", ["x"], perm=perm)], IMAGE))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
def test_concat(axis: int) -> None:
    nodes = [node("Abs", ["x"], "a"), node("Neg", ["x"], "n"), node("Concat", ["a", "x", "n"], axis=axis)]
    check(model(nodes, IMAGE))


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_pad(value: float) -> None:
    constants = {"p": np.asarray([0, 1, 2, 0, 0, 0, 1, 3], np.int64), "v": np.float32(value)}
    check(model([node("Pad", ["x", "p", "v"])], IMAGE, constants))


@pytest.mark.parametrize(("axes", "keep"), [([2, 3], 0), ([2, 3], 1), ([1], 1), ([-1], 1), ([1, 2, 3], 0)])
def test_reduce_mean(axes: list[int], keep: int) -> None:
    check(model([node("ReduceMean", ["x"], axes=axes, keepdims=keep)], IMAGE))


@pytest.mark.parametrize("shape", [(1, 6), (1, 3, 4, 5), (1, 4, 6)])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_over_any_axis(shape: tuple[int, ...], axis: int, opset: int) -> None:
    check(model([node("Softmax", ["x"], axis=axis)], shape, opset=opset), shape)


def test_batch_normalization() -> None:
    constants = {
        "s": weights(3),
        "b": weights(3, seed=4),
        "m": weights(3, seed=5),
        "v": np.abs(weights(3, seed=6)) + 0.1,
    }
    check(model([node("BatchNormalization", ["x", "s", "b", "m", "v"])], IMAGE, constants))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 5), (1, 3, 2, 4, 5)])
def test_batch_normalization_of_other_ranks(shape: tuple[int, ...]) -> None:
    constants = {name: np.abs(weights(3, seed=seed)) + 0.1 for seed, name in enumerate("sbmv")}
    check(model([node("BatchNormalization", ["x", *constants])], shape, constants), shape)


RESIZES = [
    ("nearest", "asymmetric", "floor", [2.0, 2.0]),
    ("nearest", "half_pixel", "round_prefer_floor", [2.0, 2.0]),
    ("nearest", "half_pixel", "round_prefer_ceil", [3.0, 2.0]),
    ("nearest", "asymmetric", "floor", [0.5, 0.5]),
    ("nearest", "align_corners", "round_prefer_ceil", [2.0, 2.0]),
    ("linear", "half_pixel", "floor", [2.0, 2.0]),
    ("linear", "pytorch_half_pixel", "floor", [2.0, 3.0]),
    ("linear", "asymmetric", "floor", [2.0, 2.0]),
    ("linear", "align_corners", "floor", [2.0, 2.0]),
    ("linear", "half_pixel", "floor", [0.5, 0.5]),
    # TFLite has no equal of these
    ("nearest", "asymmetric", "ceil", [2.0, 2.0]),
    ("linear", "asymmetric", "floor", [1.5, 0.75]),
    ("cubic", "half_pixel", "floor", [2.0, 0.5]),
]


@pytest.mark.parametrize(("mode", "transformation", "nearest", "scales"), RESIZES)
def test_resize(mode: str, transformation: str, nearest: str, scales: list[float]) -> None:
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": transformation,
        "nearest_mode": nearest,
    }
    shape = (1, 2, 6, 8)
    constants = {"s": np.asarray([1, 1, *scales], np.float32)}
    check(model([node("Resize", ["x", "", "s"], **attributes)], shape, constants), shape)
