"""Padding arithmetic of windowed operators (convolution, pooling)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from modelfleet_build.tflite.graph import Node, Shape


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

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    def extent(self, axis: int) -> int:
        """Elements covered along ``axis`` (0 height, 1 width), dilation included."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def output_size(self, axis: int, size: int) -> int:
        """Number of windows that fit, rounded down (ONNX ``ceil_mode`` 0)."""
        padded = size + self.begin[axis] + self.end[axis]
        return (padded - self.extent(axis)) // self.stride[axis] + 1

    def kind(self, size: tuple[int, int], output: tuple[int, int]) -> PaddingKind:
        """Which TFLite padding gives exactly these windows.

        TFLite's SAME puts ``max((out - 1) * stride + extent - in, 0)`` zeros around the input, the smaller
        half before it (tensorflow/lite/kernels/padding.h, ``ComputePaddingWithOffset``).
        """
        if self.begin == (0, 0) and self.end == (0, 0):
            return PaddingKind.VALID
        for axis in (0, 1):
            if output[axis] != -(-size[axis] // self.stride[axis]):
                return PaddingKind.EXPLICIT
            needed = max((output[axis] - 1) * self.stride[axis] + self.extent(axis) - size[axis], 0)
            # Zeros after the last window are read by nobody, so only those before it have to agree.
            if self.begin[axis] != needed // 2 or self.end[axis] < needed - needed // 2:
                return PaddingKind.EXPLICIT
        return PaddingKind.SAME


def window_of(node: Node, kernel: tuple[int, ...], input_shape: Shape) -> Window:
    """Read the window attributes of a two-dimensional ``node``.

    Args:
        node: A convolution or pooling node.
        kernel: Kernel size, (height, width).
        input_shape: Logical NCHW shape of the input.

    Raises:
        Refused: Not two-dimensional, or negative or unknown padding.
    """
    if len(kernel) != 2 or len(input_shape) != 4:
        raise node.refuse(
            f"only two-dimensional windows over NCHW can be converted, kernel is {list(kernel)}"
        )
    stride = _pair(node, "strides")
    dilation = _pair(node, "dilations")
    begin, end = _pads(node, (kernel[0], kernel[1]), stride, dilation, input_shape)
    if min(*begin, *end) < 0:
        raise node.refuse(f"negative padding {[*begin, *end]} cannot be converted")
    return Window((kernel[0], kernel[1]), stride, dilation, begin, end)


def _pair(node: Node, name: str) -> tuple[int, int]:
    value = node.integers(name, (1, 1))
    if value is None or len(value) != 2:
        raise node.refuse(f"{name} is {value}, expected two numbers")
    return value[0], value[1]


def _pads(
    node: Node,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    shape: Shape,
) -> tuple[tuple[int, int], tuple[int, int]]:
    auto = node.text("auto_pad", "NOTSET")
    if auto == "VALID":
        return (0, 0), (0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        begin: list[int] = []
        end: list[int] = []
        for axis in (0, 1):
            size = shape[2 + axis]
            windows = -(-size // stride[axis])
            total = max((windows - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size, 0)
            smaller, larger = total // 2, total - total // 2
            begin.append(smaller if auto == "SAME_UPPER" else larger)
            end.append(larger if auto == "SAME_UPPER" else smaller)
        return (begin[0], begin[1]), (end[0], end[1])
    if auto != "NOTSET":
        raise node.refuse(f"auto_pad {auto!r} is unknown")
    pads = node.integers("pads", (0, 0, 0, 0))
    if pads is None or len(pads) != 4:
        raise node.refuse(f"pads is {pads}, expected four numbers")
    return (pads[0], pads[1]), (pads[2], pads[3])
