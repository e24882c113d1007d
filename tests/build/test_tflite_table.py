"""Every row of the converter's table agrees with onnxruntime; what a row says it refuses, it does."""

from __future__ import annotations

import pytest

from modelfleet_build.tflite import Refused, convert
from modelfleet_build.tflite.ops import OPERATORS

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
