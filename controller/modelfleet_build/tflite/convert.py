"""ONNX model -> TFLite float model, exactly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from modelfleet_build.tflite.canonicalise import canonicalise
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.fusion import fuse
from modelfleet_build.tflite.graph import Graph, Kind, Node, Refused, Shape
from modelfleet_build.tflite.layout import Order
from modelfleet_build.tflite.ops import FUSABLE, OPERATORS
from modelfleet_build.tflite.writer import TfliteWriter, Weights

VERSION = "onnx-to-tflite 2"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an ONNX value is in the TFLite file.

    Attributes:
        tensor: Name of the tensor.
        order: Stored axis ``i`` holds the logical axis ``order[i]``; NHWC is (0, 2, 3, 1).
    """

    tensor: str
    order: Order


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A converted model.

    Attributes:
        data: The flatbuffer.
        inputs: Name and logical (NCHW) shape of each input; a rank-4 input is stored NHWC.
        outputs: The same of each output.
        values: Where each ONNX value that the file still computes is, inputs and outputs included. What was
            fused or folded away is not there; an operator with a fused activation is there under the name
            of the activation's output.
    """

    data: bytes
    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[tuple[str, Shape], ...]
    values: Mapping[str, Place]


def convert(model: onnx.ModelProto, *, weights: Weights = Weights.FLOAT32) -> TfliteModel:
    """Convert ``model`` with batch 1.

    Args:
        model: A checked float32 ONNX model whose data is inside the file.
        weights: How constants are stored; activations are float32 either way.

    Returns:
        The model with one signature ``serving_default`` whose tensors have the ONNX names. Inputs and
        outputs of rank 4 are stored NHWC, all others as in the ONNX model. The same model gives the same
        bytes.

    Raises:
        Refused: Some node cannot be expressed exactly; it is named.
    """
    graph = canonicalise(model)
    for refused in unsupported_nodes(graph):
        raise refused
    graph = fuse(graph, FUSABLE)
    emitter = Emitter(graph, TfliteWriter(VERSION, weights))
    inputs = [(name, emitter.input(name)) for name in graph.inputs]
    for node in graph.nodes:
        _emit(emitter, node)
    taken = {tensor for _, tensor in inputs}
    outputs: list[tuple[str, int]] = []
    for name in graph.outputs:
        outputs.append((name, emitter.output(name, taken)))
        taken.add(outputs[-1][1])
    try:
        data, present = emitter.writer.finish(inputs, outputs)
    except ValueError as error:
        raise Refused(model.graph.name, "graph", str(error)) from error
    return TfliteModel(
        data,
        tuple((name, graph.shape(name)) for name in graph.inputs),
        tuple((name, graph.shape(name)) for name in graph.outputs),
        {
            name: Place(emitter.writer.name(place.tensor), place.order)
            for name, place in emitter.stored.items()
            if place.tensor in present
        },
    )


def unsupported_nodes(graph: Graph) -> list[Refused]:
    """A refusal for every node whose operator is not in the table, or not for such values."""
    refusals: list[Refused] = []
    for node in graph.nodes:
        row = OPERATORS.get(node.op)
        kinds = {graph.kind(name) for name in node.inputs if name in graph.shapes} - {Kind.FLOAT32}
        if row is None:
            refusals.append(node.refuse(f"the operator {node.op} has no conversion to TFLite yet"))
        elif kinds and not row.any_kind:
            names = ", ".join(sorted(kind.value.lower() for kind in kinds))
            refusals.append(node.refuse(f"{names} values cannot be converted, only float32"))
    return refusals


def _emit(emitter: Emitter, node: Node) -> None:
    """Emit one node; a form of it that nobody thought of is refused by name, like every other."""
    emitter.node = node
    try:
        OPERATORS[node.op].emit(emitter, node)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise node.refuse(f"the converter does not understand this form of it ({what})") from error
