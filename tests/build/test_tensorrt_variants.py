"""The form that TensorRT takes: explicit symmetric quantization, half precision in the file, and a spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from modelfleet_build.optimizers.tensorrt import WEIGHTED, plugin
from modelfleet_build.pipeline import build
from modelfleet_build.request import BuildRequest
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.engine_spec import ENGINE_SPEC_NAME, EngineSpec, ShapeProfile
from modelfleet_core.release.manifest import Precision
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes.tensorrt import read_spec

from .conftest import DIGITS, QUICK
from .conversions import SOURCES, Made, convert, digests_in_a_fresh_process, digits, every_recipe, images
from .graphs import model, node, weights
from .test_onnxruntime_forms import Graph


def spec_of(made: Made) -> EngineSpec:
    return read_spec(made.task.folder)[0]


@pytest.mark.parametrize("source", ["digits", "scenes", "masks"])
def test_int8_is_in_the_explicit_symmetric_form(tmp_path: Path, source: str) -> None:
    samples = images(source, 8)
    graph = Graph(convert(plugin, "int8", tmp_path / "made", SOURCES[source], samples).entry)
    pairs = graph.of("QuantizeLinear", "DequantizeLinear")
    assert len(graph.of("QuantizeLinear")) == len(graph.of("DequantizeLinear")) > 10
    for item in pairs:
        zero = graph.constants[item.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    for item in graph.of("DequantizeLinear"):
        assert graph.giver[item.input[0]].op_type == "QuantizeLinear", "Q and DQ come as pairs, weights too"
    for item in graph.of(*WEIGHTED):
        value, weight = graph.giver[item.input[0]], graph.giver[item.input[1]]
        assert (value.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert graph.constants[value.input[1]].shape == (), "one scale for values"
        floats = graph.constants[graph.giver[weight.input[0]].input[0]]
        assert floats.dtype == np.float32
        axis = next(attribute.i for attribute in weight.attribute if attribute.name == "axis")
        assert graph.constants[weight.input[1]].shape == (floats.shape[axis],), "one per channel"
        assert graph.constants[item.input[2]].dtype == np.float32, "TensorRT has no int32 bias"
    for item in graph.of("Clip", "Relu", "Sigmoid", "Resize", "ConvTranspose", "MaxPool"):
        givers = [graph.giver[name].op_type for name in item.input if name in graph.giver]
        assert "DequantizeLinear" not in givers or item.op_type in ("Resize", "MaxPool")


def test_one_branch_of_a_residual_sum_is_quantised_and_the_other_melts_into_it(tmp_path: Path) -> None:
    graph = Graph(convert(plugin, "int8", tmp_path / "made").entry)
    for item in graph.of("Add"):
        assert sorted(graph.giver[name].op_type for name in item.input) == ["Conv", "DequantizeLinear"]


def test_kept_nodes_have_no_quantization(tmp_path: Path) -> None:
    kept = [item.output[0] for item in onnx.load(SOURCES["digits"]).graph.node if item.op_type == "Conv"][:2]
    graph = Graph(convert(plugin, "int8", tmp_path / "made", keep_float=kept).entry)
    floats = [item.name for item in graph.of("Conv") if graph.weight_source(item) is None]
    assert sorted(floats) == sorted(kept)


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8"])
def test_the_spec_is_of_the_model_beside_it(tmp_path: Path, recipe: str) -> None:
    made = convert(
        plugin, recipe, tmp_path / "made", options={"workspaceMiB": "64", "optimizationLevel": "5"}
    )
    assert sorted(path.name for path in made.task.folder.iterdir()) == [ENGINE_SPEC_NAME, "model.onnx"]
    spec = spec_of(made)
    shape = (1, 1, 32, 32)
    assert spec.inputs == {"image": ShapeProfile(shape, shape, shape)}
    assert (spec.workspace_bytes, spec.optimization_level) == (64 * 1024**2, 5)
    assert (spec.minimum, spec.below) == ("8.5", "12")
    assert spec.precision is Precision(recipe)
    assert (spec.fp16, spec.int8, spec.tf32) == (recipe == "fp16", recipe == "int8", False)


def test_what_is_measured_is_what_is_shipped(tmp_path: Path) -> None:
    made = convert(plugin, "fp16", tmp_path / "made")
    stand_in = made.converted.stand_in
    assert stand_in is not None
    assert (stand_in.runtime, stand_in.entry, stand_in.shipped) == ("onnxruntime", "model.onnx", True)
    assert made.converted.contract.inputs[0].physical.shape[0] == 1
    halves = [
        item for item in onnx.load(made.entry).graph.initializer if item.data_type == onnx.TensorProto.FLOAT16
    ]
    assert len(halves) > 20
    assert plugin.runtime_options({"workspaceMiB": "64"}) == {}


@pytest.mark.parametrize(("opset", "minimum"), [(17, "8.5"), (18, "10.0"), (20, "10.0"), (21, "11.0")])
def test_the_operator_set_says_which_tensorrt_can_read_it(tmp_path: Path, opset: int, minimum: str) -> None:
    graph = model([node("Relu", ["x"])], ["N", 4], opset=opset, output_shapes=[["N", 4]])
    onnx.save(graph, tmp_path / "source.onnx")
    made = convert(plugin, "fp32", tmp_path / "made", tmp_path / "source.onnx", weights(2, 4))
    assert spec_of(made).minimum == minimum
    assert f"TensorRT {minimum}" in made.converted.notes[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workspaceMiB", "0"),
        ("workspaceMiB", "1.5"),
        ("workspaceMiB", "99999999999"),
        ("optimizationLevel", "6"),
    ],
)
def test_options_that_are_not_possible(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(CallerError, match=name) as caught:
        convert(plugin, "fp32", tmp_path / "made", options={name: value})
    assert caught.value.code is Code.BUILD_OPTION


def test_it_answers_like_its_parent(tmp_path: Path) -> None:
    exact = convert(plugin, "fp32", tmp_path / "fp32").answers(plugin, digits()[:64])["logits"]
    answers = convert(plugin, "int8", tmp_path / "int8").answers(plugin, digits()[:64])["logits"]
    assert (answers.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.96


def test_a_build_ships_the_spec_and_says_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "digits-1.1"
    request = BuildRequest(
        model=DIGITS / "digits-1.1.onnx",
        name="digits",
        version="1.1",
        classes=("jetson-tensorrt",),
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        output=folder,
        known_classes=SHIPPED,
        limits=QUICK,
    )
    manifest = build(request, lambda event: None, SystemClock()).manifest
    assert manifest is not None
    variants = manifest.variants
    assert sorted(item.recipe for item in variants) == ["fp16", "int8"]
    for item in variants:
        assert {ENGINE_SPEC_NAME, "model.onnx"} <= {file.path for file in item.files}
        assert item.runtime.name == "tensorrt"
        assert item.measurements.measured_with == "onnxruntime"
        assert (item.measurements.latency_us, item.measurements.rss_bytes) == (None, None)
        assert item.measurements.drop_points <= 1
        spec, _ = read_spec(folder / "variants" / item.name)
        model = next(file for file in item.files if file.path == spec.model)
        assert spec.model_sha256 == model.sha256, "one signed file names the digest of the other"


@pytest.mark.slow
def test_every_recipe_gives_the_same_bytes_in_fresh_processes(tmp_path: Path) -> None:
    module = type(plugin).__module__
    one = digests_in_a_fresh_process(module, tmp_path / "one", 1)
    two = digests_in_a_fresh_process(module, tmp_path / "two", 2)
    assert len(set(one.values())) == len(one) == len(every_recipe(plugin))
    assert one == two
