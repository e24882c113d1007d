"""Pooling, windowed and global."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import Activation, Node
from modelfleet_build.tflite.ops.conv import padded_input
from modelfleet_build.tflite.padding import PaddingKind, Window, window_of
from modelfleet_build.tflite.writer import padding_code


def max_pool(emitter: Emitter, node: Node) -> None:
    """``MaxPool`` -> MAX_POOL_2D."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("its indices output cannot be converted")
    window = _pool_window(emitter, node)
    source, kind = _padded_for_maximum(emitter, node, window)
    _pool(emitter, node, "MAX_POOL_2D", source, kind, window)


def average_pool(emitter: Emitter, node: Node) -> None:
    """``AveragePool`` -> AVERAGE_POOL_2D.

    TFLite leaves padded positions out of the mean (``count_include_pad`` 0); a mean that counts them is a
    PAD before.
    """
    window = _pool_window(emitter, node)
    if node.integer("count_include_pad", 0) == 1 and any((*window.begin, *window.end)):
        source, kind = _with_explicit_pads(emitter, node, window, 0.0)
    else:
        shape, output = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
        kind = window.kind((shape[2], shape[3]), (output[2], output[3]))
        if kind is PaddingKind.EXPLICIT:
            raise node.refuse("asymmetric padding that the mean leaves out cannot be converted")
        source = emitter.value(node.inputs[0])
    _pool(emitter, node, "AVERAGE_POOL_2D", source, kind, window)


def global_average_pool(emitter: Emitter, node: Node) -> None:
    """``GlobalAveragePool`` -> MEAN over height and width."""
    _reduce_image(emitter, node, "MEAN")


def global_max_pool(emitter: Emitter, node: Node) -> None:
    """``GlobalMaxPool`` -> REDUCE_MAX over height and width."""
    _reduce_image(emitter, node, "REDUCE_MAX")


def _reduce_image(emitter: Emitter, node: Node, code: str) -> None:
    if len(emitter.graph.shape(node.inputs[0])) != 4:
        raise node.refuse("only two-dimensional pooling over NCHW can be converted")
    axes = emitter.int32(f"{node.name}:axes", [1, 2])
    inputs = [emitter.value(node.inputs[0]), axes]
    emitter.emit(code, inputs, [emitter.value(node.output)], "ReducerOptions", keepDims=True)


def _pool_window(emitter: Emitter, node: Node) -> Window:
    shape = emitter.graph.shape(node.inputs[0])
    kernel = node.integers("kernel_shape", None)
    if kernel is None:
        raise node.refuse("kernel_shape is missing")
    window = window_of(node, kernel, shape)
    if window.dilation != (1, 1):
        raise node.refuse(f"dilations {list(window.dilation)} cannot be converted")
    output = emitter.graph.shape(node.output)
    if any(window.output_size(axis, shape[2 + axis]) != output[2 + axis] for axis in (0, 1)):
        raise node.refuse("ceil_mode 1 adds windows that TFLite does not have")
    return window


def _padded_for_maximum(emitter: Emitter, node: Node, window: Window) -> tuple[int, PaddingKind]:
    shape, output = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
    kind = window.kind((shape[2], shape[3]), (output[2], output[3]))
    if kind is not PaddingKind.EXPLICIT:
        return emitter.value(node.inputs[0]), kind
    producer = emitter.graph.producers().get(node.inputs[0])
    if producer is not None and producer.activation in (Activation.RELU, Activation.RELU6):
        # Nothing is below zero, so zeros cannot win; and they keep the range of a quantized tensor.
        return padded_input(emitter, node, window)
    return _with_explicit_pads(emitter, node, window, float(np.finfo(np.float32).min))


def _with_explicit_pads(
    emitter: Emitter, node: Node, window: Window, filler: float
) -> tuple[int, PaddingKind]:
    shape = emitter.graph.shape(node.inputs[0])
    height = shape[2] + window.begin[0] + window.end[0]
    width = shape[3] + window.begin[1] + window.end[1]
    padded = emitter.temporary(node, "padded", (shape[0], height, width, shape[1]))
    rows = [window.begin[0], window.end[0]]
    columns = [window.begin[1], window.end[1]]
    pads = emitter.int32(f"{node.name}:pads", [[0, 0], rows, columns, [0, 0]])
    source = emitter.value(node.inputs[0])
    if filler == 0.0:
        emitter.emit("PAD", [source, pads], [padded], "PadOptions")
    else:
        value = emitter.constant(f"{node.name}:filler", np.full(1, filler, np.float32))
        emitter.emit("PADV2", [source, pads, value], [padded], "PadV2Options")
    return padded, PaddingKind.VALID


def _pool(emitter: Emitter, node: Node, code: str, source: int, kind: PaddingKind, window: Window) -> None:
    emitter.emit(
        code,
        [source],
        [emitter.value(node.output)],
        "Pool2DOptions",
        padding=padding_code(kind.value),
        strideH=window.stride[0],
        strideW=window.stride[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        fusedActivationFunction=fused(node.activation),
    )
