"""Padding arithmetic of windowed operators (convolution, pooling)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from modelfleet_build.tflite.graph import Node

Pair = tuple[int, int]


class PaddingKind(Enum):
    """How TFLite has to pad: by itself, not at all, or with a ``PAD`` operator before."""

    SAME = "SAME"
    VALID = "VALID"
    EXPLICIT = "EXPLICIT"


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry of a two-dimensional window, each pair as (height, width).

    Attributes:
        kernel: Size in elements.
        stride: Step in elements.
        dilation: Distance between taps.
        begin: Zeros before the first row and column.
        end: Zeros after the last row and column.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    begin: Pair
    end: Pair

    def extent(self, axis: int) -> int:
        """Elements covered along ``axis`` (0 height, 1 width), dilation included."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def reaching(self, size: Pair, output: Pair) -> Window:
        """The same window with just enough padding at the end for ``output`` windows (``ceil_mode``)."""
        needed = [
            max((output[axis] - 1) * self.stride[axis] + self.extent(axis) - size[axis] - self.begin[axis], 0)
            for axis in (0, 1)
        ]
        return replace(self, end=(needed[0], needed[1]))

    def kind(self, size: Pair, output: Pair) -> PaddingKind:
        """Which TFLite padding gives exactly these windows.

        TFLite's SAME puts ``max((out - 1) * stride + extent - in, 0)`` zeros around the input, the smaller
        half before it (tensorflow/lite/kernels/padding.h, ``ComputePaddingWithOffset``).
        """
        fits = all(
            output[axis] == -(-(size[axis] - self.extent(axis) + 1) // self.stride[axis]) for axis in (0, 1)
        )
        if self.begin == (0, 0) and fits:
            return PaddingKind.VALID
        for axis in (0, 1):
            if output[axis] != -(-size[axis] // self.stride[axis]):
                return PaddingKind.EXPLICIT
            needed = max((output[axis] - 1) * self.stride[axis] + self.extent(axis) - size[axis], 0)
            # Zeros after the last window are read by nobody, so only those before it have to agree.
            if self.begin[axis] != needed // 2 or self.end[axis] < needed - needed // 2:
                return PaddingKind.EXPLICIT
        return PaddingKind.SAME


def window_of(node: Node, kernel: tuple[int, ...], size: Pair) -> Window:
    """Read the window attributes of a one- or two-dimensional ``node``; one dimension is the width.

    Args:
        node: A convolution or pooling node.
        kernel: Kernel size, (height, width) or (width,).
        size: Height and width of the input, height 1 where there is one dimension.

    Raises:
        Refused: Three dimensions or more, negative or unknown padding.
    """
    rank = len(kernel)
    if rank not in (1, 2):
        raise node.refuse(f"only windows of one or two dimensions can be converted, kernel is {list(kernel)}")
    sizes = _pair(node, "kernel_shape", kernel, rank)
    stride = _pair(node, "strides", node.integers("strides", (1,) * rank), rank)
    dilation = _pair(node, "dilations", node.integers("dilations", (1,) * rank), rank)
    window = Window(sizes, stride, dilation, (0, 0), (0, 0))
    begin, end = _pads(node, window, size, rank)
    if min(*begin, *end) < 0:
        raise node.refuse(f"negative padding {[*begin, *end]} cannot be converted")
    return replace(window, begin=begin, end=end)


def _pair(node: Node, name: str, value: tuple[int, ...] | None, rank: int) -> Pair:
    if value is None or len(value) != rank:
        raise node.refuse(f"{name} is {value}, expected {rank} numbers")
    return (1, value[0]) if rank == 1 else (value[0], value[1])


def _pads(node: Node, window: Window, size: Pair, rank: int) -> tuple[Pair, Pair]:
    auto = node.text("auto_pad", "NOTSET")
    if auto == "VALID":
        return (0, 0), (0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [same_padding(size[axis], window.stride[axis], window.extent(axis)) for axis in (0, 1)]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        begin, end = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
        return (begin[0], begin[1]), (end[0], end[1])
    if auto != "NOTSET":
        raise node.refuse(f"auto_pad {auto!r} is unknown")
    pads = node.integers("pads", (0,) * 2 * rank)
    if pads is None or len(pads) != 2 * rank:
        raise node.refuse(f"pads is {pads}, expected {2 * rank} numbers")
    return ((0, pads[0]), (0, pads[1])) if rank == 1 else ((pads[0], pads[1]), (pads[2], pads[3]))


def same_padding(size: int, stride: int, extent: int) -> int:
    """Zeros that ``SAME_UPPER`` and ``SAME_LOWER`` put around an axis."""
    return max((-(-size // stride) - 1) * stride + extent - size, 0)
