"""What the converter makes smaller before it converts: constants, normalisations, transposes, dead code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelfleet_build.tflite import Refused, convert

from .graphs import model, node, weights
from .tflite_agreement import check, operators

IMAGE = (1, 6, 8, 8)
STATISTICS: dict[str, Any] = {
    "s": weights(6),
    "b": weights(6, seed=4),
    "m": weights(6, seed=5),
    "v": np.abs(weights(6, seed=6)) + 0.1,
}


def ints(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(values, np.int64)


def made_of(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], shape: tuple[int, ...] = IMAGE
) -> dict[str, int]:
    """Checks the model against onnxruntime; returns how often each TFLite operator is used."""
    return dict(operators(check(model(nodes, shape, constants), shape).data))


def norm(source: str, target: str) -> onnx.NodeProto:
    return node("BatchNormalization", [source, "s", "b", "m", "v"], target)


@pytest.mark.parametrize("group", [1, 2, 6])
def test_a_normalisation_and_what_scales_it_become_a_part_of_the_convolution(group: int) -> None:
    nodes = [
        node("Conv", ["x", "w"], "c", group=group),
        norm("c", "n"),
        node("Mul", ["n", "g"], "g1"),
        node("Add", ["h", "g1"], "g2"),
        node("Relu", ["g2"]),
    ]
    constants = {
        "w": weights(6, 6 // group, 1, 1),
        "g": weights(6, 1, 1),
        "h": weights(1, 6, 1, 1),
        **STATISTICS,
    }
    code = "DEPTHWISE_CONV_2D" if group == 6 else "CONV_2D"
    assert made_of(nodes, constants) == {code: 1}


@pytest.mark.parametrize("group", [1, 2])
def test_a_normalisation_becomes_a_part_of_a_transposed_convolution(group: int) -> None:
    nodes = [node("ConvTranspose", ["x", "w", "b"], "c", group=group), norm("c", "y")]
    used = made_of(nodes, {"w": weights(6, 6 // group, 2, 2), **STATISTICS})
    assert used["TRANSPOSE_CONV"] == group
    assert "MUL" not in used


def test_a_run_of_scales_becomes_one() -> None:
    nodes = [norm("x", "n"), node("Div", ["n", "g"], "a"), node("Sub", ["a", "g"], "h"), node("Relu", ["h"])]
    assert made_of(nodes, {"g": weights(6, 1, 1) + 3, **STATISTICS}) == {"MUL": 1, "ADD": 1}


def test_a_convolution_that_others_read_keeps_its_weights() -> None:
    nodes = [node("Conv", ["x", "w"], "c"), norm("c", "n"), node("Add", ["n", "c"])]
    assert made_of(nodes, {"w": weights(6, 6, 1, 1), **STATISTICS}) == {"CONV_2D": 1, "MUL": 1, "ADD": 2}


def test_a_normalisation_in_training_is_refused() -> None:
    trained = node("BatchNormalization", ["x", "s", "b", "m", "v"], training_mode=1)
    trained.output.extend(["mean", "variance"])
    with pytest.raises(Refused, match="training") as caught:
        convert(model([trained], IMAGE, STATISTICS))
    assert caught.value.op == "BatchNormalization"


def test_gelu_is_recognised_as_exporters_write_it() -> None:
    constants = {"root": np.float32(math.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    erf = [node("Div", ["x", "root"], "d"), node("Erf", ["d"], "e"), node("Add", ["e", "one"], "a")]
    first = [*erf, node("Mul", ["x", "a"], "p"), node("Mul", ["p", "half"])]
    second = [*erf, node("Mul", ["x", "half"], "p"), node("Mul", ["p", "a"])]
    assert made_of(first, constants) == made_of(second, constants) == {"GELU": 1}
    assert "GELU" not in made_of(first, {**constants, "one": np.float32(2)})


def test_hard_swish_is_recognised_as_exporters_write_it() -> None:
    nodes = [node("HardSigmoid", ["x"], "h", alpha=1 / 6, beta=0.5), node("Mul", ["x", "h"])]
    assert made_of(nodes, {}) == {"HARD_SWISH": 1}
    nodes[0] = node("HardSigmoid", ["x"], "h", alpha=0.2, beta=0.5)
    assert "HARD_SWISH" not in made_of(nodes, {})


def test_groups_whose_inner_values_others_read_stay_as_they_are() -> None:
    gate = [node("HardSigmoid", ["x"], "h", alpha=1 / 6, beta=0.5), node("Mul", ["x", "h"], "m")]
    assert "HARD_SWISH" not in made_of([*gate, node("Add", ["m", "h"])], {})
    padded = [node("Pad", ["x", "p"], "q"), node("Conv", ["q", "w"], "c", kernel_shape=[3, 3])]
    peeled = [*padded, node("ReduceMean", ["q"], "r", axes=[2, 3]), node("Add", ["c", "r"])]
    constants = {"p": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": weights(6, 6, 3, 3)}
    assert made_of(peeled, constants)["PAD"] == 1
    product = [node("MatMul", ["x", "k"], "m"), node("Add", ["m", "v"], "a"), node("Sub", ["a", "m"])]
    assert made_of(product, {"k": weights(8, 5), "v": weights(5)})["ADD"] == 1
    root = {"root": np.float32(math.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    erf = [
        node("Div", ["x", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "a"),
        node("Mul", ["x", "a"], "p"),
        node("Mul", ["p", "half"], "g"),
        node("Sub", ["g", "e"]),
    ]
    assert "GELU" not in made_of(erf, root)


def test_a_pad_before_a_convolution_becomes_its_padding() -> None:
    nodes = [node("Pad", ["x", "p"], "q"), node("Conv", ["q", "w"], kernel_shape=[3, 3])]
    constants = {"p": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": weights(4, 6, 3, 3)}
    assert made_of(nodes, constants) == {"CONV_2D": 1}
    assert made_of(nodes, {**constants, "p": ints(0, 0, 2, 1, 0, 0, 1, 1)}) == {"PAD": 1, "CONV_2D": 1}
    # Neither channels nor anything but zeros can be padding of a convolution.
    deeper = {"p": ints(0, 1, 1, 1, 0, 1, 1, 1), "w": weights(4, 8, 3, 3)}
    assert made_of(nodes, deeper)["PAD"] == 1
    nodes[0] = node("Pad", ["x", "p", "one"], "q")
    assert made_of(nodes, {**constants, "one": np.float32(1)})["PADV2"] == 1


def test_a_bias_is_added_inside_the_product() -> None:
    nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["b", "m"], "a"), node("Relu", ["a"])]
    used = made_of(nodes, {"w": weights(5, 4), "b": weights(4)}, (1, 3, 5))
    assert used == {"FULLY_CONNECTED": 1}
    column = made_of(nodes, {"w": weights(5, 1), "b": weights(1)}, (1, 3, 5))
    assert column == {"FULLY_CONNECTED": 1, "ADD": 1}


def test_shapes_that_a_model_computes_are_constants() -> None:
    nodes = [
        node("Shape", ["x"], "shape"),
        node("Gather", ["shape", "zero"], "batch"),
        node("Unsqueeze", ["batch", "zero1"], "row"),
        node("Concat", ["row", "rest"], "target", axis=0),
        node("Reshape", ["x", "target"]),
    ]
    constants = {"zero": np.asarray(0, np.int64), "zero1": ints(0), "rest": ints(-1)}
    assert set(made_of(nodes, constants)) == {"TRANSPOSE", "RESHAPE"}


def test_a_branch_on_a_constant_is_taken() -> None:
    def branch(op: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], ["z"], name=op)], op, [], [made])

    nodes = [
        node("Size", ["x"], "size"),
        node("Greater", ["size", "limit"], "large"),
        node("If", ["large"], "i", then_branch=branch("Relu"), else_branch=branch("Neg")),
        node("Abs", ["i"]),
    ]
    assert made_of(nodes, {"limit": ints(10)})["RELU"] == 1
    assert "RELU" not in made_of(nodes, {"limit": ints(1000)})


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [node("Relu", ["x"]), node("Conv", ["x", "w"], "unread"), node("NonZero", ["unread"], "nobody")]
    assert made_of(nodes, {"w": weights(4, 6, 1, 1)}) == {"RELU": 1}


def test_transposes_that_undo_each_other_cost_nothing() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Transpose", ["c"], "t", perm=[0, 2, 3, 1]),
        node("Relu", ["t"], "r"),
        node("Transpose", ["r"], "u", perm=[0, 3, 1, 2]),
        node("Conv", ["u", "w"], "y"),
    ]
    assert made_of(nodes, {"w": weights(6, 6, 1, 1)}) == {"CONV_2D": 2, "RELU": 1}


def test_a_channel_shuffle_is_one_transpose() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Reshape", ["c", "five"], "r"),
        node("Transpose", ["r"], "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "four"], "u"),
        node("Conv", ["u", "w"], "y"),
    ]
    constants = {"w": weights(6, 6, 1, 1), "five": ints(1, 2, 3, 8, 8), "four": ints(1, 6, 8, 8)}
    assert made_of(nodes, constants) == {"CONV_2D": 2, "RESHAPE": 2, "TRANSPOSE": 1}


def test_a_flattened_image_is_multiplied_as_it_is_stored() -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("Flatten", ["c"], "f"), node("Gemm", ["f", "k", "b"])]
    constants = {"w": weights(6, 6, 1, 1), "k": weights(384, 5), "b": weights(5)}
    assert made_of(nodes, constants) == {"CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}


def test_a_flattened_image_that_others_read_is_transposed() -> None:
    nodes = [
        node("Flatten", ["x"], "f"),
        node("Gemm", ["f", "k"], "g"),
        node("Softmax", ["f"], "s"),
        node("Concat", ["g", "s"], axis=1),
    ]
    assert made_of(nodes, {"k": weights(384, 5)})["TRANSPOSE"] == 1


def test_functions_of_the_model_are_inlined() -> None:
    body = [helper.make_node("Neg", ["a"], ["n"]), helper.make_node("Relu", ["n"], ["r"])]
    function = helper.make_function("own", "Below", ["a"], ["r"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("Below", ["x"], ["y"], domain="own", name="call")
    graph = helper.make_graph(
        [call],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(IMAGE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=8)
    check(made, IMAGE)
    del made.functions[:]
    with pytest.raises(Refused, match="domain 'own'") as caught:
        convert(made)
    assert caught.value.node == "call"


def test_operators_older_than_the_oldest_set_are_refused() -> None:
    with pytest.raises(Refused, match="opset 6"):
        convert(model([node("Relu", ["x"])], IMAGE, opset=6))
