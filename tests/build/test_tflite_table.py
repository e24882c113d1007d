"""Every row of the converter's table agrees with onnxruntime; what a row says it refuses, it does."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
import pytest

from modelfleet_build.tflite import Refused, convert
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Node
from modelfleet_build.tflite.ops import OPERATORS, Row

from .graphs import model, node
from .tflite_agreement import check
from .tflite_cases import CASES, IMAGE, REFUSALS, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_every_row_agrees_with_onnxruntime(case: Case) -> None:
    made = case.model()
    assert case.op in {item.op_type for item in made.graph.node}
    check(made, case.shape, positive=case.positive)


def test_every_row_has_a_case() -> None:
    assert {case.op for case in CASES} == set(OPERATORS)


@pytest.mark.parametrize("op", REFUSALS)
def test_what_cannot_be_exact_is_refused_with_node_and_operator(op: str) -> None:
    case = REFUSALS[op]
    with pytest.raises(Refused) as caught:
        convert(case.model())
    assert (caught.value.op, caught.value.node) == (op, case.nodes[-1].name)
    assert caught.value.reason


def test_every_row_that_refuses_something_has_a_refusal() -> None:
    assert set(REFUSALS) == {op for op, row in OPERATORS.items() if row.refuses}


def test_an_unknown_operator_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match="NonZero") as caught:
        convert(model([node("NonZero", ["x"], "n"), node("Cast", ["n"], to=1)], IMAGE))
    assert caught.value.op == "NonZero"


def test_a_shape_that_is_not_static_is_refused() -> None:
    with pytest.raises(Refused, match="not static"):
        convert(model([node("Relu", ["x"])], ["N", 3, "H", 8]))


@pytest.mark.parametrize("op", [name for name, row in OPERATORS.items() if row.any_kind])
def test_rows_for_any_kind_take_integers(op: str) -> None:
    """The case of the row, on the index of the largest element instead of the image itself."""
    largest = node("ArgMax", ["x"], "i", axis=1)
    before = {
        "And": [node("Greater", ["i", "k"], "g"), node("And", ["g", "g"], "c")],
        "Or": [node("Less", ["i", "k"], "g"), node("Or", ["g", "g"], "c")],
        "Not": [node("Equal", ["i", "k"], "g"), node("Not", ["g"], "c")],
        "Where": [node("Greater", ["i", "k"], "g"), node("Where", ["g", "i", "k"], "c")],
        "Concat": [node("Concat", ["i", "i"], "c", axis=2)],
        "Gather": [node("Gather", ["i", "n"], "c", axis=3)],
        "Reshape": [node("Reshape", ["i", "s"], "c")],
        "Slice": [node("Slice", ["i", "n", "m", "m"], "c")],
        "Split": [onnx.helper.make_node("Split", ["i", "t"], ["c", "d"], axis=3, name="split")],
        "Squeeze": [node("Squeeze", ["i", "n"], "c")],
        "Unsqueeze": [node("Unsqueeze", ["i", "n"], "c")],
        "Transpose": [node("Transpose", ["i"], "t0", perm=[0, 3, 2, 1]), node("Squeeze", ["t0"], "c")],
        "Cast": [node("Cast", ["i"], "f", to=1), node("Cast", ["f"], "c", to=7)],
    }
    compared = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    nodes = before.get(op) or [node(op, ["i", "k"] if op in compared else ["i"], "c")]
    integers = {"k": 2, "n": [1], "m": [3], "s": [1, -1], "t": [3, 5]}
    constants = {name: np.asarray(value, np.int64) for name, value in integers.items()}
    check(model([largest, *nodes, node("Cast", ["c"], to=1)], IMAGE, constants), IMAGE)


@pytest.mark.parametrize("op", ["Add", "Neg", "ReduceMax"])
def test_rows_for_floats_refuse_integers(op: str) -> None:
    nodes = [node("ArgMax", ["x"], "i", axis=1), node(op, ["i", "i"][: 2 if op == "Add" else 1], "c")]
    with pytest.raises(Refused, match="int64") as caught:
        convert(model([*nodes, node("Cast", ["c"], to=1)], IMAGE))
    assert caught.value.op == op


def test_a_form_that_nobody_thought_of_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def emit(emitter: Emitter, broken: Node) -> None:
        raise LookupError("no such axis")

    monkeypatch.setitem(cast("dict[str, Row]", OPERATORS), "Relu", Row(emit, ""))
    with pytest.raises(Refused, match="no such axis") as caught:
        convert(model([node("Relu", ["x"])], IMAGE))
    assert (caught.value.op, caught.value.node) == ("Relu", "the_Relu_y")
