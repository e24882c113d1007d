"""Matrix products with constant weights."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import FloatArray, Node


def gemm(emitter: Emitter, node: Node) -> None:
    """``Gemm`` -> FULLY_CONNECTED, ``alpha`` and ``beta`` multiplied into its constants."""
    if node.integer("transA", 0):
        raise node.refuse("transA cannot be converted")
    weights = emitter.floats(node, 1) * np.float32(node.number("alpha", 1.0))
    weights = weights if node.integer("transB", 0) else weights.T
    bias = np.zeros(weights.shape[0], np.float32)
    if node.has_input(2):
        given = emitter.floats(node, 2) * np.float32(node.number("beta", 1.0))
        if given.size not in (1, weights.shape[0]):
            raise node.refuse(f"its third input has shape {list(given.shape)}, expected one value per output")
        bias = np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (weights.shape[0],)))
    _fully_connected(emitter, node, weights, bias, keep_rank=False)


def matmul(emitter: Emitter, node: Node) -> None:
    """``MatMul`` with a constant matrix on the right -> FULLY_CONNECTED."""
    shape = emitter.graph.shape(node.inputs[0])
    weights = emitter.floats(node, 1)
    if weights.ndim != 2 or len(shape) not in (2, 3):
        raise node.refuse(f"shapes {list(shape)} and {list(weights.shape)} cannot be converted")
    _fully_connected(
        emitter, node, weights.T, np.zeros(weights.shape[1], np.float32), keep_rank=len(shape) > 2
    )


def _fully_connected(
    emitter: Emitter, node: Node, weights: FloatArray, bias: FloatArray, *, keep_rank: bool
) -> None:
    """Weights are [outputs, inputs], bias [outputs]."""
    matrix = emitter.constant(f"{node.name}:weights", np.ascontiguousarray(weights, dtype=np.float32))
    vector = emitter.constant(f"{node.name}:bias", bias.astype(np.float32))
    emitter.emit(
        "FULLY_CONNECTED",
        [emitter.value(node.inputs[0]), matrix, vector],
        [emitter.value(node.output)],
        "FullyConnectedOptions",
        version=5 if keep_rank else 1,
        fusedActivationFunction=fused(node.activation),
        keepNumDims=keep_rank,
    )
