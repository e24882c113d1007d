"""Operators that take parts and put parts together: slice, split, gather, concatenate, pad."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import MAX_RANK, Emitter
from modelfleet_build.tflite.graph import Node
from modelfleet_build.tflite.ops import image
from modelfleet_build.tflite.ops.elementwise import common_order
from modelfleet_build.tflite.padding import Pair


def concat(emitter: Emitter, node: Node) -> None:
    """``Concat`` of values and constants -> CONCATENATION."""
    rank = emitter.rank(node.output)
    order = common_order(emitter, node.inputs, rank)
    tensors = [emitter.get(name, order) for name in node.inputs]
    place = order.index(node.integer("axis", 1) % rank)
    emitter.define(node.output, image.concatenate(emitter, tensors, place), order)


def split(emitter: Emitter, node: Node) -> None:
    """``Split`` -> SPLIT, or a SLICE for each part where they differ (SPLIT_V has no int8 recipe)."""
    source = node.inputs[0]
    order, axis = emitter.order(source), node.integer("axis", 0) % emitter.rank(source)
    sizes = _split_sizes(emitter, node, axis)
    parts = image.split(emitter, emitter.get(source), sizes, order.index(axis))
    for name, part in zip(node.outputs, parts, strict=True):
        if name and name in emitter.graph.shapes:
            emitter.define(name, part, order)


def _split_sizes(emitter: Emitter, node: Node, axis: int) -> tuple[int, ...]:
    stated = emitter.integers(node, 1) if node.has_input(1) else node.integers("split", None)
    if stated:
        return stated
    total, count = emitter.graph.shape(node.inputs[0])[axis], len(node.outputs)
    size = -(-total // count)
    return (*(size,) * (count - 1), total - size * (count - 1))


def slice_(emitter: Emitter, node: Node) -> None:
    """``Slice`` -> SLICE, or STRIDED_SLICE where it has steps; negative ones are a REVERSE_V2 before."""
    source = node.inputs[0]
    shape, order, tensor = emitter.graph.shape(source), emitter.order(source), emitter.get(source)
    starts, ends, axes, steps = _bounds(emitter, node)
    begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        size, axis = shape[axis], axis % len(shape)
        first, last, by = slice(start, stop, step).indices(size)
        count = len(range(first, last, by))
        if by < 0:
            # Counted from the other end the same elements come with a positive step.
            first, by, tensor = size - 1 - first, -by, _reversed(emitter, tensor, order.index(axis))
        begin[axis], end[axis], stride[axis] = first, first + (count - 1) * by + 1, by
    by_place = [[amounts[axis] for axis in order] for amounts in (begin, end, stride)]
    emitter.define(node.output, strided(emitter, tensor, *by_place), order)


def _bounds(emitter: Emitter, node: Node) -> tuple[tuple[int, ...], ...]:
    """Starts, ends, axes and steps, from inputs or (up to opset 9) attributes."""
    if len(node.inputs) > 1:
        starts, ends = emitter.integers(node, 1), emitter.integers(node, 2)
        axes = emitter.integers(node, 3) if node.has_input(3) else tuple(range(len(starts)))
        steps = emitter.integers(node, 4) if node.has_input(4) else (1,) * len(starts)
    else:
        starts, ends = node.integers("starts", None) or (), node.integers("ends", None) or ()
        axes = node.integers("axes", None) or tuple(range(len(starts)))
        steps = (1,) * len(starts)
    return starts, ends, axes, steps


def strided(emitter: Emitter, tensor: int, begin: list[int], end: list[int], stride: list[int]) -> int:
    """Elements from ``begin`` to ``end`` of every stored axis."""
    shape = emitter.dims(tensor)
    result = tuple(-(-(last - first) // by) for first, last, by in zip(begin, end, stride, strict=True))
    if result == shape:
        return tensor
    if len(shape) > MAX_RANK:
        for place in range(len(shape)):
            tensor = _strided_axis(emitter, tensor, place, (begin[place], end[place], stride[place]))
        return tensor
    if set(stride) == {1}:
        return image.crop(emitter, tensor, tuple(begin), result)
    inputs = [
        tensor,
        *(
            emitter.int32(name, item)
            for name, item in zip(("begin", "end", "step"), (begin, end, stride), strict=True)
        ),
    ]
    return emitter.op("STRIDED_SLICE", inputs, result, "StridedSliceOptions")


def _strided_axis(emitter: Emitter, tensor: int, place: int, bounds: tuple[int, int, int]) -> int:
    """Slice one stored axis; a tensor of high rank is taken as one of three axes."""
    shape = emitter.dims(tensor)
    begin, end, stride = bounds
    if len(shape) <= MAX_RANK:
        begins, ends, strides = [0] * len(shape), list(shape), [1] * len(shape)
        begins[place], ends[place], strides[place] = begin, end, stride
        return strided(emitter, tensor, begins, ends, strides)
    before, behind = int(np.prod(shape[:place])), int(np.prod(shape[place + 1 :]))
    middle = emitter.reshape(tensor, (before, shape[place], behind))
    part = strided(emitter, middle, [0, begin, 0], [before, end, behind], [1, stride, 1])
    return emitter.reshape(part, (*shape[:place], emitter.dims(part)[1], *shape[place + 1 :]))


def _reversed(emitter: Emitter, tensor: int, place: int) -> int:
    inputs = [tensor, emitter.int32("axis", [place])]
    return emitter.op("REVERSE_V2", inputs, emitter.dims(tensor), "ReverseV2Options")


def gather(emitter: Emitter, node: Node) -> None:
    """``Gather`` by constant indices -> SLICE where they are neighbours, else GATHER."""
    source = node.inputs[0]
    shape, order, axis = emitter.graph.shape(source), emitter.order(source), node.integer("axis", 0)
    axis %= len(shape)
    indices = np.asarray(emitter.integers(node, 1))
    dimensions = emitter.graph.shape(node.inputs[1])
    indices = np.where(indices < 0, indices + shape[axis], indices)
    if indices.size == 0 or indices.min() < 0 or indices.max() >= shape[axis]:
        raise node.refuse(f"its indices are not within the {shape[axis]} elements of axis {axis}")
    part = take(emitter, emitter.get(source), [int(item) for item in indices], order.index(axis))
    # The axis gives way to the axes of the indices, which stay together where it was.
    final: list[int] = []
    for item in order:
        if item == axis:
            final += range(axis, axis + len(dimensions))
        else:
            final.append(item if item < axis else item - 1 + len(dimensions))
    result = emitter.graph.shape(node.output)
    emitter.define(node.output, emitter.reshape(part, [result[item] for item in final]), tuple(final))


def take(emitter: Emitter, tensor: int, indices: list[int], place: int) -> int:
    """Chosen elements of a stored axis, in the order of ``indices``."""
    shape = emitter.dims(tensor)
    if indices == list(range(indices[0], indices[0] + len(indices))):
        return _strided_axis(emitter, tensor, place, (indices[0], indices[-1] + 1, 1))
    result = (*shape[:place], len(indices), *shape[place + 1 :])
    return emitter.op(
        "GATHER", [tensor, emitter.int32("indices", indices)], result, "GatherOptions", axis=place
    )


def pad(emitter: Emitter, node: Node) -> None:
    """``Pad`` -> PAD, PADV2 or MIRROR_PAD; negative pads cut off first."""
    source, mode = node.inputs[0], node.text("mode", "constant")
    shape, order = emitter.graph.shape(source), emitter.order(source)
    amounts = pad_amounts(emitter, node, shape)
    cut = [(max(-amounts[axis][0], 0), max(-amounts[axis][1], 0)) for axis in order]
    added = [(max(amounts[axis][0], 0), max(amounts[axis][1], 0)) for axis in order]
    tensor = emitter.get(source)
    sizes = emitter.dims(tensor)
    ends = [size - pair[1] for size, pair in zip(sizes, cut, strict=True)]
    tensor = strided(emitter, tensor, [pair[0] for pair in cut], ends, [1] * len(sizes))
    if any(any(pair) for pair in added):
        tensor = _padded(emitter, node, tensor, added, mode)
    emitter.define(node.output, tensor, order)


def pad_amounts(emitter: Emitter, node: Node, shape: tuple[int, ...]) -> list[Pair]:
    """Elements before and after each logical axis."""
    rank = len(shape)
    pads = emitter.integers(node, 1) if node.has_input(1) else node.integers("pads", None) or ()
    axes = emitter.integers(node, 3) if node.has_input(3) else tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise node.refuse(f"pads {list(pads)} do not fit {len(axes)} axes")
    amounts: list[Pair] = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        amounts[axis % rank] = (pads[position], pads[position + len(axes)])
    return amounts


def _padded(emitter: Emitter, node: Node, tensor: int, amounts: list[Pair], mode: str) -> int:
    if len(amounts) > MAX_RANK:
        raise node.refuse(f"padding of rank {len(amounts)} cannot be converted")
    if mode == "constant":
        filler = _filler(emitter, node)
        if filler == 0.0:
            return image.pad(emitter, tensor, amounts)
        shape = [size + sum(pair) for size, pair in zip(emitter.dims(tensor), amounts, strict=True)]
        value = emitter.constant(f"{node.name}:filler", np.full(1, filler, np.float32))
        return emitter.op("PADV2", [tensor, emitter.int32("pads", amounts), value], shape, "PadV2Options")
    if mode == "reflect":
        if any(max(pair) >= size for pair, size in zip(amounts, emitter.dims(tensor), strict=True)):
            raise node.refuse("a reflection longer than the axis cannot be converted")
        return image.pad(emitter, tensor, amounts, "REFLECT")
    if mode == "edge":
        return image.extend(emitter, tensor, amounts)
    raise node.refuse(f"mode {mode!r} cannot be converted, only constant, reflect and edge")


def _filler(emitter: Emitter, node: Node) -> float:
    if node.has_input(2):
        return float(emitter.floats(node, 2).reshape(-1)[0])
    return node.number("value", 0.0)
