"""Reads tensors of a TFLite file: constants with their bytes, and how each tensor is quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_KINDS = {
    schema.TensorType.FLOAT32: ("float32", 4),
    schema.TensorType.FLOAT16: ("float16", 2),
    schema.TensorType.INT8: ("int8", 1),
    schema.TensorType.UINT8: ("uint8", 1),
    schema.TensorType.INT32: ("int32", 4),
    schema.TensorType.INT64: ("int64", 8),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of the first subgraph.

    Attributes:
        name: As in the file.
        kind, item: Element type and its bytes.
        shape: As stored.
        data: Bytes of a constant, None of a value between operators.
        scales: Scales, then zero points; empty where it is not quantized.
    """

    name: str
    kind: str
    item: int
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8] | None
    scales: tuple[float, ...]


def read_constants(data: bytes) -> tuple[StoredTensor, ...]:
    """Every tensor, in the order of the file."""
    model: Any = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    return tuple(_stored(model, graph.Tensors(index)) for index in range(graph.TensorsLength()))


def _stored(model: Any, tensor: Any) -> StoredTensor:
    kind, item = _KINDS.get(tensor.Type(), (f"type {tensor.Type()}", 1))
    buffer = model.Buffers(tensor.Buffer())
    content = buffer.DataAsNumpy() if buffer is not None and buffer.DataLength() else None
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    quantization = tensor.Quantization()
    scales: tuple[float, ...] = ()
    if quantization is not None and quantization.ScaleLength():
        scales = tuple(
            float(n) for part in (quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy()) for n in part
        )
    name = (tensor.Name() or b"").decode("utf-8", "replace")
    return StoredTensor(name, kind, item, shape, content, scales)
