"""The trained detector and segmenter of `tests/build/models` and what onnxruntime answers for real scenes."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

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
from modelfleet_core.release.manifest import Decoder
from modelfleet_runtimes.binding import FloatArray

MODELS = Path(__file__).parents[1] / "build" / "models"
DETECTOR, SEGMENTER = MODELS / "scenes-1.1.onnx", MODELS / "masks-1.0.onnx"
SCENES = MODELS / "scenes.npz"

IMAGE = LogicalTensor("image", (BATCH, 1, 96, 96), Layout.NCHW, minimum=0.0, maximum=1.0)
HEADS = tuple(
    LogicalTensor(name, (BATCH, channels, 24, 24), Layout.NCHW)
    for name, channels in (("heatmap", 10), ("size", 2), ("offset", 2))
)
LOGITS = LogicalTensor("logits", (BATCH, 11, 96, 96), Layout.NCHW)
CENTERNET = Decoder("centernet", {"stride": 4.0, "size_unit": 32.0})


@cache
def scenes() -> dict[str, npt.NDArray[Any]]:
    """`images`, `boxes`, `classes` and `masks` of 48 scenes."""
    with np.load(SCENES, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def inputs(count: int) -> FloatArray:
    """[count, 1, 96, 96] float32 in 0 to 1."""
    pixels: FloatArray = scenes()["images"][:count, None].astype(np.float32) / np.float32(255)
    return pixels


@cache
def answers(model: Path, count: int) -> dict[str, FloatArray]:
    """All outputs for the first scenes."""
    network = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [item.name for item in network.get_outputs()]
    return {
        name: np.asarray(value, np.float32)
        for name, value in zip(names, network.run(names, {"image": inputs(count)}), strict=True)
    }


def write_variant(folder: Path, model: Path, runtime: str) -> tuple[str, InputContract]:
    """Lay the detector or the segmenter out for a runtime, float32; entry and contract."""
    outputs = HEADS if model == DETECTOR else (LOGITS,)
    if runtime == "onnxruntime":
        shutil.copyfile(model, folder / "model.onnx")
        return "model.onnx", _contract(outputs, Layout.NCHW, BATCH)
    if runtime in ("litert", "tflm"):
        (folder / "model.tflite").write_bytes(convert(onnx.load(model)).data)
        return "model.tflite", _contract(outputs, Layout.NHWC, 1)
    import openvino

    network = openvino.Core().read_model(str(model))
    network.reshape([1, 1, 96, 96])
    openvino.save_model(network, str(folder / "model.xml"), compress_to_fp16=False)
    return "model.xml", _contract(outputs, Layout.NCHW, 1)


def _contract(outputs: tuple[LogicalTensor, ...], layout: Layout, batch: int) -> InputContract:
    def bound(logical: LogicalTensor) -> TensorBinding:
        _, channels, high, wide = logical.shape
        sizes = (channels, high, wide) if layout is Layout.NCHW else (high, wide, channels)
        return TensorBinding(logical, PhysicalTensor(logical.name, DType.FLOAT32, layout, (batch, *sizes)))

    return InputContract((bound(IMAGE),), tuple(bound(item) for item in outputs))
