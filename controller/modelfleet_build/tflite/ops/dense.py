"""Matrix products."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import Activation, FloatArray, Node, Shape
from modelfleet_build.tflite.layout import last, natural


def gemm(emitter: Emitter, node: Node) -> None:
    """``Gemm`` -> FULLY_CONNECTED with ``alpha`` and ``beta`` in its constants, else BATCH_MATMUL."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    left, right = node.inputs[:2]
    swapped = (1, 0) if node.integer("transA", 0) else (0, 1)
    third = node.inputs[2] if node.has_input(2) and beta != 0.0 else None
    bias = None
    if emitter.is_constant(right):
        weights = emitter.floats(node, 1) * np.float32(alpha)
        weights = weights if node.integer("transB", 0) else weights.T
        if third is None or (
            emitter.is_constant(third) and _is_row(emitter.graph.shape(third), len(weights))
        ):
            row = emitter.floats(node, 2) * np.float32(beta) if third is not None else np.zeros(1, np.float32)
            bias = np.broadcast_to(row.reshape(-1), (len(weights),))
            third = None
        activation = node.activation if third is None else Activation.NONE
        source, weights = _rows(emitter, left, swapped, weights)
        result = _fully_connected(emitter, source, weights, bias, activation)
    else:
        factors = [
            emitter.get(left, swapped),
            emitter.get(right, (1, 0) if node.integer("transB", 0) else (0, 1)),
        ]
        result = batch_matmul(emitter, *factors)
        if alpha != 1.0:
            result = arithmetic.binary(emitter, "MUL", result, alpha)
        if third is None:
            result = arithmetic.activated(emitter, result, node.activation)
    if third is not None:
        addend = emitter.operand(third, 2, natural(2))
        if beta != 1.0:
            addend = arithmetic.binary(emitter, "MUL", addend, beta)
        result = arithmetic.binary(emitter, "ADD", result, addend, node.activation)
    emitter.define(node.output, result, natural(2))


def matmul(emitter: Emitter, node: Node) -> None:
    """``MatMul`` -> FULLY_CONNECTED for a constant matrix on the right, else BATCH_MATMUL."""
    left, right = node.inputs[:2]
    shapes = [list(emitter.graph.shape(name)) for name in (left, right)]
    if emitter.is_constant(right) and len(shapes[1]) == 2 and len(shapes[0]) > 1:
        bias = emitter.floats(node, 2) if node.has_input(2) else None
        rank = len(shapes[0])
        order = last(emitter.order(left), rank - 1)
        weights = np.ascontiguousarray(emitter.floats(node, 1).T)
        if rank == 2:
            source, weights = _rows(emitter, left, order, weights)
        else:
            source = emitter.get(left, order)
        emitter.define(node.output, _fully_connected(emitter, source, weights, bias, node.activation), order)
        return
    # A vector on the left is a row, one on the right a column.
    wide = [
        [1, *shapes[0]] if len(shapes[0]) == 1 else shapes[0],
        [*shapes[1], 1] if len(shapes[1]) == 1 else shapes[1],
    ]
    rank = max(map(len, wide))
    if rank > 5:
        raise node.refuse(f"a product of rank {rank} cannot be converted")
    tensors = [
        emitter.reshape(emitter.get(name, natural(len(shape))), [*[1] * (rank - len(full)), *full])
        for name, shape, full in zip((left, right), shapes, wide, strict=True)
    ]
    result = arithmetic.activated(emitter, batch_matmul(emitter, *tensors), node.activation)
    shape = emitter.graph.shape(node.output)
    emitter.define(node.output, emitter.reshape(result, shape), natural(len(shape)))


def batch_matmul(emitter: Emitter, left: int, right: int) -> int:
    """[.., m, k] by [.., k, n] with broadcast leading axes -> BATCH_MATMUL."""
    (*first, rows, _), (*second, _, columns) = emitter.dims(left), emitter.dims(right)
    shape = (*np.broadcast_shapes(tuple(first), tuple(second)), rows, columns)
    version = 1 if len(shape) < 5 else 2
    return emitter.op("BATCH_MATMUL", [left, right], shape, "BatchMatMulOptions", version=version)


def _rows(emitter: Emitter, name: str, order: tuple[int, ...], weights: FloatArray) -> tuple[int, FloatArray]:
    """A matrix to be multiplied by ``weights`` [outputs, inputs].

    Where it is an image that was flattened into one row, it is taken as it is stored and the columns of
    the weights change places instead: nothing has to be transposed on the device.
    """
    producer = emitter.graph.producers().get(name)
    if producer is None or name not in emitter.flattened or order != (0, 1):
        return emitter.get(name, order), weights
    source = emitter.stored[producer.inputs[0]]
    shape = emitter.graph.shape(producer.inputs[0])
    places = np.arange(int(np.prod(shape))).reshape(shape).transpose(source.order).reshape(-1)
    row = emitter.reshape(source.tensor, (1, len(places)))
    return row, np.ascontiguousarray(weights[:, places])


def _fully_connected(
    emitter: Emitter,
    source: int,
    weights: FloatArray,
    bias: FloatArray | None,
    activation: Activation,
) -> int:
    """Weights are [outputs, inputs], bias [outputs]."""
    name = emitter.node.name
    vector = np.zeros(len(weights), np.float32) if bias is None else bias
    matrix = emitter.constant(f"{name}:weights", np.ascontiguousarray(weights, dtype=np.float32))
    shape = (*emitter.dims(source)[:-1], len(weights))
    return emitter.op(
        "FULLY_CONNECTED",
        [source, matrix, emitter.constant(f"{name}:bias", np.ascontiguousarray(vector, dtype=np.float32))],
        shape,
        "FullyConnectedOptions",
        version=5 if len(shape) > 2 else 1,
        fusedActivationFunction=fused(activation),
        keepNumDims=len(shape) > 2,
    )


def _is_row(shape: Shape, columns: int) -> bool:
    """Whether a third input of ``Gemm`` is the same in every row."""
    return int(np.prod(shape)) == (shape[-1] if shape else 1) and int(np.prod(shape)) in (1, columns)
