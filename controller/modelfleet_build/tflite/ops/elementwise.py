"""Operators on one or two tensors, element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.fusion import activation_of, clip_bounds
from modelfleet_build.tflite.graph import Activation, Node
from modelfleet_build.tflite.layout import stored_shape

EmitFunction = Callable[[Emitter, Node], None]


def binary(code: str, options: str) -> EmitFunction:
    """An operator of two broadcast inputs that can run an activation on its result."""

    def emit(emitter: Emitter, node: Node) -> None:
        rank = len(emitter.graph.shape(node.output))
        inputs = [emitter.operand(node, position, rank) for position in (0, 1)]
        emitter.emit(
            code,
            inputs,
            [emitter.value(node.output)],
            options,
            fusedActivationFunction=fused(node.activation),
        )

    return emit


def extremum(code: str) -> EmitFunction:
    """``Min`` or ``Max`` of two inputs."""

    def emit(emitter: Emitter, node: Node) -> None:
        if len(node.inputs) != 2:
            raise node.refuse(f"it has {len(node.inputs)} inputs, only two can be converted")
        rank = len(emitter.graph.shape(node.output))
        inputs = [emitter.operand(node, position, rank) for position in (0, 1)]
        emitter.emit(code, inputs, [emitter.value(node.output)], "MaximumMinimumOptions")

    return emit


def unary(code: str, options: str | None = None) -> EmitFunction:
    """An operator of one input without parameters."""

    def emit(emitter: Emitter, node: Node) -> None:
        emitter.emit(code, [emitter.value(node.inputs[0])], [emitter.value(node.output)], options)

    return emit


def clip(emitter: Emitter, node: Node) -> None:
    """``Relu`` and ``Clip`` that could not be fused: RELU, RELU6, RELU_N1_TO_1, or MINIMUM and MAXIMUM."""
    source, target = emitter.value(node.inputs[0]), emitter.value(node.output)
    activation = activation_of(emitter.graph, node)
    if activation is not Activation.NONE:
        emitter.emit(activation.value, [source], [target])
        return
    bounds = clip_bounds(emitter.graph, node)
    if bounds is None:
        raise node.refuse("its bounds must be constants of the model")
    lower, upper = bounds
    bounded_below = np.isfinite(lower)
    if np.isfinite(upper):
        shape = stored_shape(emitter.graph.shape(node.output))
        result = emitter.temporary(node, "bounded_above", shape) if bounded_below else target
        limit = emitter.constant(f"{node.name}:upper", np.full(1, upper, np.float32))
        emitter.emit("MINIMUM", [source, limit], [result], "MaximumMinimumOptions")
        source = result
    if bounded_below:
        limit = emitter.constant(f"{node.name}:lower", np.full(1, lower, np.float32))
        emitter.emit("MAXIMUM", [source, limit], [target], "MaximumMinimumOptions")
    elif not np.isfinite(upper):
        emitter.reshape(source, target, stored_shape(emitter.graph.shape(node.output)))


def leaky_relu(emitter: Emitter, node: Node) -> None:
    """``LeakyRelu`` -> LEAKY_RELU."""
    alpha = node.number("alpha", 0.01)
    inputs, outputs = [emitter.value(node.inputs[0])], [emitter.value(node.output)]
    emitter.emit("LEAKY_RELU", inputs, outputs, "LeakyReluOptions", alpha=alpha)


def softmax(emitter: Emitter, node: Node) -> None:
    """``Softmax`` over the axis that is stored last -> SOFTMAX."""
    shape = emitter.graph.shape(node.inputs[0])
    axis = node.integer("axis", -1) % len(shape)
    last = 1 if len(shape) == 4 else len(shape) - 1
    if axis != last:
        raise node.refuse(
            f"axis {axis} is not stored last; only axis {last} can be converted at rank {len(shape)}"
        )
    inputs, outputs = [emitter.value(node.inputs[0])], [emitter.value(node.output)]
    emitter.emit("SOFTMAX", inputs, outputs, "SoftmaxOptions", beta=1.0)


def batch_normalization(emitter: Emitter, node: Node) -> None:
    """``BatchNormalization`` that no convolution absorbed -> MUL and ADD by channel."""
    shape = emitter.graph.shape(node.inputs[0])
    scale, offset, mean, variance = (emitter.floats(node, position) for position in range(1, 5))
    gain = scale / np.sqrt(variance + np.float32(node.number("epsilon", 1e-5)))
    bias = offset - mean * gain
    # Channels are stored last at rank 4 and are axis 1 below that, so a vector broadcasts at both.
    if len(shape) not in (2, 4):
        raise node.refuse(f"rank {len(shape)} cannot be converted")
    stored = stored_shape(shape)
    scaled = emitter.temporary(node, "scaled", stored)
    factor = emitter.constant(f"{node.name}:gain", gain.astype(np.float32))
    emitter.emit("MUL", [emitter.value(node.inputs[0]), factor], [scaled], "MulOptions")
    shift = emitter.constant(f"{node.name}:shift", bias.astype(np.float32))
    emitter.emit(
        "ADD",
        [scaled, shift],
        [emitter.value(node.output)],
        "AddOptions",
        fusedActivationFunction=fused(node.activation),
    )
