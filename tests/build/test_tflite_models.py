"""The converter on trained networks: classes, boxes and masks within 1e-4 of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from modelfleet_build.tflite import Weights, convert

from .graphs import model, node, weights
from .tflite_agreement import agree, operators, reference, run, stored

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MODELS = Path(__file__).parent / "models"
ALL = sorted(DIGITS.glob("*.onnx")) + sorted(MODELS.glob("*.onnx"))


def _images(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.load(DIGITS / "live.npz", allow_pickle=False) as arrays:
        images = arrays["images"][:12].astype(np.float32) / np.float32(255)
    return np.asarray(np.tile(images, (1, 1, side // 32, side // 32)), np.float32)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_trained_models_convert_exactly(path: Path) -> None:
    made = onnx.load(path)
    converted = convert(made)
    for image in _images(converted.inputs[0][1][-1]):
        answer = run(converted, image[None])
        for (name, _), want in zip(converted.outputs, reference(made, image[None]), strict=True):
            agree(answer[name], want)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_value_that_the_file_has_is_found_by_its_onnx_name(path: Path) -> None:
    made = onnx.load(path)
    converted = convert(made)
    names = [name for name in converted.values if name != converted.inputs[0][0]]
    produced = {name for item in made.graph.node for name in item.output}
    assert set(names) <= produced
    # All but what is fused or only reshaped: one for each operator that is not an activation.
    assert len(names) >= sum(item.op_type not in ("Relu", "Clip", "Flatten") for item in made.graph.node)
    image = _images(converted.inputs[0][1][-1])[:1]
    known = {item.name for item in made.graph.output}
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    # The optimised kernels reuse memory of intermediate tensors.
    interpreter = Interpreter(
        model_content=converted.data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored(image))
    interpreter.invoke()
    index = {item["name"]: item["index"] for item in interpreter.get_tensor_details()}
    for name, want in zip(names, reference(made, image, names), strict=True):
        place = converted.values[name]
        got = interpreter.get_tensor(index[place.tensor])
        agree(got.transpose(np.argsort(place.order)), want)


def test_a_fused_activation_is_found_under_its_own_name() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Relu", ["c"], "r"),
        node("Transpose", ["r"], "y", perm=[0, 2, 1, 3]),
    ]
    values = convert(model(nodes, (1, 3, 4, 5), {"w": weights(6, 3, 1, 1)})).values
    assert set(values) == {"x", "r", "y"}
    assert (values["r"].tensor, values["r"].order) == ("r", (0, 2, 3, 1))


def test_half_precision_weights_are_half_the_size_and_agree() -> None:
    for path in ALL:
        made = onnx.load(path)
        full, half = convert(made), convert(made, weights=Weights.FLOAT16)
        assert len(half.data) < 0.65 * len(full.data)
        assert set(operators(half.data)) == {*operators(full.data), "DEQUANTIZE"}
        for image in _images(full.inputs[0][1][-1])[:4]:
            wanted = run(full, image[None])
            for name, got in run(half, image[None]).items():
                agree(got, wanted[name], 1e-2)


def test_a_constant_that_half_precision_cannot_hold_stays_as_it_is() -> None:
    large = weights(1, 3, 8, 8)
    large[0, 0, 0, 0] = 1e6
    made = model([node("Add", ["x", "k"])], (1, 3, 8, 8), {"k": large})
    assert convert(made, weights=Weights.FLOAT16).data == convert(made).data


def test_a_classifier_becomes_fused_nhwc_operators_without_transposes() -> None:
    used = operators(convert(onnx.load(DIGITS / "digits-1.1.onnx")).data)
    assert used["CONV_2D"] + used["DEPTHWISE_CONV_2D"] == 13
    assert not {"TRANSPOSE", "RELU", "RELU6"} & set(used)


def test_constants_are_aligned_for_vector_loads() -> None:
    data = convert(onnx.load(DIGITS / "digits-1.1.onnx")).data
    model: Any = schema.Model.GetRootAs(data, 0)
    assert data[4:8] == b"TFL3"
    seen = 0
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0
            seen += 1
    assert seen > 20


def test_the_same_model_gives_the_same_bytes() -> None:
    model = onnx.load(DIGITS / "digits-1.0.onnx")
    assert convert(model).data == convert(model).data
