"""ONNX model -> TFLite float32 model, exactly or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from modelfleet_build.tflite.canonicalise import Simplify, canonicalise
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.fusion import fuse
from modelfleet_build.tflite.graph import Graph, Refused, Shape
from modelfleet_build.tflite.ops import FUSABLE, OPERATORS
from modelfleet_build.tflite.writer import TfliteWriter

DESCRIPTION = "modelfleet onnx-to-tflite 1"


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A converted model.

    Attributes:
        data: The flatbuffer.
        inputs: Name and logical (NCHW) shape of each input; a rank-4 input is stored NHWC.
        outputs: The same of each output.
    """

    data: bytes
    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[tuple[str, Shape], ...]


def convert(model: onnx.ModelProto, simplify: Simplify | None = None) -> TfliteModel:
    """Convert ``model`` with batch 1.

    Args:
        model: A checked float32 ONNX model whose data is inside the file.
        simplify: See `canonicalise`.

    Returns:
        The model with one signature ``serving_default`` whose tensors have the ONNX names. Every tensor of
        rank 4 is stored NHWC, every other as in the ONNX model.

    Raises:
        Refused: Some node cannot be expressed exactly; it is named.
    """
    graph = canonicalise(model, simplify)
    unsupported = unsupported_nodes(graph)
    if unsupported:
        raise unsupported[0]
    graph = fuse(graph, FUSABLE)
    writer = TfliteWriter(DESCRIPTION)
    emitter = Emitter(graph, writer)
    inputs = [(name, emitter.value(name)) for name in graph.inputs]
    for node in graph.nodes:
        OPERATORS[node.op].emit(emitter, node)
    outputs = [(name, emitter.value(name)) for name in graph.outputs]
    return TfliteModel(
        writer.finish(inputs, outputs),
        tuple((name, graph.shape(name)) for name in graph.inputs),
        tuple((name, graph.shape(name)) for name in graph.outputs),
    )


def unsupported_nodes(graph: Graph) -> list[Refused]:
    """A refusal for every node whose operator is not in the table."""
    return [
        node.refuse(f"the operator {node.op} has no conversion to TFLite yet")
        for node in graph.nodes
        if node.op not in OPERATORS
    ]
