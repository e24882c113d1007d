"""Operators of one, two or many tensors, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Activation, Kind, Node
from modelfleet_build.tflite.layout import Order, channels_last, natural

EmitFunction = Callable[[Emitter, Node], None]
# Beyond it a quotient by a constant is not a product with its reciprocal.
_LEAST_DIVISOR = 1e-30


def common_order(emitter: Emitter, names: Sequence[str], rank: int) -> Order:
    """How to store the result of ``names`` broadcast to ``rank``: like the largest of them."""
    values = [name for name in names if not emitter.is_constant(name) and emitter.rank(name) == rank]
    if not values:
        return channels_last(rank) if rank == 4 else natural(rank)
    return emitter.order(max(values, key=lambda name: int(np.prod(emitter.graph.shape(name)))))


def broadcast(emitter: Emitter, node: Node) -> tuple[list[int], Order]:
    """All inputs of a node as tensors that broadcast against each other, and the order of the result."""
    rank = emitter.rank(node.output)
    order = common_order(emitter, node.inputs, rank)
    return [emitter.operand(name, rank, order) for name in node.inputs], order


def variadic(code: str) -> EmitFunction:
    """An operator of one or more broadcast inputs, by pairs; an activation runs in the last pair."""

    def emit(emitter: Emitter, node: Node) -> None:
        (result, *others), order = broadcast(emitter, node)
        for position, other in enumerate(others, start=1):
            last = position == len(others)
            result = arithmetic.binary(
                emitter, code, result, other, node.activation if last else Activation.NONE
            )
        if not others:
            result = arithmetic.activated(emitter, result, node.activation)
        emitter.define(node.output, result, order)

    return emit


def mean(emitter: Emitter, node: Node) -> None:
    """``Mean`` of its inputs -> ADD and MUL."""
    (result, *others), order = broadcast(emitter, node)
    for other in others:
        result = arithmetic.binary(emitter, "ADD", result, other)
    emitter.define(
        node.output, arithmetic.binary(emitter, "MUL", result, 1.0 / len(node.inputs), node.activation), order
    )


def divide(emitter: Emitter, node: Node) -> None:
    """``Div`` -> DIV, or MUL by the reciprocal of a constant, which NPUs have."""
    divisor = node.inputs[1]
    if not emitter.is_constant(divisor) or bool(np.any(np.abs(emitter.floats(node, 1)) < _LEAST_DIVISOR)):
        variadic("DIV")(emitter, node)
        return
    rank = emitter.rank(node.output)
    order = common_order(emitter, node.inputs, rank)
    factor = (1.0 / emitter.floats(node, 1).astype(np.float64)).astype(np.float32)
    wide = factor.reshape((1,) * (rank - factor.ndim) + factor.shape).transpose(order)
    inputs = (emitter.operand(node.inputs[0], rank, order), emitter.constant(f"{divisor}:reciprocal", wide))
    emitter.define(node.output, arithmetic.binary(emitter, "MUL", *inputs, node.activation), order)


def power(emitter: Emitter, node: Node) -> None:
    """``Pow`` -> MUL, SQRT or DIV for the exponents 2, 0.5 and -1, else POW."""
    exponent = emitter.graph.scalar(node.inputs[1])
    if exponent in (1.0, 2.0, 0.5, -1.0) and emitter.rank(node.inputs[0]) == emitter.rank(node.output):
        order, base = emitter.order(node.inputs[0]), emitter.get(node.inputs[0])
        if exponent == 1.0:
            result = base
        elif exponent == 2.0:
            result = arithmetic.binary(emitter, "MUL", base, base)
        elif exponent == 0.5:
            result = arithmetic.unary(emitter, "SQRT", base)
        else:
            result = arithmetic.binary(emitter, "DIV", emitter.floats_like(base, 1.0), base)
        emitter.define(node.output, result, order)
        return
    variadic("POW")(emitter, node)


def unary(code: str, options: str | None = None) -> EmitFunction:
    """An operator of one input without parameters."""

    def emit(emitter: Emitter, node: Node) -> None:
        source = node.inputs[0]
        result = arithmetic.unary(emitter, code, emitter.get(source), options)
        emitter.define(node.output, result, emitter.order(source))

    return emit


def composed(build: Callable[[Emitter, Node, int], int]) -> EmitFunction:
    """An operator of one input that is a composition; ``build`` gets and returns tensors."""

    def emit(emitter: Emitter, node: Node) -> None:
        source = node.inputs[0]
        emitter.define(node.output, build(emitter, node, emitter.get(source)), emitter.order(source))

    return emit


def negative(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Neg`` -> MUL by -1."""
    return arithmetic.binary(emitter, "MUL", tensor, -1.0)


def absolute(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Abs`` -> the larger of x and -x."""
    return arithmetic.binary(emitter, "MAXIMUM", tensor, negative(emitter, node, tensor))


def reciprocal(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Reciprocal`` -> DIV."""
    return arithmetic.binary(emitter, "DIV", emitter.floats_like(tensor, 1.0), tensor)


def error_function(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Erf`` by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26 (error below 1.5e-7)."""
    size = arithmetic.unary(emitter, "ABS", tensor)
    sign = arithmetic.binary(emitter, "DIV", tensor, arithmetic.binary(emitter, "MAXIMUM", size, 1e-30))
    slope = arithmetic.binary(emitter, "ADD", arithmetic.binary(emitter, "MUL", size, 0.3275911), 1.0)
    t = arithmetic.binary(emitter, "DIV", emitter.floats_like(slope, 1.0), slope)
    series = arithmetic.binary(emitter, "MUL", t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = arithmetic.binary(emitter, "MUL", arithmetic.binary(emitter, "ADD", series, coefficient), t)
    square = arithmetic.binary(emitter, "MUL", arithmetic.binary(emitter, "MUL", size, size), -1.0)
    tail = arithmetic.binary(emitter, "MUL", series, arithmetic.unary(emitter, "EXP", square))
    one = emitter.floats_like(tail, 1.0)
    return arithmetic.binary(emitter, "MUL", sign, arithmetic.binary(emitter, "SUB", one, tail))


def compare(code: str) -> EmitFunction:
    """A comparison of two inputs, or a logical operator of two conditions."""

    def emit(emitter: Emitter, node: Node) -> None:
        (left, right), order = broadcast(emitter, node)
        emitter.define(node.output, arithmetic.binary(emitter, code, left, right, kind=Kind.BOOL), order)

    return emit


def where(emitter: Emitter, node: Node) -> None:
    """``Where`` -> SELECT_V2."""
    inputs, order = broadcast(emitter, node)
    shape = np.broadcast_shapes(*(emitter.dims(item) for item in inputs))
    parts, result = (inputs, shape) if len(shape) <= 4 else arithmetic.merged(emitter, inputs, shape)
    made = emitter.op("SELECT_V2", parts, result, "SelectV2Options", kind=emitter.graph.kind(node.output))
    emitter.define(node.output, emitter.reshape(made, shape), order)


def cast(emitter: Emitter, node: Node) -> None:
    """``Cast`` between float32, integers and conditions -> CAST, or nothing where nothing changes."""
    source, kind = node.inputs[0], emitter.graph.kind(node.output)
    tensor = emitter.get(source)
    if emitter.graph.kind(source) is not kind:
        tensor = emitter.op("CAST", [tensor], emitter.dims(tensor), "CastOptions", kind=kind)
    emitter.define(node.output, tensor, emitter.order(source))
