"""Operators that move elements and change none: reshape, transpose, concatenate, pad, reduce an axis."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import Node
from modelfleet_build.tflite.layout import is_order_free, stored_axis, stored_order, stored_shape


def reshape(emitter: Emitter, node: Node) -> None:
    """``Reshape``, ``Flatten``, ``Squeeze``, ``Unsqueeze``: the result's shape is known, so all are one."""
    before, after = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
    # From an image to an image of one row and column (or the like) the stored order may be kept.
    source = (
        emitter.value(node.inputs[0]) if is_order_free(before) else emitter.as_logical(node.inputs[0], node)
    )
    if is_order_free(after):
        emitter.reshape(source, emitter.value(node.output), stored_shape(after))
        return
    logical = emitter.temporary(node, "logical", after)
    emitter.reshape(source, logical, after)
    emitter.from_logical(node, logical, node.output)


def transpose(emitter: Emitter, node: Node) -> None:
    """``Transpose`` of logical axes -> TRANSPOSE of stored axes, or nothing to move."""
    rank = len(emitter.graph.shape(node.inputs[0]))
    permutation = node.integers("perm", tuple(reversed(range(rank)))) or ()
    order = stored_order(rank)
    stored = [order.index(permutation[axis]) for axis in order]
    source, target = emitter.value(node.inputs[0]), emitter.value(node.output)
    if stored == list(range(rank)):
        emitter.reshape(source, target, stored_shape(emitter.graph.shape(node.output)))
    else:
        emitter.transpose(node, source, target, stored)


def concat(emitter: Emitter, node: Node) -> None:
    """``Concat`` of values and constants -> CONCATENATION."""
    rank = len(emitter.graph.shape(node.output))
    inputs = [emitter.operand(node, position, rank) for position in range(len(node.inputs))]
    emitter.emit(
        "CONCATENATION",
        inputs,
        [emitter.value(node.output)],
        "ConcatenationOptions",
        axis=stored_axis(node.integer("axis", 0), rank),
        fusedActivationFunction=fused(node.activation),
    )


def pad(emitter: Emitter, node: Node) -> None:
    """``Pad`` with a constant value -> PAD or PADV2."""
    if node.text("mode", "constant") != "constant":
        raise node.refuse(f"mode {node.text('mode', '')!r} cannot be converted, only 'constant'")
    shape = emitter.graph.shape(node.inputs[0])
    rank = len(shape)
    pads = emitter.integers(node, 1)
    axes = emitter.integers(node, 3) if node.has_input(3) else tuple(range(rank))
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise node.refuse(f"pads {list(pads)} cannot be converted")
    amounts = [[0, 0] for _ in range(rank)]
    for position, axis in enumerate(axes):
        amounts[stored_axis(axis, rank)] = [pads[position], pads[position + len(axes)]]
    filler = emitter.floats(node, 2) if node.has_input(2) else np.zeros(1, np.float32)
    source, target = emitter.value(node.inputs[0]), emitter.value(node.output)
    paddings = emitter.int32(f"{node.name}:pads", amounts)
    if float(filler.reshape(-1)[0]) == 0.0:
        emitter.emit("PAD", [source, paddings], [target], "PadOptions")
    else:
        value = emitter.constant(f"{node.name}:filler", filler.reshape(1))
        emitter.emit("PADV2", [source, paddings, value], [target], "PadV2Options")


def reduce_mean(emitter: Emitter, node: Node) -> None:
    """``ReduceMean`` -> MEAN."""
    shape = emitter.graph.shape(node.inputs[0])
    rank = len(shape)
    axes = emitter.integers(node, 1) if node.has_input(1) else node.integers("axes", None)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            raise node.refuse("noop_with_empty_axes cannot be converted")
        axes = tuple(range(rank))
    keep = bool(node.integer("keepdims", 1))
    if rank == 4 and not keep:
        left = [axis for axis in stored_order(4) if axis not in {item % 4 for item in axes}]
        if left != sorted(left):
            raise node.refuse(f"axes {list(axes)} without keepdims leave the others in another order")
    stored = sorted(stored_axis(axis, rank) for axis in axes)
    inputs = [emitter.value(node.inputs[0]), emitter.int32(f"{node.name}:axes", list(stored))]
    emitter.emit("MEAN", inputs, [emitter.value(node.output)], "ReducerOptions", keepDims=keep)
