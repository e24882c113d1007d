"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.emitter import MAX_RANK, Emitter
from modelfleet_build.tflite.graph import Kind, Node
from modelfleet_build.tflite.layout import Order
from modelfleet_build.tflite.ops.elementwise import EmitFunction
from modelfleet_build.tflite.writer import kind_code

Step = Callable[[Emitter, int], int]


def _square(emitter: Emitter, tensor: int) -> int:
    return arithmetic.binary(emitter, "MUL", tensor, tensor)


def _absolute(emitter: Emitter, tensor: int) -> int:
    return arithmetic.unary(emitter, "ABS", tensor)


def _root(emitter: Emitter, tensor: int) -> int:
    return arithmetic.unary(emitter, "SQRT", tensor)


def _logarithm(emitter: Emitter, tensor: int) -> int:
    return arithmetic.unary(emitter, "LOG", tensor)


def _exponential(emitter: Emitter, tensor: int) -> int:
    return arithmetic.unary(emitter, "EXP", tensor)


def _same(emitter: Emitter, tensor: int) -> int:
    return tensor


def reduction(code: str, before: Step = _same, after: Step = _same) -> EmitFunction:
    """A reduction by one TFLite operator, with steps on every element before and after it."""

    def emit(emitter: Emitter, node: Node) -> None:
        source = node.inputs[0]
        axes, order = reduced_axes(emitter, node), emitter.order(source)
        if not axes:
            emitter.define(node.output, after(emitter, before(emitter, emitter.get(source))), order)
            return
        places = [position for position, axis in enumerate(order) if axis in axes]
        tensor = before(emitter, emitter.get(source))
        result = after(emitter, _reduced(emitter, tensor, places, code))
        define_reduced(emitter, node, result, axes, order)

    return emit


square_sum = reduction("SUM", before=_square)
absolute_sum = reduction("SUM", before=_absolute)
norm = reduction("SUM", before=_square, after=_root)
log_sum = reduction("SUM", after=_logarithm)


def log_sum_exp(emitter: Emitter, node: Node) -> None:
    """``ReduceLogSumExp``, with the maximum taken out so that nothing overflows."""
    source = node.inputs[0]
    axes, order = reduced_axes(emitter, node), emitter.order(source)
    places = [position for position, axis in enumerate(order) if axis in axes]
    tensor = emitter.get(source)
    if not places:
        emitter.define(node.output, tensor, order)
        return
    largest = arithmetic.mean(emitter, tensor, places, "REDUCE_MAX")
    powers = _exponential(emitter, arithmetic.binary(emitter, "SUB", tensor, largest))
    total = _logarithm(emitter, arithmetic.mean(emitter, powers, places, "SUM"))
    define_reduced(emitter, node, arithmetic.binary(emitter, "ADD", total, largest), axes, order)


def reduced_axes(emitter: Emitter, node: Node) -> tuple[int, ...]:
    """The logical axes of a reduction, from its attribute or second input; empty where it does nothing."""
    rank = emitter.rank(node.inputs[0])
    axes = emitter.integers(node, 1) if node.has_input(1) else node.integers("axes", None)
    if axes:
        return tuple(sorted({axis % rank for axis in axes}))
    return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))


def define_reduced(emitter: Emitter, node: Node, tensor: int, axes: tuple[int, ...], order: Order) -> None:
    """Define the output from a tensor that kept the reduced axes with size 1."""
    if node.integer("keepdims", 1):
        emitter.define(node.output, tensor, order)
        return
    left = [axis for axis in order if axis not in axes]
    numbers = {axis: number for number, axis in enumerate(sorted(left))}
    final = tuple(numbers[axis] for axis in left)
    shape = emitter.graph.shape(node.output)
    emitter.define(node.output, emitter.reshape(tensor, [shape[axis] for axis in final]), final)


def extreme_index(code: str) -> EmitFunction:
    """``ArgMax`` and ``ArgMin`` -> ARG_MAX and ARG_MIN."""
    options = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[code]

    def emit(emitter: Emitter, node: Node) -> None:
        if node.integer("select_last_index", 0):
            raise node.refuse("select_last_index cannot be converted")
        source = node.inputs[0]
        order = emitter.order(source)
        axis = node.integer("axis", 0) % emitter.rank(source)
        place = order.index(axis)
        tensor = emitter.get(source)
        shape = [*emitter.dims(tensor)]
        del shape[place]
        where = emitter.constant(f"{node.name}:axis", np.asarray(place, np.int32))
        result = emitter.op(
            code, [tensor, where], shape, options, kind=Kind.INT64, outputType=kind_code("INT64")
        )
        kept = emitter.reshape(result, (*shape[:place], 1, *shape[place:]))
        define_reduced(emitter, node, kept, (axis,), order)

    return emit


def _reduced(emitter: Emitter, tensor: int, places: list[int], code: str) -> int:
    """Reduce stored axes; a tensor of a high rank is reduced as the merged one that it is."""
    shape = emitter.dims(tensor)
    if len(shape) <= MAX_RANK:
        return arithmetic.mean(emitter, tensor, places, code)
    groups: list[tuple[bool, int]] = []
    for place, size in enumerate(shape):
        if groups and groups[-1][0] == (place in places):
            groups[-1] = (groups[-1][0], groups[-1][1] * size)
        else:
            groups.append((place in places, size))
    merged = emitter.reshape(tensor, [size for _, size in groups])
    result = arithmetic.mean(emitter, merged, [i for i, (gone, _) in enumerate(groups) if gone], code)
    return emitter.reshape(result, [1 if place in places else size for place, size in enumerate(shape)])
