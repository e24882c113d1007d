"""Pooling, windowed and global."""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite import arithmetic
from modelfleet_build.tflite.emitter import Emitter, fused
from modelfleet_build.tflite.graph import Activation, FloatArray, Node
from modelfleet_build.tflite.layout import channels_last
from modelfleet_build.tflite.ops.image import define_image, image, output_size, pad_image, size_of
from modelfleet_build.tflite.padding import PaddingKind, Pair, Window, window_of
from modelfleet_build.tflite.writer import padding_code

# Operators whose output is never below zero, and those that keep it so.
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Exp", "Abs", "Sqrt"})
_KEEPS_SIGN = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LRN", "Concat", "Resize"}
)


def max_pool(emitter: Emitter, node: Node) -> None:
    """``MaxPool`` -> MAX_POOL_2D.

    Where SAME is not the model's padding, the image is padded by zeros if it cannot be negative, else by
    its own outermost rows and columns, which are in the window anyway: never by minus infinity, which would
    leave an int8 tensor without a range.
    """
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("its indices output cannot be converted")
    source = image(emitter, node, node.inputs[0])
    window = _window(emitter, node, size_of(emitter, source))
    size, output = size_of(emitter, source), output_size(emitter, node)
    kind = window.kind(size, output)
    if kind is PaddingKind.EXPLICIT:
        by_edge = not not_negative(emitter, node.inputs[0])
        source = pad_image(emitter, source, window.begin, window.end, by_edge=by_edge)
        kind = PaddingKind.VALID
    define_image(emitter, node, _pool(emitter, node, "MAX_POOL_2D", source, kind, window))


def average_pool(emitter: Emitter, node: Node) -> None:
    """``AveragePool`` -> AVERAGE_POOL_2D.

    TFLite leaves padded positions out of the mean. Everything else is the mean over a padded image, times
    how many positions it has over how many count.
    """
    source = image(emitter, node, node.inputs[0])
    size, output = size_of(emitter, source), output_size(emitter, node)
    window = _window(emitter, node, size)
    kind = window.kind(size, output)
    counts_padding = bool(node.integer("count_include_pad", 0))
    if kind is PaddingKind.VALID or (kind is PaddingKind.SAME and not counts_padding):
        define_image(emitter, node, _pool(emitter, node, "AVERAGE_POOL_2D", source, kind, window))
        return
    stated = window_of(node, node.integers("kernel_shape", None) or (), size)
    share = _share(stated, size, output, counts_padding=counts_padding)
    padded = pad_image(emitter, source, window.begin, window.end)
    uniform = bool((share == 1).all())
    inner = node.activation if uniform else Activation.NONE
    result = _pool(emitter, node, "AVERAGE_POOL_2D", padded, PaddingKind.VALID, window, inner)
    if not uniform:
        factor = emitter.constant(f"{node.name}:share", share.reshape(1, *share.shape, 1))
        result = arithmetic.binary(emitter, "MUL", result, factor, node.activation)
    define_image(emitter, node, result)


def global_average_pool(emitter: Emitter, node: Node) -> None:
    """``GlobalAveragePool`` -> MEAN over the spatial axes."""
    rank = emitter.rank(node.inputs[0])
    order = channels_last(rank)
    result = arithmetic.mean(emitter, emitter.get(node.inputs[0], order), range(1, rank - 1))
    emitter.define(node.output, result, order)


def global_max_pool(emitter: Emitter, node: Node) -> None:
    """``GlobalMaxPool`` -> MAX_POOL_2D over the whole image; REDUCE_MAX has no int8 form."""
    source = image(emitter, node, node.inputs[0])
    whole = Window(size_of(emitter, source), (1, 1), (1, 1), (0, 0), (0, 0))
    define_image(emitter, node, _pool(emitter, node, "MAX_POOL_2D", source, PaddingKind.VALID, whole))


def not_negative(emitter: Emitter, name: str) -> bool:
    """Whether no element of a value can be below zero, as far as its producers tell."""
    producers = emitter.graph.producers()
    waiting, seen = [name], set[str]()
    while waiting:
        producer = producers.get(waiting.pop())
        if producer is None:
            return False
        if producer.activation in (Activation.RELU, Activation.RELU6) or producer.op in _NOT_NEGATIVE:
            continue
        if producer.op not in _KEEPS_SIGN or (
            producer.op == "Resize" and producer.text("mode", "") == "cubic"
        ):
            return False
        sources = producer.inputs if producer.op == "Concat" else producer.inputs[:1]
        waiting += [item for item in sources if item not in seen]
        seen.update(sources)
    return True


def _window(emitter: Emitter, node: Node, size: Pair) -> Window:
    kernel = node.integers("kernel_shape", None)
    if kernel is None:
        raise node.refuse("kernel_shape is missing")
    output = output_size(emitter, node)
    window = window_of(node, kernel, size).reaching(size, output)
    if window.dilation != (1, 1):
        raise node.refuse(f"dilations {list(window.dilation)} cannot be converted")
    automatic = node.text("auto_pad", "NOTSET").startswith("SAME")
    if automatic and any(window.stride[axis] > max(window.kernel[axis], 1) for axis in (0, 1)):
        # onnxruntime takes the negative padding that the formula gives then; the standard is silent.
        raise node.refuse("auto_pad with strides above the kernel cannot be converted")
    if not _sees_elements(window, size, output):
        # Up to opset 21 onnxruntime leaves out a last window that starts behind the image; shape inference
        # does not.
        raise node.refuse("a window that covers padding alone cannot be converted")
    return window


def _sees_elements(window: Window, size: Pair, output: Pair) -> bool:
    """Whether every window covers at least one element of the image."""
    return all(
        window.begin[axis] < window.kernel[axis]
        and (output[axis] - 1) * window.stride[axis] - window.begin[axis] < size[axis]
        for axis in (0, 1)
    )


def _share(window: Window, size: Pair, output: Pair, *, counts_padding: bool) -> FloatArray:
    """Kernel positions over positions that count, [height, width].

    Those that count lie in the image, or in the image with its stated padding; never in what ``ceil_mode``
    adds behind it.
    """
    factors: list[FloatArray] = []
    for axis in (0, 1):
        first = -window.begin[axis] if counts_padding else 0
        end = size[axis] + (window.end[axis] if counts_padding else 0)
        starts = np.arange(output[axis]) * window.stride[axis] - window.begin[axis]
        counted = np.minimum(starts + window.kernel[axis], end) - np.maximum(starts, first)
        factors.append((window.kernel[axis] / np.maximum(counted, 1)).astype(np.float32))
    return np.outer(factors[0], factors[1]).astype(np.float32)


def average(emitter: Emitter, tensor: int, kernel: Pair) -> int:
    """Mean of every full window with stride 1."""
    batch, height, width, channels = emitter.dims(tensor)
    output = (height - kernel[0] + 1, width - kernel[1] + 1)
    window = Window(kernel, (1, 1), (1, 1), (0, 0), (0, 0))
    shape = (batch, *output, channels)
    return _pool_2d(emitter, "AVERAGE_POOL_2D", tensor, shape, PaddingKind.VALID, window, Activation.NONE)


def _pool(
    emitter: Emitter,
    node: Node,
    code: str,
    source: int,
    kind: PaddingKind,
    window: Window,
    activation: Activation | None = None,
) -> int:
    batch, _, _, channels = emitter.dims(source)
    shape = (batch, *output_size(emitter, node), channels)
    inner = node.activation if activation is None else activation
    return _pool_2d(emitter, code, source, shape, kind, window, inner)


def _pool_2d(
    emitter: Emitter,
    code: str,
    source: int,
    shape: tuple[int, ...],
    kind: PaddingKind,
    window: Window,
    activation: Activation,
) -> int:
    return emitter.op(
        code,
        [source],
        shape,
        "Pool2DOptions",
        padding=padding_code(kind.value),
        strideH=window.stride[0],
        strideW=window.stride[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        fusedActivationFunction=fused(activation),
    )
