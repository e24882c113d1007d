"""Whatever shapes, strides, pads and axes: a model agrees with onnxruntime, or is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from onnx.shape_inference import InferenceError
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from modelfleet_build.tflite import Refused, TfliteModel, convert
from modelfleet_build.tflite.ops import OPERATORS

from .graphs import model, node, weights
from .tflite_agreement import agree, reference, run

UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much]
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=UNHURRIED)
SMALL = st.integers(1, 3)
Draw = st.DrawFn


def converted_or_refused(made: onnx.ModelProto) -> TfliteModel | Refused:
    try:
        return convert(made)
    except Refused as refused:
        return refused


def holds(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    refusable: bool = False,
) -> None:
    """Agreement with onnxruntime; where it is `refusable`, a refusal of the operator is as good."""
    x = np.random.default_rng(5).normal(0, 2, shape).astype(np.float32)
    try:
        made = model(nodes, shape, constants, opset=opset)
        wanted = reference(made, x)
    except (InferenceError, InvalidArgument, RuntimeException, Fail):
        reject()  # not a model: a window beyond the image, an empty slice
    if not all(item.size for item in wanted):
        reject()
    converted = converted_or_refused(made)
    if isinstance(converted, Refused):
        assert refusable, converted
        assert converted.op in OPERATORS
        assert converted.node
        return
    answer = run(converted, x)
    for item, want in zip(made.graph.output, wanted, strict=True):
        agree(answer[item.name], want)


@st.composite
def windows(draw: Draw, rank: int, *, dilated: bool = True) -> dict[str, Any]:
    def several(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    kernel = several(1, 4)
    window: dict[str, Any] = {"kernel_shape": kernel, "strides": several(1, 3)}
    if dilated:
        window["dilations"] = several(1, 2)
    if draw(st.booleans()):
        window["pads"] = [draw(st.integers(0, max(size - 1, 0))) for size in (*kernel, *kernel)]
    elif not dilated or window["dilations"] == [1] * rank:
        window["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    return window


@PROPERTY
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2, 2]))
    window = data.draw(windows(rank))
    groups, depth, filters = data.draw(SMALL), data.draw(SMALL), data.draw(SMALL)
    shape = (1, groups * depth, *data.draw(st.tuples(*[st.integers(3, 9)] * rank)))
    constants = {
        "w": weights(groups * filters, depth, *window["kernel_shape"]),
        "b": weights(groups * filters),
    }
    inputs = ["x", *constants][: data.draw(st.sampled_from([2, 3]))]
    after = data.draw(st.sampled_from(["Relu", "Sigmoid", "Identity"]))
    nodes = [node("Conv", inputs, "c", group=groups, **window), node(after, ["c"])]
    holds(nodes, shape, constants)


@PROPERTY
@given(st.data())
def test_transposed_convolutions(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2, 2]))
    window = data.draw(windows(rank))
    if data.draw(st.booleans()):
        limits = [max(pair) for pair in zip(window["strides"], window["dilations"], strict=True)]
        window["output_padding"] = [data.draw(st.integers(0, limit - 1)) for limit in limits]
    groups, depth, filters = data.draw(SMALL), data.draw(SMALL), data.draw(SMALL)
    shape = (1, groups * depth, *data.draw(st.tuples(*[st.integers(1, 6)] * rank)))
    constants = {
        "w": weights(groups * depth, filters, *window["kernel_shape"]),
        "b": weights(groups * filters),
    }
    unclear = "auto_pad" in window and any(window.get("output_padding", [0]))
    made = [node("ConvTranspose", ["x", "w", "b"], group=groups, **window)]
    holds(made, shape, constants, refusable=unclear)


@PROPERTY
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2, 2]))
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    window = data.draw(windows(rank, dilated=False))
    if "pads" in window:
        window["ceil_mode"] = data.draw(st.integers(0, 1))
    if op == "AveragePool":
        window["count_include_pad"] = data.draw(st.integers(0, 1))
    shape = (1, data.draw(SMALL), *data.draw(st.tuples(*[st.integers(2, 9)] * rank)))
    before, opset = data.draw(st.sampled_from(["Relu", "Neg"])), data.draw(st.sampled_from([19, 22]))
    holds(
        [node(before, ["x"], "a"), node(op, ["a"], **window)],
        shape,
        opset=opset,
        refusable=opset < 22 or "auto_pad" in window,
    )


@PROPERTY
@given(st.data())
def test_broadcasts(data: st.DataObject) -> None:
    shape = (1, *data.draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    op = data.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu"]))
    kept = data.draw(st.integers(0, len(shape)))
    thin = tuple(size if data.draw(st.booleans()) else 1 for size in shape[len(shape) - kept :])
    constants: dict[str, Any] = {"k": np.abs(weights(*thin)) + np.float32(0.5)}
    nodes = (
        [node("Conv", ["x", "w"], "c", kernel_shape=[1, 1])]
        if len(shape) == 4
        else [node("Tanh", ["x"], "c")]
    )
    if len(shape) == 4:
        constants["w"] = weights(shape[1], shape[1], 1, 1)
    if data.draw(st.booleans()):
        # A value, not a constant: the sum of everything, stretched to the thin shape.
        nodes += [
            node("ReduceMax", ["x"], "r", keepdims=0),
            node("Abs", ["r"], "q"),
            node("Add", ["q", "k"], "v"),
        ]
        second = "v"
    else:
        second = "k"
    swap = op != "PRelu" and data.draw(st.booleans())
    nodes.append(node(op, [second, "c"] if swap else ["c", second]))
    holds(nodes, shape, constants)


@PROPERTY
@given(st.data())
def test_reshapes_and_transposes_in_any_order(data: st.DataObject) -> None:
    shape = (
        1,
        *data.draw(st.sampled_from([(4, 6, 6), (12, 3, 4), (8, 2, 9), (6, 24), (144,), (2, 3, 4, 6)])),
    )
    nodes = [node("Tanh", ["x"], "t0")]
    constants: dict[str, Any] = {}
    current, last = shape, "t0"
    for step in range(1, data.draw(st.integers(1, 5)) + 1):
        source, target = f"t{step - 1}", f"t{step}"
        if data.draw(st.booleans()):
            inner = data.draw(st.permutations(range(1, len(current))))
            nodes.append(node("Transpose", [source], target, perm=[0, *inner]))
            current = (1, *(current[axis] for axis in inner))
        else:
            current = (
                1,
                *data.draw(
                    st.sampled_from(
                        [(4, 6, 6), (2, 2, 36), (12, 12), (3, 8, 1, 6), (144, 1, 1), (2, 3, 4, 6), (6, 2, 12)]
                    )
                ),
            )
            constants[f"s{step}"] = np.asarray(current, np.int64)
            nodes.append(node("Reshape", [source, f"s{step}"], target))
        last = target
    if len(current) == 4 and data.draw(st.booleans()):
        constants["w"] = weights(2, current[1], 1, 1)
        nodes.append(node("Conv", [last, "w"], "y"))
    else:
        nodes.append(node("Neg", [last], "y"))
    holds(nodes, shape, constants)


@PROPERTY
@given(st.data())
def test_slices_gathers_and_pads(data: st.DataObject) -> None:
    shape = (1, *data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=4)))
    axis = data.draw(st.integers(1, len(shape) - 1))
    kind = data.draw(st.sampled_from(["Slice", "Gather", "Pad", "Split", "Tile", "Concat"]))
    constants: dict[str, Any] = {}
    inputs, attributes = ["t"], dict[str, Any]()
    if kind == "Slice":
        bound = st.integers(-7, 7)
        step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        constants = {
            name: np.asarray([value], np.int64)
            for name, value in zip("seat", (data.draw(bound), data.draw(bound), axis, step), strict=True)
        }
    elif kind == "Gather":
        index = st.integers(-shape[axis], shape[axis] - 1)
        indices = data.draw(
            st.one_of(
                index,
                st.lists(index, min_size=1, max_size=4),
                st.lists(st.lists(index, min_size=2, max_size=2), min_size=1, max_size=2),
            )
        )
        constants, attributes = {"i": np.asarray(indices, np.int64)}, {"axis": axis}
    elif kind == "Pad":
        mode = data.draw(st.sampled_from(["constant", "reflect", "edge"]))
        low = -1 if mode == "constant" else 0
        most = min(shape[1:]) - 1 if mode == "reflect" else 3
        amounts = data.draw(
            st.lists(st.integers(low, most), min_size=2 * len(shape), max_size=2 * len(shape))
        )
        amounts[0] = amounts[len(shape)] = 0
        constants, attributes = {"p": np.asarray(amounts, np.int64)}, {"mode": mode}
    elif kind == "Split":
        cut = data.draw(st.integers(1, shape[axis] - 1))
        constants, attributes = {"k": np.asarray([cut, shape[axis] - cut], np.int64)}, {"axis": axis}
    elif kind == "Tile":
        repeats = [
            1,
            *data.draw(st.lists(st.integers(1, 3), min_size=len(shape) - 1, max_size=len(shape) - 1)),
        ]
        constants = {"r": np.asarray(repeats, np.int64)}
    else:
        inputs, attributes = ["t", "x", "t"], {"axis": axis}
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    last = onnx.helper.make_node(kind, [*inputs, *constants], outputs, name="last", **attributes)
    holds([node("Tanh", ["x"], "t"), last], shape, constants, refusable=kind == "Pad" and len(shape) > 4)


@PROPERTY
@given(st.data())
def test_resizes(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    rank = 2 if mode == "cubic" else data.draw(st.sampled_from([1, 2, 2]))
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=rank, max_size=rank))
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": data.draw(
            st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
        ),
    }
    if mode == "nearest":
        attributes["nearest_mode"] = data.draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    inputs, constants = ["x", "", "s"], dict[str, Any]()
    if data.draw(st.booleans()):
        scales = data.draw(
            st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0]), min_size=rank, max_size=rank)
        )
        assume(all(int(size * scale) for size, scale in zip(sizes, scales, strict=True)))
        constants["s"] = np.asarray([1, 1, *scales], np.float32)
    else:
        inputs = ["x", "", "", "s"]
        constants["s"] = np.asarray(
            [1, 2, *data.draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank))], np.int64
        )
    holds([node("Resize", inputs, **attributes)], (1, 2, *sizes), constants)


@PROPERTY
@given(st.data())
def test_reductions_and_normalisations(data: st.DataObject) -> None:
    shape = (1, *data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    op = data.draw(
        st.sampled_from(
            [
                "ReduceMean",
                "ReduceMax",
                "ReduceMin",
                "ReduceL2",
                "ReduceSumSquare",
                "ReduceLogSumExp",
                "Softmax",
                "LogSoftmax",
            ]
        )
    )
    if op.endswith("oftmax"):
        attributes: dict[str, Any] = {"axis": data.draw(st.integers(-len(shape), len(shape) - 1))}
        opset = data.draw(st.sampled_from([11, 13]))
    else:
        axes = data.draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, unique=True))
        attributes = {"axes": axes, "keepdims": data.draw(st.integers(0, 1))}
        opset = data.draw(st.sampled_from([11, 13]))
    holds(
        [node("Tanh", ["x"], "t"), node(op, ["t"], "r", **attributes), node("Identity", ["r"])],
        shape,
        opset=opset,
    )


@PROPERTY
@given(st.data())
def test_products(data: st.DataObject) -> None:
    rows, inner, columns = data.draw(SMALL), data.draw(st.integers(1, 5)), data.draw(SMALL)
    batch = data.draw(st.sampled_from([(1,), (1, 2), (1, 2, 3)]))
    shape = (*batch, rows, inner)
    constants = {"w": weights(*data.draw(st.sampled_from([(), (2,), (1, 1)])), inner, columns)}
    how = data.draw(st.sampled_from(["constant", "left", "value"]))
    if how == "constant":
        nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"])]
        constants["b"] = weights(columns)
    elif how == "left":
        constants = {"w": weights(4, rows)}
        nodes = [node("MatMul", ["w", "x"])]
    else:
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        nodes = [node("Transpose", ["x"], "t", perm=order), node("MatMul", ["x", "t"])]
    holds(nodes, shape, constants)


@pytest.mark.parametrize("opset", [9, 10])
def test_forms_of_older_operator_sets(opset: int) -> None:
    nodes = [
        node("Pad", ["x"], "p", pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5),
        node("Clip", ["p"], "c", min=-1.0, max=0.5),
        node("Squeeze", ["c"], "q", axes=[0]),
        node("Unsqueeze", ["q"], "u", axes=[0]),
        node("ReduceSum", ["u"], "r", axes=[2]),
        node("Softmax", ["r"]),
    ]
    holds(nodes, (1, 3, 4, 5), opset=opset)
