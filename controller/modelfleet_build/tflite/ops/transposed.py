"""Transposed convolutions of one and two dimensions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Activation, FloatArray, Node
from modelfleet_build.tflite.ops.conv import bias_of, depthwise, image_weights, window_options
from modelfleet_build.tflite.ops.image import (
    concatenate,
    crop,
    define_image,
    image,
    output_size,
    pad,
    pad_image,
    size_of,
    split,
)
from modelfleet_build.tflite.padding import PaddingKind, Pair, Window, window_of
from modelfleet_build.tflite.writer import padding_code


def conv_transpose(emitter: Emitter, node: Node) -> None:
    """``ConvTranspose`` -> TRANSPOSE_CONV for each group, with a SLICE where TFLite pads differently.

    One group per channel is a DEPTHWISE_CONV_2D over the input spread with zeros.
    """
    source = image(emitter, node, node.inputs[0])
    weights = image_weights(emitter, node)
    size, output = size_of(emitter, source), output_size(emitter, node)
    window = _window(emitter, node, size, output)
    groups, channels = node.integer("group", 1), emitter.dims(source)[3]
    bias = bias_of(emitter, node, weights.shape[1] * groups)
    if groups == channels and groups > 1:
        result = _depthwise(emitter, source, weights, bias, window, output)
    else:
        weights, window = _dilated(weights, window)
        parts = zip(
            split(emitter, source, (channels // groups,) * groups, 3),
            np.split(weights, groups),
            np.split(bias, groups),
            strict=True,
        )
        result = concatenate(emitter, [_one_group(emitter, *part, window, output) for part in parts], 3)
    define_image(emitter, node, result)


def _window(emitter: Emitter, node: Node, size: Pair, output: Pair) -> Window:
    """The window with its pads as the output's shape implies them; ONNX lets auto_pad derive them."""
    automatic = node.text("auto_pad", "NOTSET")
    stated = node.integers("output_shape", None) is not None
    kernel = emitter.floats(node, 1).shape[2:]
    plain = replace(node, attributes={k: v for k, v in node.attributes.items() if k != "auto_pad"})
    window = window_of(plain, kernel, size)
    if automatic in ("NOTSET", "VALID") and not stated:
        return replace(window, begin=(0, 0)) if automatic == "VALID" else window
    extra = node.integers("output_padding", (0,) * len(kernel)) or ()
    if automatic != "NOTSET" and any(extra):
        raise node.refuse("auto_pad with output_padding has no one meaning; state pads")
    extra = (0, *extra) if len(extra) == 1 else extra
    totals = [
        window.stride[axis] * (size[axis] - 1) + extra[axis] + window.extent(axis) - output[axis]
        for axis in (0, 1)
    ]
    if min(totals) < 0:
        raise node.refuse(f"output_shape asks for negative padding {totals}")
    # The operator's definition: SAME_UPPER puts the smaller half before, everything else the larger.
    begin = [total // 2 if automatic == "SAME_UPPER" else total - total // 2 for total in totals]
    return replace(window, begin=(begin[0], begin[1]))


def _dilated(weights: FloatArray, window: Window) -> tuple[FloatArray, Window]:
    """The same convolution without dilation: its kernel has zeros between the taps."""
    if window.dilation == (1, 1):
        return weights, window
    wide = np.zeros((*weights.shape[:2], window.extent(0), window.extent(1)), np.float32)
    wide[:, :, :: window.dilation[0], :: window.dilation[1]] = weights
    return wide, replace(window, kernel=(window.extent(0), window.extent(1)), dilation=(1, 1))


def _one_group(
    emitter: Emitter, source: int, weights: FloatArray, bias: FloatArray, window: Window, output: Pair
) -> int:
    size, filters = size_of(emitter, source), weights.shape[1]
    shape = (1, *output, filters)
    if _is_same(window, size, output):
        return _transpose_conv(emitter, source, weights, bias, shape, "SAME", window)
    full = [(size[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in (0, 1)]
    # output_padding may reach beyond the last window: zeros at the end of the kernel reach as far.
    beyond = [max(window.begin[axis] + output[axis] - full[axis], 0) for axis in (0, 1)]
    weights = np.pad(weights, [(0, 0), (0, 0), (0, beyond[0]), (0, beyond[1])])
    whole = (1, full[0] + beyond[0], full[1] + beyond[1], filters)
    result = _transpose_conv(emitter, source, weights, bias, whole, "VALID", window)
    return crop(emitter, result, (0, *window.begin, 0), shape)


def _is_same(window: Window, size: Pair, output: Pair) -> bool:
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
    source: int,
    weights: FloatArray,
    bias: FloatArray,
    shape: tuple[int, ...],
    padding: str,
    window: Window,
) -> int:
    name = emitter.node.name
    size = emitter.int32("output_shape", shape)
    kernel = emitter.constant(f"{name}:weights", np.ascontiguousarray(weights.transpose(1, 2, 3, 0)))
    vector = emitter.constant(f"{name}:bias", bias)
    return emitter.op(
        "TRANSPOSE_CONV",
        [size, kernel, source, vector],
        shape,
        "TransposeConvOptions",
        version=3,
        kind=emitter.graph.kind(""),
        padding=padding_code(padding),
        strideH=window.stride[0],
        strideW=window.stride[1],
    )


def _depthwise(
    emitter: Emitter, source: int, weights: FloatArray, bias: FloatArray, window: Window, output: Pair
) -> int:
    """Spread the input by the strides, then convolve with the turned kernel.

    Weights [channels, multiplier, height, width] become [channels * multiplier, 1, height, width].
    """
    turned = weights[:, :, ::-1, ::-1].reshape(-1, 1, *weights.shape[2:])
    spread = _spread(emitter, source, window.stride)
    before = [window.extent(axis) - 1 - window.begin[axis] for axis in (0, 1)]
    size = size_of(emitter, spread)
    after = [output[axis] + window.extent(axis) - 1 - size[axis] - before[axis] for axis in (0, 1)]
    cut = [max(-amount, 0) for amount in before]
    kept = [size[axis] - cut[axis] - max(-after[axis], 0) for axis in (0, 1)]
    channels = emitter.dims(spread)[3]
    spread = crop(emitter, spread, (0, *cut, 0), (1, *kept, channels))
    begin, end = [max(amount, 0) for amount in before], [max(amount, 0) for amount in after]
    padded = pad_image(emitter, spread, (begin[0], begin[1]), (end[0], end[1]))
    still = replace(window, stride=(1, 1))
    options = window_options(replace(emitter.node, activation=Activation.NONE), still, PaddingKind.VALID)
    return depthwise(emitter, padded, np.ascontiguousarray(turned), bias, (1, *output, len(turned)), options)


def _spread(emitter: Emitter, source: int, stride: Pair) -> int:
    """Put ``stride - 1`` zeros after every row and column, by padding the width of reshaped images."""
    _, height, width, channels = emitter.dims(source)
    columns = emitter.reshape(source, (1, height * width, 1, channels))
    if stride[1] > 1:
        columns = pad(emitter, columns, [(0, 0), (0, 0), (0, stride[1] - 1), (0, 0)])
    rows = emitter.reshape(columns, (1, height, 1, width * stride[1] * channels))
    if stride[0] > 1:
        rows = pad(emitter, rows, [(0, 0), (0, 0), (0, stride[0] - 1), (0, 0)])
    return emitter.reshape(rows, (1, height * stride[0], width * stride[1], channels))
