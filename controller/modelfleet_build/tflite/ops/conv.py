"""Convolutions: plain, depthwise and transposed, two-dimensional."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import FloatArray, Node
from modelfleet_build.tflite.layout import stored_shape
from modelfleet_build.tflite.padding import PaddingKind, Window, window_of
from modelfleet_build.tflite.writer import padding_code


def conv(emitter: Emitter, node: Node) -> None:
    """``Conv`` -> CONV_2D, or DEPTHWISE_CONV_2D where every group has one input channel."""
    shape = emitter.graph.shape(node.inputs[0])
    weights = emitter.floats(node, 1)
    if weights.ndim != 4:
        raise node.refuse(f"only two-dimensional convolutions can be converted, weights are {weights.shape}")
    groups = node.integer("group", 1)
    channels, filters = shape[1], weights.shape[0]
    depthwise = groups == channels and groups > 1
    if groups != 1 and not depthwise:
        raise node.refuse(
            f"{groups} groups over {channels} channels; only 1 or one per channel can be converted"
        )
    window = window_of(node, weights.shape[2:], shape)
    source, kind = padded_input(emitter, node, window)
    common = {
        "padding": padding_code(kind.value),
        "strideH": window.stride[0],
        "strideW": window.stride[1],
        "dilationHFactor": window.dilation[0],
        "dilationWFactor": window.dilation[1],
        "fusedActivationFunction": fused(node.activation),
    }
    bias = emitter.constant(f"{node.name}:bias", bias_of(emitter, node, filters))
    target = emitter.value(node.output)
    if depthwise:
        # ONNX [channels * multiplier, 1, h, w] -> [1, h, w, channels * multiplier]; both count the
        # multiplier fastest.
        kernel = emitter.constant(f"{node.name}:weights", np.ascontiguousarray(weights.transpose(1, 2, 3, 0)))
        version = 2 if window.dilation != (1, 1) else 1
        emitter.emit(
            "DEPTHWISE_CONV_2D",
            [source, kernel, bias],
            [target],
            "DepthwiseConv2DOptions",
            version=version,
            depthMultiplier=filters // channels,
            **common,
        )
        return
    kernel = emitter.constant(f"{node.name}:weights", np.ascontiguousarray(weights.transpose(0, 2, 3, 1)))
    emitter.emit("CONV_2D", [source, kernel, bias], [target], "Conv2DOptions", **common)


def conv_transpose(emitter: Emitter, node: Node) -> None:
    """``ConvTranspose`` -> TRANSPOSE_CONV, with a SLICE where the padding is TFLite's neither way."""
    shape = emitter.graph.shape(node.inputs[0])
    weights = emitter.floats(node, 1)
    if weights.ndim != 4:
        raise node.refuse(f"only two-dimensional convolutions can be converted, weights are {weights.shape}")
    if node.integer("group", 1) != 1:
        raise node.refuse("grouped transposed convolutions cannot be converted")
    if node.text("auto_pad", "NOTSET") != "NOTSET" or node.integers("output_shape", None) is not None:
        raise node.refuse("auto_pad and output_shape cannot be converted, state pads")
    window = window_of(node, weights.shape[2:], shape)
    if window.dilation != (1, 1):
        raise node.refuse(f"dilations {list(window.dilation)} cannot be converted")
    output = emitter.graph.shape(node.output)
    full = tuple((shape[2 + axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in (0, 1))
    kernel = emitter.constant(f"{node.name}:weights", np.ascontiguousarray(weights.transpose(1, 2, 3, 0)))
    bias = emitter.constant(f"{node.name}:bias", bias_of(emitter, node, weights.shape[1]))
    source, target = emitter.value(node.inputs[0]), emitter.value(node.output)
    if _is_same(window, (shape[2], shape[3]), (output[2], output[3])):
        _transpose_conv(emitter, node, (kernel, source, bias), target, stored_shape(output), "SAME", window)
        return
    if any(window.begin[axis] + output[2 + axis] > full[axis] for axis in (0, 1)):
        raise node.refuse("output_padding beyond what the end padding cuts off cannot be converted")
    if output[2:] == full:
        _transpose_conv(emitter, node, (kernel, source, bias), target, stored_shape(output), "VALID", window)
        return
    whole_shape = (1, full[0], full[1], weights.shape[1])
    whole = emitter.temporary(node, "uncropped", whole_shape)
    _transpose_conv(emitter, node, (kernel, source, bias), whole, whole_shape, "VALID", window)
    begin = emitter.int32(f"{node.name}:begin", [0, *window.begin, 0])
    size = emitter.int32(f"{node.name}:size", list(stored_shape(output)))
    emitter.emit("SLICE", [whole, begin, size], [target], "SliceOptions")


def padded_input(emitter: Emitter, node: Node, window: Window) -> tuple[int, PaddingKind]:
    """The input tensor of a convolution and the padding kind that is left to TFLite."""
    shape = emitter.graph.shape(node.inputs[0])
    output = emitter.graph.shape(node.output)
    source = emitter.value(node.inputs[0])
    kind = window.kind((shape[2], shape[3]), (output[2], output[3]))
    if kind is not PaddingKind.EXPLICIT:
        return source, kind
    height = shape[2] + window.begin[0] + window.end[0]
    width = shape[3] + window.begin[1] + window.end[1]
    padded = emitter.temporary(node, "padded", (shape[0], height, width, shape[1]))
    rows = [window.begin[0], window.end[0]]
    columns = [window.begin[1], window.end[1]]
    pads = emitter.int32(f"{node.name}:pads", [[0, 0], rows, columns, [0, 0]])
    emitter.emit("PAD", [source, pads], [padded], "PadOptions")
    return padded, PaddingKind.VALID


def bias_of(emitter: Emitter, node: Node, filters: int) -> FloatArray:
    """The bias of a convolution, zeros where it has none."""
    if not node.has_input(2):
        return np.zeros(filters, np.float32)
    return emitter.floats(node, 2).reshape(filters)


def _is_same(window: Window, size: tuple[int, int], output: tuple[int, int]) -> bool:
    """Whether SAME of the forward convolution from ``output`` to ``size`` has these pads."""
    for axis in (0, 1):
        if -(-output[axis] // window.stride[axis]) != size[axis]:
            return False
        total = max((size[axis] - 1) * window.stride[axis] + window.kernel[axis] - output[axis], 0)
        if window.begin[axis] != total // 2:
            return False
    return True


def _transpose_conv(
    emitter: Emitter,
    node: Node,
    inputs: tuple[int, int, int],
    target: int,
    shape: tuple[int, ...],
    padding: str,
    window: Window,
) -> None:
    output_shape = emitter.int32(f"{node.name}:output_shape", list(shape))
    kernel, source, bias = inputs
    emitter.emit(
        "TRANSPOSE_CONV",
        [output_shape, kernel, source, bias],
        [target],
        "TransposeConvOptions",
        version=3,
        padding=padding_code(padding),
        strideH=window.stride[0],
        strideW=window.stride[1],
    )
