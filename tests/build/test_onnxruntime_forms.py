"""Each recipe's graph has the form that it claims, in three real models; bytes are reproducible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from modelfleet_build.optimizers.onnxruntime import plugin
from modelfleet_build.registry import recipe_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

from .conversions import SOURCES, convert, digests_in_a_fresh_process, every_recipe, images
from .graphs import model, node, weights

STATIC = [recipe.name for recipe in plugin.recipes if recipe.needs_calibration]


class Graph:
    """A quantized graph to look things up in."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(path).graph
        self.constants = {item.name: numpy_helper.to_array(item) for item in self.graph.initializer}
        self.giver = {name: item for item in self.graph.node for name in item.output}

    def of(self, *types: str) -> list[onnx.NodeProto]:
        return [item for item in self.graph.node if item.op_type in types]

    def scales(self) -> dict[str, Any]:
        found = {}
        for item in self.of("QuantizeLinear", "DequantizeLinear"):
            found[item.output[0]] = self.constants[item.input[1]]
        return found

    def weight_source(self, item: onnx.NodeProto) -> onnx.NodeProto | None:
        """What gives the weight of a Conv or Gemm; None = it is a constant."""
        return self.giver.get(item.input[1])


@pytest.mark.parametrize("name", STATIC)
def test_the_static_forms(tmp_path: Path, name: str) -> None:
    graph = Graph(convert(plugin, name, tmp_path / "made").entry)
    settings = recipe_of(plugin, name).parameters
    wanted = np.dtype(settings["activations"])
    assert len(graph.of("Conv")) == 13
    for item in graph.of("QuantizeLinear"):
        assert graph.constants[item.input[2]].dtype == wanted
    for item in graph.of("Conv", "Gemm"):
        source = graph.weight_source(item)
        assert source is not None
        assert source.op_type == "DequantizeLinear"
        quantised, scale = graph.constants[source.input[0]], graph.constants[source.input[1]]
        assert quantised.dtype == np.int8
        if "per channel" in settings["weights"]:
            axis = next(attribute.i for attribute in source.attribute if attribute.name == "axis")
            assert (axis, scale.shape) == (0, (quantised.shape[0],))
        else:
            assert scale.shape == ()
        if "7 bits" in settings["weights"]:
            assert abs(quantised.astype(int)).max() <= 64
        else:
            assert abs(quantised.astype(int)).max() > 120


def test_the_dynamic_form(tmp_path: Path) -> None:
    graph = Graph(convert(plugin, "int8-dynamic", tmp_path / "made").entry)
    assert graph.of("ConvInteger")
    assert graph.of("DynamicQuantizeLinear")
    assert not graph.of("Conv", "QuantizeLinear")


def test_every_calibration_gives_scales_of_its_own(tmp_path: Path) -> None:
    recipe = recipe_of(plugin, "int8")
    seen: list[dict[str, Any]] = []
    for index, item in enumerate((recipe, *plugin.alternatives(recipe))):
        scales = Graph(convert(plugin, item, tmp_path / str(index)).entry).scales()
        activations = {name: float(value) for name, value in scales.items() if value.ndim == 0}
        assert all(activations != other for other in seen), item.parameters
        seen.append(activations)
    assert len(seen) == 4
    # Nothing but minimum and maximum keeps everything, so no other method has a larger scale.
    assert all(other[name] <= seen[0][name] * 1.0001 for other in seen[1:] for name in seen[0])


@pytest.mark.parametrize("name", [recipe.name for recipe in plugin.recipes if recipe.name != "fp32"])
@pytest.mark.parametrize("source", ["scenes", "masks"])
def test_models_with_several_outputs_resizes_and_concatenations(
    tmp_path: Path, source: str, name: str
) -> None:
    samples = images(source, 8)
    made = convert(plugin, name, tmp_path / "made", SOURCES[source], samples)
    exact = onnxruntime.InferenceSession(str(made.task.model), providers=["CPUExecutionProvider"])
    expected: list[Any] = list(exact.run(None, {"image": samples}))
    answers = made.answers(plugin, samples)
    assert len(answers) == len(expected)
    for value, wanted in zip(answers.values(), expected, strict=True):
        error = float(np.sqrt(((value - wanted) ** 2).mean() / (wanted**2).mean()))
        assert error < (0.005 if name == "fp16" else 0.2), name


@pytest.mark.parametrize("source", ["digits", "scenes", "masks"])
def test_fp16_halves_the_weights(tmp_path: Path, source: str) -> None:
    made = convert(plugin, "fp16", tmp_path / "made", SOURCES[source], images(source, 1))
    sizes = {
        path: sum(
            math.prod(item.dims) * (2 if item.data_type == TensorProto.FLOAT16 else 4)
            for item in onnx.load(path).graph.initializer
            if item.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        )
        for path in (made.task.model, made.entry)
    }
    assert sizes[made.entry] < 0.505 * sizes[made.task.model]
    types = {item.type.tensor_type.elem_type for item in onnx.load(made.entry).graph.output}
    assert types == {TensorProto.FLOAT}


def test_fp16_keeps_constants_that_half_precision_holds(tmp_path: Path) -> None:
    big = model([node("Mul", ["x", "big"])], ["N", 4], {"big": np.float32(30_000)}, output_shapes=[["N", 4]])
    onnx.save(big, tmp_path / "big.onnx")
    made = convert(plugin, "fp16", tmp_path / "made", tmp_path / "big.onnx", weights(1, 4))
    answer = made.answers(plugin, np.full((1, 4), 0.5, np.float32))
    np.testing.assert_allclose(answer["y"], 15_000, rtol=1e-3)


@pytest.mark.parametrize("name", [*STATIC, "int8-dynamic", "fp16"])
def test_kept_nodes_are_float(tmp_path: Path, name: str) -> None:
    convolutions = [item for item in onnx.load(SOURCES["digits"]).graph.node if item.op_type == "Conv"]
    kept = [convolutions[0].output[0], convolutions[5].output[0]]
    graph = Graph(convert(plugin, name, tmp_path / "made", keep_float=kept).entry)
    floats = [
        item
        for item in graph.of("Conv")
        if graph.weight_source(item) is None and graph.constants[item.input[1]].dtype == np.float32
    ]
    assert sorted(item.name for item in floats) == sorted(kept)
    # fp16's other convolutions are Conv too, with half weights.
    others = graph.of("ConvInteger") or [item for item in graph.of("Conv") if item not in floats]
    assert len(others) == 11


@pytest.mark.parametrize("name", [*STATIC, "int8-dynamic"])
def test_a_kept_product_is_float(tmp_path: Path, name: str) -> None:
    """The dynamic quantizer splits a Gemm into parts with names of their own."""
    made = convert(plugin, name, tmp_path / "made", keep_float=["logits"])
    graph = Graph(made.entry)
    (product,) = graph.of("Gemm", "MatMul")
    assert graph.constants[product.input[1]].dtype == np.float32
    assert not graph.of("MatMulInteger")


def test_a_kept_node_that_is_folded_is_followed(tmp_path: Path) -> None:
    channel = {name: weights(4, seed=index) ** 2 + 0.5 for index, name in enumerate("sbmv")}
    graph = model(
        [
            node("Conv", ["x", "w"], "a", kernel_shape=[3, 3]),
            node("BatchNormalization", ["a", "s", "b", "m", "v"], "c"),
            node("Relu", ["c"], "d"),
            node("Conv", ["d", "u"], "y", kernel_shape=[3, 3]),
        ],
        ["N", 1, 8, 8],
        {"w": weights(4, 1, 3, 3), "u": weights(4, 4, 3, 3), **channel},
        output_shapes=[["N", 4, 4, 4]],
    )
    onnx.save(graph, tmp_path / "source.onnx")
    made = convert(
        plugin, "int8", tmp_path / "made", tmp_path / "source.onnx", weights(4, 1, 8, 8), keep_float=["a"]
    )
    found = Graph(made.entry)
    floats = [item for item in found.of("Conv") if found.weight_source(item) is None]
    assert [item.output[0] for item in floats] == ["c"], "the convolution that took the normalisation in"
    assert not made.converted.notes


def test_a_kept_node_that_is_folded_away_is_told(tmp_path: Path) -> None:
    graph = model(
        [node("Add", ["p", "p"], "q"), node("MatMul", ["x", "q"], "y")],
        ["N", 4],
        {"p": weights(4, 4)},
        output_shapes=[["N", 4]],
    )
    onnx.save(graph, tmp_path / "source.onnx")
    made = convert(
        plugin, "int8", tmp_path / "made", tmp_path / "source.onnx", weights(4, 4), keep_float=["q"]
    )
    # The sum of constants went into the multiplication, which is kept in its place or said to be gone.
    assert made.converted.notes or not Graph(made.entry).of("QuantizeLinear")


@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "fp16"])
def test_a_kept_node_that_is_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CallerError, match="'nowhere'") as caught:
        convert(plugin, name, tmp_path / "made", keep_float=["nowhere"])
    assert caught.value.code is Code.KEEP_FLOAT_UNKNOWN


@pytest.mark.slow
def test_every_recipe_gives_the_same_bytes_in_fresh_processes(tmp_path: Path) -> None:
    module = type(plugin).__module__
    one = digests_in_a_fresh_process(module, tmp_path / "one", 1)
    two = digests_in_a_fresh_process(module, tmp_path / "two", 2)
    assert len(one) == len(every_recipe(plugin))
    assert len(set(one.values())) == len(one), "every recipe makes something of its own"
    assert one == two
