"""Activations that could not be fused into the operator before them."""

from __future__ import annotations

import math

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.fusion import activation_of, clip_bounds
from modelfleet_build.tflite.graph import Activation, Node
from modelfleet_build.tflite.layout import last, natural
from modelfleet_build.tflite.ops.elementwise import common_order


def clip(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Relu`` and ``Clip`` -> RELU, a product with a fused clip, or MINIMUM and MAXIMUM."""
    activation = activation_of(emitter.graph, node)
    if activation is not Activation.NONE:
        return arithmetic.activated(emitter, tensor, activation)
    bounds = clip_bounds(emitter.graph, node)
    if bounds is None:
        raise node.refuse("its bounds must be constants of the model")
    lower, upper = bounds
    if lower == 0.0 and 1e-6 < upper < 1e6:
        return _clip_from_zero(emitter, tensor, upper)
    if math.isfinite(upper):
        tensor = arithmetic.binary(emitter, "MINIMUM", tensor, upper)
    if math.isfinite(lower):
        tensor = arithmetic.binary(emitter, "MAXIMUM", tensor, lower)
    if upper < lower:  # ONNX says the upper bound wins
        tensor = arithmetic.binary(emitter, "MINIMUM", tensor, upper)
    return tensor


def _clip_from_zero(emitter: Emitter, tensor: int, upper: float) -> int:
    """Clip to [0, upper] as a scaled RELU6: exact to rounding, and int8 has no MINIMUM everywhere."""
    scaled = arithmetic.binary(emitter, "MUL", tensor, 6.0 / upper, Activation.RELU6)
    return arithmetic.binary(emitter, "MUL", scaled, upper / 6.0)


def leaky_relu(emitter: Emitter, node: Node, tensor: int) -> int:
    """``LeakyRelu`` -> the larger of x and alpha x, or LEAKY_RELU for a slope above one."""
    alpha = node.number("alpha", 0.01)
    if 0.0 <= alpha <= 1.0:
        return arithmetic.binary(emitter, "MAXIMUM", tensor, arithmetic.binary(emitter, "MUL", tensor, alpha))
    return emitter.op("LEAKY_RELU", [tensor], emitter.dims(tensor), "LeakyReluOptions", alpha=alpha)


def prelu(emitter: Emitter, node: Node) -> None:
    """``PRelu`` -> RELU(x) + slope (x - RELU(x))."""
    rank = emitter.rank(node.output)
    order = common_order(emitter, node.inputs, rank)
    tensor, slope = (emitter.operand(name, rank, order) for name in node.inputs)
    above = arithmetic.unary(emitter, "RELU", tensor)
    below = arithmetic.binary(emitter, "SUB", tensor, above)
    result = arithmetic.binary(emitter, "ADD", above, arithmetic.binary(emitter, "MUL", below, slope))
    emitter.define(node.output, result, order)


def elu(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Elu`` -> ELU; other slopes than one scale what is below zero."""
    return _scaled_elu(emitter, tensor, node.number("alpha", 1.0), 1.0)


def selu(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Selu`` -> a scaled ELU."""
    alpha = node.number("alpha", 1.67326319217681884765625)
    return _scaled_elu(emitter, tensor, alpha, node.number("gamma", 1.05070102214813232421875))


def _scaled_elu(emitter: Emitter, tensor: int, alpha: float, gamma: float) -> int:
    result = arithmetic.unary(emitter, "ELU", tensor)
    if alpha != 1.0:
        above = arithmetic.unary(emitter, "RELU", result)
        below = arithmetic.binary(emitter, "SUB", result, above)
        result = arithmetic.binary(emitter, "ADD", above, arithmetic.binary(emitter, "MUL", below, alpha))
    return result if gamma == 1.0 else arithmetic.binary(emitter, "MUL", result, gamma)


def hard_sigmoid(emitter: Emitter, node: Node, tensor: int) -> int:
    """``HardSigmoid``, clip(alpha x + beta, 0, 1), as a sixth of a RELU6."""
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    scaled = arithmetic.binary(emitter, "MUL", tensor, 6.0 * alpha)
    clipped = arithmetic.binary(emitter, "ADD", scaled, 6.0 * beta, Activation.RELU6)
    return arithmetic.binary(emitter, "MUL", clipped, 1.0 / 6.0)


def softplus(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Softplus``, log(1 + exp(x)) = max(x, 0) - log(sigmoid(|x|)), which never overflows."""
    inverse = arithmetic.unary(emitter, "LOGISTIC", arithmetic.unary(emitter, "ABS", tensor))
    above = arithmetic.unary(emitter, "RELU", tensor)
    return arithmetic.binary(emitter, "SUB", above, arithmetic.unary(emitter, "LOG", inverse))


def mish(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Mish`` -> x tanh(softplus(x))."""
    gate = arithmetic.unary(emitter, "TANH", softplus(emitter, node, tensor))
    return arithmetic.binary(emitter, "MUL", tensor, gate)


def gelu(emitter: Emitter, node: Node, tensor: int) -> int:
    """``Gelu`` -> GELU."""
    how = node.text("approximate", "none")
    if how not in ("none", "tanh"):
        raise node.refuse(f"approximate {how!r} is unknown")
    return emitter.op("GELU", [tensor], emitter.dims(tensor), "GeluOptions", approximate=how == "tanh")


def softmax(emitter: Emitter, node: Node) -> None:
    """``Softmax`` -> SOFTMAX over the last axis, wherever the model's axis is stored."""
    _over_last(emitter, node, "SOFTMAX")


def log_softmax(emitter: Emitter, node: Node) -> None:
    """``LogSoftmax`` -> LOG_SOFTMAX over the last axis."""
    _over_last(emitter, node, "LOG_SOFTMAX")


def _over_last(emitter: Emitter, node: Node, code: str) -> None:
    source, shape = node.inputs[0], emitter.graph.shape(node.inputs[0])
    rank = len(shape)
    if rank == 0:
        raise node.refuse("a scalar has no axis")
    # Before opset 13 everything from the axis on is one axis.
    flat = emitter.graph.opset < 13
    axis = node.integer("axis", 1 if flat else -1) % rank
    behind = [other for other in range(axis, rank) if shape[other] != 1] if flat else [axis]
    if len(behind) > 1 or rank > 4:
        order = (*(other for other in natural(rank) if other not in behind), *(behind or [axis]))
        order = order if sorted(order) == list(range(rank)) else natural(rank)
        tensor = emitter.get(source, order)
        size = int(np.prod([shape[other] for other in behind]))
        rows = emitter.reshape(tensor, (int(np.prod(shape)) // size, size))
        result = emitter.reshape(_softmax(emitter, code, rows), emitter.dims(tensor))
    else:
        order = last(emitter.order(source), behind[0] if behind else axis)
        result = _softmax(emitter, code, emitter.get(source, order))
    emitter.define(node.output, result, order)


def _softmax(emitter: Emitter, code: str, tensor: int) -> int:
    shape = emitter.dims(tensor)
    if code == "SOFTMAX":
        return emitter.op(code, [tensor], shape, "SoftmaxOptions", beta=1.0)
    return emitter.op(code, [tensor], shape, "LogSoftmaxOptions")
