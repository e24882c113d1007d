"""Normalisations by statistics: constant ones, and those of the sample itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.affine import gain_and_shift
from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import FloatArray, Node
from modelfleet_build.tflite.layout import channels_last
from modelfleet_build.tflite.ops.image import pad_image
from modelfleet_build.tflite.ops.pool import average


def batch_normalization(emitter: Emitter, node: Node) -> None:
    """``BatchNormalization`` that no convolution absorbed -> MUL and ADD by channel."""
    source, rank = node.inputs[0], emitter.rank(node.inputs[0])
    gain, shift = gain_and_shift(emitter.graph, node)
    order = emitter.order(source)
    shape = (1, -1, *(1,) * (rank - 2))
    factors = [
        emitter.constant(f"{node.name}:{name}", value.reshape(shape).transpose(order))
        for name, value in (("gain", gain), ("shift", shift))
    ]
    scaled = arithmetic.binary(emitter, "MUL", emitter.get(source), factors[0])
    emitter.define(node.output, arithmetic.binary(emitter, "ADD", scaled, factors[1], node.activation), order)


def instance_normalization(emitter: Emitter, node: Node) -> None:
    """``InstanceNormalization``: every channel by its own mean and variance."""
    source, rank = node.inputs[0], emitter.rank(node.inputs[0])
    order = channels_last(rank)
    tensor = standardised(
        emitter, emitter.get(source, order), range(1, rank - 1), node.number("epsilon", 1e-5)
    )
    scale, offset = emitter.floats(node, 1), emitter.floats(node, 2)
    emitter.define(node.output, _scaled(emitter, node, tensor, scale, offset), order)


def layer_normalization(emitter: Emitter, node: Node) -> None:
    """``LayerNormalization``: over all axes from ``axis`` on."""
    if len([name for name in node.outputs if name]) > 1:
        raise node.refuse("its outputs of mean and deviation cannot be converted")
    source, rank = node.inputs[0], emitter.rank(node.inputs[0])
    order = emitter.order(source)
    first = node.integer("axis", -1) % rank
    places = [position for position, axis in enumerate(order) if axis >= first]
    tensor = standardised(emitter, emitter.get(source), places, node.number("epsilon", 1e-5))
    result = arithmetic.binary(emitter, "MUL", tensor, emitter.operand(node.inputs[1], rank, order))
    if node.has_input(2):
        result = arithmetic.binary(emitter, "ADD", result, emitter.operand(node.inputs[2], rank, order))
    emitter.define(node.output, result, order)


def group_normalization(emitter: Emitter, node: Node) -> None:
    """``GroupNormalization``: groups of channels, each over the whole image."""
    source, groups = node.inputs[0], node.integer("num_groups", 1)
    order = channels_last(emitter.rank(source))
    tensor = emitter.get(source, order)
    batch, *spatial, channels = shape = emitter.dims(tensor)
    parted = emitter.reshape(tensor, (batch, int(np.prod(spatial)), groups, channels // groups))
    normal = standardised(emitter, parted, (1, 3), node.number("epsilon", 1e-5))
    scale, offset = emitter.floats(node, 1), emitter.floats(node, 2)
    # Up to opset 20 there is one scale for each group, then one for each channel.
    scale, offset = (np.repeat(item, channels // item.size) for item in (scale, offset))
    emitter.define(node.output, _scaled(emitter, node, emitter.reshape(normal, shape), scale, offset), order)


def local_response(emitter: Emitter, node: Node) -> None:
    """``LRN``: x over a power of the mean square of neighbouring channels.

    The mean is an AVERAGE_POOL_2D that takes channels for columns, which unlike
    LOCAL_RESPONSE_NORMALIZATION has an int8 form.
    """
    source, size = node.inputs[0], node.integer("size", 1)
    if size % 2 == 0:
        raise node.refuse(f"an even size ({size}) cannot be converted; onnxruntime has none either")
    order = channels_last(emitter.rank(source))
    tensor = emitter.get(source, order)
    shape = emitter.dims(tensor)
    square = arithmetic.binary(emitter, "MUL", tensor, tensor)
    channels = emitter.reshape(square, (1, int(np.prod(shape[:-1])), shape[-1], 1))
    padded = pad_image(emitter, channels, (0, (size - 1) // 2), (0, size // 2))
    mean = average(emitter, padded, (1, size))
    scaled = arithmetic.binary(emitter, "MUL", emitter.reshape(mean, shape), node.number("alpha", 1e-4))
    base = arithmetic.binary(emitter, "ADD", scaled, node.number("bias", 1.0))
    factor = _inverse_power(emitter, base, node.number("beta", 0.75))
    emitter.define(node.output, arithmetic.binary(emitter, "MUL", tensor, factor), order)


def _inverse_power(emitter: Emitter, tensor: int, exponent: float) -> int:
    """A positive tensor to the power of minus ``exponent``; by RSQRT alone where that can be."""
    root = arithmetic.unary(emitter, "RSQRT", tensor)
    if exponent == 0.5:
        return root
    if exponent in (0.75, 1.0):
        whole = arithmetic.binary(emitter, "MUL", root, root)
        if exponent == 1.0:
            return whole
        # The inverse root of the inverse root is the fourth root.
        return arithmetic.binary(emitter, "MUL", whole, arithmetic.unary(emitter, "RSQRT", root))
    return arithmetic.binary(emitter, "POW", tensor, -exponent)


def lp_normalization(emitter: Emitter, node: Node) -> None:
    """``LpNormalization`` of order 1 or 2: by the sum of absolute values or the Euclidean norm."""
    source = node.inputs[0]
    order, power = emitter.order(source), node.integer("p", 2)
    place = order.index(node.integer("axis", -1) % emitter.rank(source))
    tensor = emitter.get(source)
    if power == 1:
        total = arithmetic.mean(emitter, arithmetic.unary(emitter, "ABS", tensor), [place], "SUM")
    else:
        square = arithmetic.mean(emitter, arithmetic.binary(emitter, "MUL", tensor, tensor), [place], "SUM")
        total = arithmetic.unary(emitter, "SQRT", square)
    emitter.define(node.output, arithmetic.binary(emitter, "DIV", tensor, total), order)


def standardised(emitter: Emitter, tensor: int, places: Sequence[int], epsilon: float) -> int:
    """Mean 0 and variance 1 over stored axes."""
    centred = arithmetic.binary(emitter, "SUB", tensor, arithmetic.mean(emitter, tensor, places))
    variance = arithmetic.mean(emitter, arithmetic.binary(emitter, "MUL", centred, centred), places)
    inverse = arithmetic.unary(emitter, "RSQRT", arithmetic.binary(emitter, "ADD", variance, epsilon))
    return arithmetic.binary(emitter, "MUL", centred, inverse)


def _scaled(emitter: Emitter, node: Node, tensor: int, scale: FloatArray, offset: FloatArray) -> int:
    """Scale and offset by channel, which is stored last."""
    factor = emitter.constant(f"{node.name}:scale", scale.reshape(-1))
    product = arithmetic.binary(emitter, "MUL", tensor, factor)
    return arithmetic.binary(
        emitter, "ADD", product, emitter.constant(f"{node.name}:offset", offset.reshape(-1))
    )
