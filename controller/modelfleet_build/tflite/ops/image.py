"""Images as the windowed operators of TFLite want them: rank 4, channels last, padded by an operator."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Kind, Node, Shape
from modelfleet_build.tflite.layout import channels_last
from modelfleet_build.tflite.padding import Pair
from modelfleet_build.tflite.writer import mirror_code


def image(emitter: Emitter, node: Node, name: str) -> int:
    """The value as [batch, height, width, channels]; a sequence [batch, channels, length] has height 1."""
    rank = emitter.rank(name)
    if rank not in (3, 4):
        raise node.refuse(f"only one and two spatial dimensions can be converted, its input has rank {rank}")
    tensor = emitter.get(name, channels_last(rank))
    batch, *spatial, channels = emitter.dims(tensor)
    return emitter.reshape(tensor, (batch, *(1,) * (4 - rank), *spatial, channels))


def define_image(emitter: Emitter, node: Node, tensor: int) -> None:
    """Make an image the output of ``node``, without its height where that is a sequence."""
    shape = emitter.graph.shape(node.output)
    order = channels_last(len(shape))
    emitter.define(node.output, emitter.reshape(tensor, [shape[axis] for axis in order]), order)


def size_of(emitter: Emitter, tensor: int) -> Pair:
    """Height and width of an image."""
    _, height, width, _ = emitter.dims(tensor)
    return height, width


def output_size(emitter: Emitter, node: Node) -> Pair:
    """Height and width of the output of ``node``."""
    shape = emitter.graph.shape(node.output)
    return (1, shape[2]) if len(shape) == 3 else (shape[2], shape[3])


def pad_image(emitter: Emitter, tensor: int, begin: Pair, end: Pair, *, by_edge: bool = False) -> int:
    """An image with rows and columns of zeros around it, or with its own outermost ones."""
    if begin == (0, 0) and end == (0, 0):
        return tensor
    amounts = [(0, 0), (begin[0], end[0]), (begin[1], end[1]), (0, 0)]
    return (extend if by_edge else pad)(emitter, tensor, amounts)


def pad(emitter: Emitter, tensor: int, amounts: list[Pair], how: str = "ZERO") -> int:
    """A tensor with elements around it, by pairs for each stored axis."""
    shape = [size + sum(pair) for size, pair in zip(emitter.dims(tensor), amounts, strict=True)]
    inputs = [tensor, emitter.int32("pads", amounts)]
    if how == "ZERO":
        return emitter.op("PAD", inputs, shape, "PadOptions")
    return emitter.op("MIRROR_PAD", inputs, shape, "MirrorPadOptions", mode=mirror_code(how))


def extend(emitter: Emitter, tensor: int, amounts: list[Pair]) -> int:
    """A tensor with its outermost elements repeated around it, by pairs for each stored axis.

    Mirroring them doubles the edge as often as is needed.
    """
    done = [(0, 0)] * len(amounts)
    while done != amounts:
        step = [
            (min(max(begin, 1), wanted[0] - begin), min(max(end, 1), wanted[1] - end))
            for (begin, end), wanted in zip(done, amounts, strict=True)
        ]
        tensor = pad(emitter, tensor, step, "SYMMETRIC")
        done = [(begin + a, end + b) for (begin, end), (a, b) in zip(done, step, strict=True)]
    return tensor


def crop(emitter: Emitter, tensor: int, begin: tuple[int, ...], shape: Shape) -> int:
    """A block of a tensor."""
    if emitter.dims(tensor) == shape:
        return tensor
    inputs = [tensor, emitter.int32("begin", begin), emitter.int32("size", shape)]
    return emitter.op("SLICE", inputs, shape, "SliceOptions")


def concatenate(emitter: Emitter, tensors: list[int], axis: int) -> int:
    """Tensors one after the other along a stored ``axis``."""
    if len(tensors) == 1:
        return tensors[0]
    shape = list(emitter.dims(tensors[0]))
    shape[axis] = sum(emitter.dims(tensor)[axis] for tensor in tensors)
    return emitter.op("CONCATENATION", tensors, shape, "ConcatenationOptions", axis=axis)


def split(emitter: Emitter, tensor: int, sizes: tuple[int, ...], axis: int) -> list[int]:
    """Parts of a tensor along a stored ``axis``: SPLIT where they are equal, else one SLICE each."""
    shape = emitter.dims(tensor)
    if len(sizes) == 1:
        return [tensor]
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    if len(set(sizes)) == 1:
        where = emitter.constant(f"{emitter.node.name}:axis", np.asarray(axis, np.int32))
        kind = Kind(emitter.writer.kind(tensor))
        return emitter.ops("SPLIT", [where, tensor], shapes, "SplitOptions", kind=kind, numSplits=len(sizes))
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    begins = [tuple(start if item == axis else 0 for item in range(len(shape))) for start in starts]
    return [crop(emitter, tensor, begin, part) for begin, part in zip(begins, shapes, strict=True)]
