"""Operators that stay in float: found by the names of the ONNX model, and really float in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfleet_build.optimizers.litert import plugin
from modelfleet_build.optimizers.tflite_keep_float import check_kept, kept_tensors
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import DType
from modelfleet_runtimes import registry
from modelfleet_runtimes.tflite_file import FLOAT32, INT8

from .edge import SOURCES, Material, converted, file_of, material_of, materials
from .graphs import classifier, model, node, weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return next(materials(tmp_path_factory.mktemp("digits"), ("digits",)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return material_of(classifier(), tmp_path_factory.mktemp("small") / "m")


def first_convolution() -> tuple[str, str]:
    """Outputs of the first convolution of digits:1.1 and of the activation that is fused into it."""
    nodes = onnx.load(SOURCES["digits"]).graph.node
    return nodes[0].output[0], nodes[1].output[0]


@pytest.mark.parametrize("recipe", ["int8", "int8-dynamic", "fp16"])
def test_a_fused_node_is_kept_by_its_own_name_and_by_that_of_its_activation(
    digits: Material, tmp_path: Path, recipe: str
) -> None:
    convolution, activation = first_convolution()
    files = []
    for index, name in enumerate((convolution, activation)):
        folder = tmp_path / str(index)
        converted(plugin, recipe, digits, folder, keep_float=(name,))
        file = file_of(folder)
        operator = file.producers()[activation]
        assert {file.tensors[i].kind for i in (*operator.inputs, *operator.outputs)} == {FLOAT32}
        files.append((folder / "model.tflite").read_bytes())
    assert files[0] == files[1]
    plain = tmp_path / "plain"
    converted(plugin, recipe, digits, plain)
    with pytest.raises(WorldError, match="did not leave"):
        check_kept(file_of(plain), (activation,))


def test_everything_else_stays_quantized(digits: Material, tmp_path: Path) -> None:
    name = first_convolution()[1]
    converted(plugin, "int8", digits, tmp_path / "v", keep_float=(name,))
    file = file_of(tmp_path / "v")
    floats = [
        operator
        for operator in file.operators
        if all(file.tensors[i].kind == FLOAT32 for i in operator.outputs) and operator.inputs[1:]
    ]
    assert [file.tensors[operator.outputs[0]].name for operator in floats] == [name]


def test_every_node_in_float_is_the_float_model(small: Material, tmp_path: Path) -> None:
    names = tuple(sorted(item.output[0] for item in onnx.load(small.model).graph.node))
    made = converted(plugin, "int8", small, tmp_path / "v", keep_float=names)
    parent = converted(plugin, "fp32", small, tmp_path / "f")
    answers = []
    for folder, item in ((tmp_path / "v", made), (tmp_path / "f", parent)):
        session = registry.load("litert").open(folder, item.entry, item.contract)
        answers.append(session.run({"x": small.images}))
        session.close()
    # Only the input may still be rounded to 256 steps.
    np.testing.assert_allclose(answers[0]["y"], answers[1]["y"], rtol=0, atol=0.05)
    assert INT8 not in {
        file_of(tmp_path / "v").tensors[i].kind
        for operator in file_of(tmp_path / "v").operators[1:]
        for i in operator.inputs[1:]
    }


def test_an_output_that_stays_in_float_is_bound_as_float(small: Material, tmp_path: Path) -> None:
    made = converted(plugin, "int8", small, tmp_path / "v", keep_float=("y",))
    assert made.contract.outputs[0].physical.dtype is DType.FLOAT32
    assert made.contract.inputs[0].physical.dtype is DType.INT8


@pytest.mark.parametrize("name", ["no such value", "x", "w", ""])
def test_a_name_of_no_node_is_refused(small: Material, tmp_path: Path, name: str) -> None:
    with pytest.raises(CallerError) as caught:
        converted(plugin, "int8", small, tmp_path / "v", keep_float=(name,))
    assert caught.value.code is Code.KEEP_FLOAT_UNKNOWN
    assert repr(name) in caught.value.happened
    assert not any((tmp_path / "v").iterdir())


def test_a_node_that_was_computed_away_is_refused(tmp_path: Path) -> None:
    dead = node("Relu", ["x"], "nobody reads this")
    graph = model([node("Conv", ["x", "w"]), dead], ["N", 2, 4, 4], {"w": weights(3, 2, 1, 1)})
    material = material_of(graph, tmp_path / "m")
    converted(plugin, "fp32", material, tmp_path / "f")
    with pytest.raises(CallerError) as caught:
        kept_tensors(material.model, ("nobody reads this",), file_of(tmp_path / "f"))
    assert caught.value.code is Code.KEEP_FLOAT_UNKNOWN


def test_names_with_the_signs_of_patterns_match_only_themselves(tmp_path: Path) -> None:
    graph = model(
        [
            node("Conv", ["x", "w"], "a.c"),
            node("Conv", ["a.c", "w"], "abc"),
            node("Conv", ["abc", "w"], "(a|b)+[c];$"),
            node("Relu", ["(a|b)+[c];$"], "y"),
        ],
        ["N", 2, 4, 4],
        {"w": weights(2, 2, 1, 1)},
    )
    material = material_of(graph, tmp_path / "m")
    for index, name in enumerate(("a.c", "abc", "(a|b)+[c];$")):
        folder = tmp_path / str(index)
        converted(plugin, "int8", material, folder, keep_float=(name,))
        file = file_of(folder)
        floats = {
            file.tensors[operator.outputs[0]].name
            for operator in file.operators
            if file.tensors[operator.outputs[0]].kind == FLOAT32 and len(operator.inputs) > 1
        }
        assert floats == {"y" if name.startswith("(") else name}


def test_a_quantizer_that_does_not_obey_is_noticed(small: Material, tmp_path: Path) -> None:
    converted(plugin, "int8", small, tmp_path / "v")
    for name in ("b", "no such tensor"):
        with pytest.raises(WorldError, match="did not leave") as caught:
            check_kept(file_of(tmp_path / "v"), (name,))
        assert caught.value.code is Code.CONVERSION_FAILED


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_choice_of_nodes_converts_and_answers_alike(
    tmp_path_factory: pytest.TempPathFactory, small: Material, data: st.DataObject
) -> None:
    every = sorted(item.output[0] for item in onnx.load(small.model).graph.node)
    names = tuple(sorted(data.draw(st.sets(st.sampled_from(every)))))
    folder = tmp_path_factory.mktemp("any") / "v"
    made = converted(plugin, "int8", small, folder, keep_float=names)
    session = registry.load("litert").open(folder, made.entry, made.contract)
    answer = session.run({"x": small.images})["y"]
    session.close()
    converted(plugin, "fp32", small, folder.with_name("f"))
    assert np.isfinite(answer).all()
    assert answer.std() > 0
