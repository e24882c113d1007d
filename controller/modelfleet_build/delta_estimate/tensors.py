"""The constant tensors of a variant by name, and the scales of its quantization, from ONNX, TFLite and IR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

MAX_FILE_BYTES = 1024 * 1024 * 1024

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One constant.

    Attributes:
        name: In the file.
        kind: Element type, as the format calls it.
        item: Bytes of one element.
        shape: Dimensions.
        data: Its bytes, [elements * item].
    """

    name: str
    kind: str
    item: int
    shape: tuple[int, ...]
    data: Bytes

    @property
    def is_small_integer(self) -> bool:
        """Whether it is an int8 or uint8 tensor: quantized weights."""
        return self.kind in ("int8", "uint8")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a variant holds.

    Attributes:
        tensors: Every constant but the scales, in the order of the file.
        activation_scales: Name -> numbers that say how a value between operators is stored.
        weight_scales: Name of the tensor -> the same of a constant.
        normalisations: Number of batch normalisations that were not folded.
        content: The files as they are, for their compressed size.
    """

    tensors: tuple[Tensor, ...]
    activation_scales: dict[str, tuple[float, ...]]
    weight_scales: dict[str, tuple[float, ...]]
    normalisations: int
    content: tuple[Bytes, ...]


def read_weights(folder: Path, entry: str) -> Weights | None:
    """Read a variant's constants; None for a format that keeps them to itself (engines, accelerators)."""
    path = folder / entry
    reader = _READERS.get(path.suffix)
    return reader(path) if reader is not None else None


def _onnx(path: Path) -> Weights:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    activations: dict[str, tuple[float, ...]] = {}
    weights: dict[str, tuple[float, ...]] = {}
    parameters: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        numbers = [constants[name] for name in node.input[1:] if name in constants]
        parameters.update(node.input[1:])
        told = tuple(float(n) for item in numbers for n in np.asarray(item).reshape(-1))
        if node.input[0] in constants:
            weights[node.input[0]] = told
        elif node.op_type == "QuantizeLinear":
            activations[node.input[0]] = told
    tensors = tuple(
        _tensor(name, value) for name, value in constants.items() if name not in parameters and value.size
    )
    normalisations = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    return Weights(tensors, activations, weights, normalisations, (np.fromfile(path, np.uint8),))


def _tensor(name: str, value: npt.NDArray[Any]) -> Tensor:
    data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    return Tensor(name, value.dtype.name, value.dtype.itemsize, tuple(value.shape), data)


def _tflite(path: Path) -> Weights:
    from modelfleet_build.tflite.reader import read_constants

    content = np.fromfile(path, np.uint8)
    found = read_constants(content.tobytes())
    tensors = tuple(
        Tensor(item.name, item.kind, item.item, item.shape, item.data)
        for item in found
        if item.data is not None
    )
    activations = {item.name: item.scales for item in found if item.data is None and item.scales}
    weights = {item.name: item.scales for item in found if item.data is not None and item.scales}
    return Weights(tensors, activations, weights, 0, (content,))


_IR_KINDS = {"f32": ("float32", 4), "f16": ("float16", 2), "i8": ("int8", 1), "u8": ("uint8", 1)}


def _openvino(path: Path) -> Weights:
    """The IR: layers in XML, their constants by offset in one binary file beside it."""
    text = path.read_text(encoding="utf-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(f"{path.name} declares entities, which no intermediate representation does")
    root = ElementTree.fromstring(text)
    binary = np.fromfile(path.with_suffix(".bin"), np.uint8)
    layers = {item.get("id", ""): item for item in root.iter("layer")}
    readers: dict[str, set[str]] = {}
    for edge in root.iter("edge"):
        target = layers.get(edge.get("to-layer", ""))
        kind = target.get("type", "") if target is not None else ""
        readers.setdefault(edge.get("from-layer", ""), set()).add(kind)
    tensors: list[Tensor] = []
    activations: dict[str, tuple[float, ...]] = {}
    for key, layer in layers.items():
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None:
            continue
        name, begin, length = layer.get("name", key), int(data.get("offset", 0)), int(data.get("size", 0))
        kind, item = _IR_KINDS.get(data.get("element_type", ""), (data.get("element_type", ""), 1))
        shape = tuple(int(n) for n in data.get("shape", "").split(",") if n.strip())
        content = binary[begin : begin + length]
        if readers.get(key) == {"FakeQuantize"} and kind in ("float32", "float16"):
            # The four ends of one quantizer are one range: NAME/input_low, NAME/input_high and so on.
            numbers = tuple(float(n) for n in content.view(np.dtype(kind)))
            quantizer = name.rpartition("/")[0] or name
            activations[quantizer] = (*activations.get(quantizer, ()), *numbers)
        else:
            tensors.append(Tensor(name, kind, item, shape, content))
    return Weights(tuple(tensors), activations, {}, 0, (np.fromfile(path, np.uint8), binary))


_READERS: dict[str, Callable[[Path], Weights]] = {".onnx": _onnx, ".tflite": _tflite, ".xml": _openvino}
