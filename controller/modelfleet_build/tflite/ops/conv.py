"""Convolutions of one and two dimensions: plain, grouped and depthwise."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import FloatArray, Node
from modelfleet_build.tflite.ops.image import (
    define_image,
    image,
    output_size,
    pad_image,
    size_of,
)
from modelfleet_build.tflite.padding import PaddingKind, Window, window_of
from modelfleet_build.tflite.writer import OptionValue, padding_code


def conv(emitter: Emitter, node: Node) -> None:
    """``Conv`` -> CONV_2D, which knows groups by the depth of its weights, or DEPTHWISE_CONV_2D."""
    source = image(emitter, node, node.inputs[0])
    weights = image_weights(emitter, node)
    groups, channels = node.integer("group", 1), emitter.dims(source)[3]
    window = window_of(node, emitter.floats(node, 1).shape[2:], size_of(emitter, source))
    kind = window.kind(size_of(emitter, source), output_size(emitter, node))
    if kind is PaddingKind.EXPLICIT:
        source, kind = pad_image(emitter, source, window.begin, window.end), PaddingKind.VALID
    options = window_options(node, window, kind)
    height, width = output_size(emitter, node)
    bias = bias_of(emitter, node, len(weights))
    make = depthwise if groups == channels and groups > 1 else _conv_2d
    result = make(emitter, source, weights, bias, (1, height, width, len(weights)), options)
    define_image(emitter, node, result)


def image_weights(emitter: Emitter, node: Node) -> FloatArray:
    """Weights of rank 4; those of a one-dimensional convolution get a kernel height of 1."""
    weights = emitter.floats(node, 1)
    if weights.ndim not in (3, 4):
        raise node.refuse(
            f"only one and two dimensions can be converted, its weights are {list(weights.shape)}"
        )
    return weights if weights.ndim == 4 else weights[:, :, None]


def bias_of(emitter: Emitter, node: Node, filters: int) -> FloatArray:
    """The bias of a convolution, zeros where it has none."""
    if not node.has_input(2):
        return np.zeros(filters, np.float32)
    return emitter.floats(node, 2).reshape(filters)


def window_options(node: Node, window: Window, kind: PaddingKind) -> dict[str, OptionValue]:
    """Geometry and activation of ``node`` as option fields."""
    return {
        "padding": padding_code(kind.value),
        "strideH": window.stride[0],
        "strideW": window.stride[1],
        "dilationHFactor": window.dilation[0],
        "dilationWFactor": window.dilation[1],
        "fusedActivationFunction": fused(node.activation),
    }


def depthwise(
    emitter: Emitter,
    source: int,
    weights: FloatArray,
    bias: FloatArray,
    shape: tuple[int, ...],
    options: dict[str, OptionValue],
) -> int:
    """DEPTHWISE_CONV_2D with ONNX ``weights`` [channels * multiplier, 1, height, width].

    Both formats count the multiplier fastest.
    """
    name = emitter.node.name
    kernel = emitter.constant(f"{name}:weights", np.ascontiguousarray(weights.transpose(1, 2, 3, 0)))
    vector = emitter.constant(f"{name}:bias", bias)
    dilated = (options["dilationHFactor"], options["dilationWFactor"]) != (1, 1)
    return emitter.op(
        "DEPTHWISE_CONV_2D",
        [source, kernel, vector],
        shape,
        "DepthwiseConv2DOptions",
        version=2 if dilated else 1,
        fields={**options, "depthMultiplier": len(weights) // emitter.dims(source)[3]},
    )


def _conv_2d(
    emitter: Emitter,
    source: int,
    weights: FloatArray,
    bias: FloatArray,
    shape: tuple[int, ...],
    options: dict[str, OptionValue],
) -> int:
    name = emitter.node.name
    kernel = emitter.constant(f"{name}:weights", np.ascontiguousarray(weights.transpose(0, 2, 3, 1)))
    vector = emitter.constant(f"{name}:bias", bias)
    grouped = weights.shape[1] != emitter.dims(source)[3]
    return emitter.op(
        "CONV_2D",
        [source, kernel, vector],
        shape,
        "Conv2DOptions",
        version=6 if grouped else 1,
        fields=options,
    )
