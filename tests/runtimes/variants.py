"""Real variants of digits:1.1 on disk for each runtime, and what onnxruntime answers for real images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx

from modelfleet_build.tflite import convert
from modelfleet_core.release.contract import (
    BATCH,
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_runtimes.binding import FloatArray

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MODEL = DIGITS / "digits-1.1.onnx"
IMAGE = LogicalTensor("image", (BATCH, 1, 32, 32), Layout.NCHW, minimum=0.0, maximum=1.0)
LOGITS = LogicalTensor("logits", (BATCH, 10))


def images(count: int) -> FloatArray:
    with np.load(DIGITS / "live.npz", allow_pickle=False) as arrays:
        values: FloatArray = arrays["images"][:count].astype(np.float32) / np.float32(255)
        return values


def labels(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    with np.load(DIGITS / "live.npz", allow_pickle=False) as arrays:
        return np.asarray(arrays["labels"][:count], np.int64)


def contract(layout: Layout, shape: tuple[int, ...], output: tuple[int, ...]) -> InputContract:
    image = PhysicalTensor("image", DType.FLOAT32, layout, shape)
    logits = PhysicalTensor("logits", DType.FLOAT32, Layout.ANY, output)
    return InputContract((TensorBinding(IMAGE, image),), (TensorBinding(LOGITS, logits),))


def onnx_variant(folder: Path) -> tuple[str, InputContract]:
    shutil.copyfile(MODEL, folder / "model.onnx")
    return "model.onnx", contract(Layout.NCHW, (BATCH, 1, 32, 32), (BATCH, 10))


def tflite_variant(folder: Path) -> tuple[str, InputContract]:
    (folder / "model.tflite").write_bytes(convert(onnx.load(MODEL)).data)
    return "model.tflite", contract(Layout.NHWC, (1, 32, 32, 1), (1, 10))


def openvino_variant(folder: Path) -> tuple[str, InputContract]:
    import openvino

    model = openvino.Core().read_model(str(MODEL))
    model.reshape([1, 1, 32, 32])
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    return "model.xml", contract(Layout.NCHW, (1, 1, 32, 32), (1, 10))
