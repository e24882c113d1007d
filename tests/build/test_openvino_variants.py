"""OpenVINO's recipes: what is quantized, what stays float, what the class's options do."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from modelfleet_build.optimizers.openvino import plugin
from modelfleet_build.optimizers.openvino_nncf import likeness
from modelfleet_build.registry import recipe_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

from .conversions import SOURCES, Made, convert, digests_in_a_fresh_process, digits, every_recipe, images


@pytest.fixture(autouse=True)
def _foreign_warnings() -> Iterator[None]:
    """NNCF warns of its own affairs; in a build it runs in a child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def weights_quantised(made: Made) -> set[str]:
    """Names of convolutions whose weights are int8, in the file or (depthwise ones) once it is loaded."""
    root = ElementTree.parse(made.entry).getroot()
    nodes = {item.attrib["id"]: item for item in root.iter("layer")}
    givers = {(e.attrib["to-layer"], e.attrib["to-port"]): e.attrib["from-layer"] for e in root.iter("edge")}
    found = set()
    for key, item in nodes.items():
        if item.attrib["type"] in ("Convolution", "GroupConvolution"):
            current = nodes[givers[key, "1"]]
            while current.attrib["type"] not in ("Const", "FakeQuantize"):
                current = nodes[givers[current.attrib["id"], "0"]]
            data = current.find("data")
            assert data is not None
            if data.attrib.get("element_type") == "i8" or data.attrib.get("levels") == "255":
                found.add(item.attrib["name"].removesuffix("/WithoutBiases"))
    return found


def convolutions() -> list[str]:
    return [node.output[0] for node in onnx.load(SOURCES["digits"]).graph.node if node.op_type == "Conv"]


def test_int8_quantises_every_convolution_and_fp16_none(tmp_path: Path) -> None:
    assert len(weights_quantised(convert(plugin, "int8", tmp_path / "int8"))) == 13
    assert not weights_quantised(convert(plugin, "fp16", tmp_path / "fp16"))


def test_kept_nodes_are_float(tmp_path: Path) -> None:
    kept = [convolutions()[0], convolutions()[5]]
    made = convert(plugin, "int8", tmp_path / "made", keep_float=kept)
    names = {name.removesuffix("_output_0") for name in kept}
    whole = {name.removesuffix("_output_0") for name in convolutions()}
    assert weights_quantised(made) == whole - names
    assert not made.converted.notes


def test_a_kept_node_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="'nowhere'") as caught:
        convert(plugin, "int8", tmp_path / "made", keep_float=["nowhere"])
    assert caught.value.code is Code.KEEP_FLOAT_UNKNOWN


@pytest.mark.parametrize("name", ["fp16", "int8", "int8-accuracy"])
def test_models_with_several_outputs(tmp_path: Path, name: str) -> None:
    samples = images("scenes", 14)
    made = convert(plugin, name, tmp_path / "made", SOURCES["scenes"], samples)
    exact = onnxruntime.InferenceSession(str(made.task.model), providers=["CPUExecutionProvider"])
    expected: list[Any] = list(exact.run(None, {"image": samples}))
    for value, wanted in zip(made.answers(plugin, samples).values(), expected, strict=True):
        error = float(np.sqrt(((value - wanted) ** 2).mean() / (wanted**2).mean()))
        assert error < (0.005 if name == "fp16" else 0.25)


def test_accuracy_control_gives_back_operators_until_it_is_content(tmp_path: Path) -> None:
    """A limit that plain quantization cannot meet: some operators must come back, and the report says so."""
    recipe = recipe_of(plugin, "int8-accuracy")
    strict = type(recipe)(
        recipe.name,
        recipe.precision,
        {**recipe.parameters, "max_drop": "0", "most_operators_in_float": "2"},
        needs_calibration=True,
    )
    blends = (digits()[:60] + digits()[60:120]) * np.float32(0.5)  # two digits in each: hard to decide
    plain = weights_quantised(convert(plugin, "int8", tmp_path / "plain"))
    made = convert(plugin, strict, tmp_path / "strict", samples=blends)
    assert 1 <= len(plain) - len(weights_quantised(made)) <= 2
    assert "100 % was wanted" in made.converted.notes[-1]
    loose = convert(plugin, "int8-accuracy", tmp_path / "loose", samples=digits()[:24])
    assert "is reached" in loose.converted.notes[-1]


def test_accuracy_control_wants_enough_to_hold_back(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as caught:
        convert(plugin, "int8-accuracy", tmp_path / "made", samples=digits()[:11])
    assert caught.value.code is Code.CALIBRATION_TOO_FEW


def test_likeness_weighs_decisions_by_the_margin_of_the_reference() -> None:
    reference = np.array([[3.0, 0.0, 1.0]], np.float32)
    assert likeness(reference, reference + 5) == 1.0
    assert likeness(reference, -reference) == 0.0
    assert likeness(reference, np.full_like(reference, np.nan)) == 0.0
    places = np.array([[[9.0, 1.0], [0.0, 0.0]]], np.float32)  # margins 9 and 1
    changed = np.array([[[9.0, 0.0], [0.0, 1.0]]], np.float32)
    assert likeness(places, changed) == pytest.approx(0.9)
    one = np.array([[4.0]], np.float32)
    assert likeness(one, one * np.float32(0.75)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"device": "AUTO"}, "AUTO"),
        ({"device": "HETERO:GPU,CPU"}, "HETERO"),
        ({"device": "gpu"}, "gpu"),
        ({"inferencePrecision": "int8"}, "int8"),
        ({"device": "NPU"}, "NPU"),
    ],
)
def test_options_that_are_not_possible(tmp_path: Path, options: dict[str, str], word: str) -> None:
    with pytest.raises(CallerError, match=word) as caught:
        convert(plugin, "fp16", tmp_path / "made", options=options)
    assert caught.value.code is Code.BUILD_OPTION


def test_a_variant_for_a_gpu_is_measured_on_the_processor_and_says_so(tmp_path: Path) -> None:
    options = {"device": "GPU.1", "inferencePrecision": "f16"}
    made = convert(plugin, "fp16", tmp_path / "made", options=options)
    assert plugin.runtime_options(options) == options
    assert made.converted.stand_in is not None
    assert made.converted.stand_in.shipped
    assert "GPU.1" in made.converted.stand_in.why
    assert made.answers(plugin, digits()[:2])["logits"].shape == (2, 10)
    assert convert(plugin, "fp16", tmp_path / "cpu", options={"device": "CPU"}).converted.stand_in is None


@pytest.mark.slow
def test_every_recipe_gives_the_same_bytes_in_fresh_processes(tmp_path: Path) -> None:
    module = type(plugin).__module__
    one = digests_in_a_fresh_process(module, tmp_path / "one", 1)
    two = digests_in_a_fresh_process(module, tmp_path / "two", 2)
    assert len(one) == len(every_recipe(plugin))
    assert one == two
