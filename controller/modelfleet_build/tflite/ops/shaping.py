"""Operators that change shapes and move elements: reshape, transpose, depth to space, expand."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import MAX_RANK, Emitter
from modelfleet_build.tflite.graph import Node, Shape
from modelfleet_build.tflite.layout import Order, channels_last, natural, reshape_plan, stored


def reshape(emitter: Emitter, node: Node) -> None:
    """``Reshape``, ``Flatten``, ``Squeeze``, ``Unsqueeze``: the result's shape is known, so all are one."""
    source = node.inputs[0]
    before, after, order = (
        emitter.graph.shape(source),
        emitter.graph.shape(node.output),
        emitter.order(source),
    )
    wanted, result = reshape_plan(before, after, order)
    if wanted != order and _only_products_read(emitter, node):
        emitter.flattened.add(node.output)
        return
    tensor = emitter.reshape(emitter.get(source, wanted), stored(after, result))
    emitter.define(node.output, tensor, result)


def _only_products_read(emitter: Emitter, node: Node) -> bool:
    """Whether the row that ``node`` makes is only multiplied by constants (see ``ops.dense``)."""
    shape = emitter.graph.shape(node.output)
    if len(shape) != 2 or shape[0] != 1 or node.output in emitter.graph.outputs:
        return False
    return all(
        reader.op in ("Gemm", "MatMul")
        and reader.inputs[0] == node.output
        and node.output not in reader.inputs[1:]
        and emitter.is_constant(reader.inputs[1])
        and len(emitter.graph.shape(reader.inputs[1])) == 2
        and not reader.integer("transA", 0)
        for reader in emitter.graph.consumers().get(node.output, [])
    )


def transpose(emitter: Emitter, node: Node) -> None:
    """``Transpose``: nothing moves until an operator needs it elsewhere."""
    source = node.inputs[0]
    permutation = node.integers("perm", None) or natural(emitter.rank(source))[::-1]
    order = tuple(permutation.index(axis) for axis in emitter.order(source))
    emitter.define(node.output, emitter.get(source), order)


def depth_to_space(emitter: Emitter, node: Node) -> None:
    """``DepthToSpace`` -> RESHAPE, TRANSPOSE, RESHAPE, which NPUs have and DEPTH_TO_SPACE is the same as."""
    batch, channels, height, width = emitter.graph.shape(node.inputs[0])
    block, mode = node.integer("blocksize", 1), node.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.refuse(f"mode {mode!r} is unknown")
    depth = channels // block**2
    # Stored height, width, then the channel in its three parts; block rows and columns go to their axes.
    parts = (block, block, depth) if mode == "DCR" else (depth, block, block)
    down, across, deep = (3, 4, 5) if mode == "DCR" else (4, 5, 3)
    tensor = emitter.get(node.inputs[0], channels_last(4))
    blocks = emitter.reshape(tensor, (batch, height, width, *parts))
    moved = emitter.move(blocks, (0, 1, down, 2, across, deep))
    emitter.define(
        node.output, emitter.reshape(moved, (batch, height * block, width * block, depth)), channels_last(4)
    )


def space_to_depth(emitter: Emitter, node: Node) -> None:
    """``SpaceToDepth`` -> SPACE_TO_DEPTH."""
    block, order = node.integer("blocksize", 1), channels_last(4)
    shape = stored(emitter.graph.shape(node.output), order)
    tensor = emitter.get(node.inputs[0], order)
    result = emitter.op("SPACE_TO_DEPTH", [tensor], shape, "SpaceToDepthOptions", blockSize=block)
    emitter.define(node.output, result, order)


def expand(emitter: Emitter, node: Node) -> None:
    """``Expand`` -> BROADCAST_TO."""
    rank, source = emitter.rank(node.output), node.inputs[0]
    order = emitter.order(source) if emitter.rank(source) == rank else natural(rank)
    tensor = emitter.operand(source, rank, order)
    target = stored(emitter.graph.shape(node.output), order)
    if emitter.dims(tensor) != target:
        tensor = _merged_repeat(emitter, tensor, target)
    emitter.define(node.output, tensor, order)


def tile(emitter: Emitter, node: Node) -> None:
    """``Tile`` -> TILE."""
    source = node.inputs[0]
    repeats, order, tensor = emitter.integers(node, 1), emitter.order(source), emitter.get(source)
    for place, axis in enumerate(order):
        if repeats[axis] != 1:
            shape = emitter.dims(tensor)
            # One axis at a time, as rows of everything before it: kernels for high ranks are rare.
            rows = emitter.reshape(tensor, (int(np.prod(shape[:place])), int(np.prod(shape[place:]))))
            counts = emitter.int32("repeats", (1, repeats[axis]))
            result = (emitter.dims(rows)[0], emitter.dims(rows)[1] * repeats[axis])
            rows = emitter.op("TILE", [rows, counts], result, "TileOptions")
            tensor = emitter.reshape(
                rows, (*shape[:place], shape[place] * repeats[axis], *shape[place + 1 :])
            )
    emitter.define(node.output, tensor, order)


def _merged_repeat(emitter: Emitter, tensor: int, target: Shape) -> int:
    shape = emitter.dims(tensor)
    if len(target) > MAX_RANK:
        groups: list[tuple[bool, int, int]] = []
        for size, wanted in zip(shape, target, strict=True):
            same = size == wanted
            if groups and groups[-1][0] == same:
                groups[-1] = (same, groups[-1][1] * size, groups[-1][2] * wanted)
            else:
                groups.append((same, size, wanted))
        tensor = emitter.reshape(tensor, [size for _, size, _ in groups])
        shape = tuple(wanted for _, _, wanted in groups)
    else:
        shape = target
    made = emitter.op(
        "BROADCAST_TO", [tensor, emitter.int32("shape", shape)], shape, "BroadcastToOptions", version=2
    )
    return emitter.reshape(made, target)


def identity(emitter: Emitter, node: Node) -> None:
    """An operator that changes nothing and is an output of the model."""
    source = node.inputs[0]
    order: Order = emitter.order(source)
    emitter.define(node.output, emitter.get(source), order)
