"""The converter on trained networks: classes, boxes and masks within 1e-4 of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from modelfleet_build.tflite import convert

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MODELS = Path(__file__).parent / "models"
ALL = sorted(DIGITS.glob("*.onnx")) + sorted(MODELS.glob("*.onnx"))
TOLERANCE = 1e-4


def _images(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.load(DIGITS / "live.npz", allow_pickle=False) as arrays:
        images = arrays["images"][:12].astype(np.float32) / np.float32(255)
    return np.asarray(np.tile(images, (1, 1, side // 32, side // 32)), np.float32)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_trained_models_convert_exactly(path: Path) -> None:
    converted = convert(onnx.load(path))
    reference = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    runner = Interpreter(model_content=converted.data, num_threads=1).get_signature_runner()
    names = [name for name, _ in converted.outputs]
    for image in _images(converted.inputs[0][1][-1]):
        answer = runner(image=image[None].transpose(0, 2, 3, 1))
        for name, want in zip(names, reference.run(names, {"image": image[None]}), strict=True):
            assert isinstance(want, np.ndarray)
            got = answer[name].transpose(0, 3, 1, 2) if want.ndim == 4 else answer[name]
            largest = float(np.nan_to_num(np.abs(want)).max())
            np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * max(largest, 1e-3), equal_nan=True)


def _unpacked(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(bytearray(data), 0)


def test_a_classifier_becomes_fused_nhwc_operators_without_transposes() -> None:
    model = _unpacked(convert(onnx.load(DIGITS / "digits-1.1.onnx")).data)
    codes = [code.builtinCode for code in model.operatorCodes]
    used = [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]
    builtin = schema.BuiltinOperator
    assert used.count(builtin.CONV_2D) + used.count(builtin.DEPTHWISE_CONV_2D) == 13
    assert not {builtin.TRANSPOSE, builtin.RELU, builtin.RELU6} & set(used)


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
