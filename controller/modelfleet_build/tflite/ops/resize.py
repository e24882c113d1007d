"""``Resize`` of height and width, nearest and linear, where a TFLite mode reads exactly the same pixels.

The source coordinate of every output row and column is computed by the ONNX definition and by each of
TFLite's three conventions; a convention is taken only where all of them agree. So a model is either resized
exactly or refused.
"""

from __future__ import annotations

import math
from fractions import Fraction

from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Node

# (align_corners, half_pixel_centers), the two flags of both TFLite operators.
_CONVENTIONS = ((False, False), (False, True), (True, False))


def resize(emitter: Emitter, node: Node) -> None:
    """``Resize`` -> RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR."""
    before, after = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
    if len(before) != 4 or before[:2] != after[:2]:
        raise node.refuse(f"{list(before)} to {list(after)}: only height and width of NCHW can be resized")
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise node.refuse(f"mode {mode!r} cannot be converted, only nearest and linear")
    if node.integer("antialias", 0) or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("antialias and keep_aspect_ratio_policy cannot be converted")
    scales = _scales(emitter, node, before, after)
    for convention in _CONVENTIONS:
        if all(
            _agrees(node, mode, convention, before[axis], after[axis], scales[axis - 2]) for axis in (2, 3)
        ):
            break
    else:
        transformation = node.text("coordinate_transformation_mode", "half_pixel")
        raise node.refuse(
            f"{mode} with {transformation} from {before[2:]} to {after[2:]} has no TFLite equal"
        )
    code, options = (
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        if mode == "nearest"
        else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    )
    size = emitter.int32(f"{node.name}:size", [after[2], after[3]])
    emitter.emit(
        code,
        [emitter.value(node.inputs[0]), size],
        [emitter.value(node.output)],
        options,
        version=3 if convention[1] else 1,
        alignCorners=convention[0],
        halfPixelCenters=convention[1],
    )


def _scales(
    emitter: Emitter, node: Node, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[Fraction, Fraction]:
    """Exact scale of height and width: the one stated, else the ratio of the sizes."""
    if node.integers("axes", None) is None and node.has_input(2):
        stated = emitter.floats(node, 2).reshape(-1)
        if stated.size == 4:
            return Fraction(float(stated[2])), Fraction(float(stated[3]))
    return Fraction(after[2], before[2]), Fraction(after[3], before[3])


def _agrees(
    node: Node, mode: str, convention: tuple[bool, bool], before: int, after: int, scale: Fraction
) -> bool:
    for target in range(after):
        wanted = _onnx_coordinate(node, target, before, after, scale)
        offered = _tflite_coordinate(convention, target, before, after, half=mode == "linear")
        if mode == "linear":
            if _clamped(wanted, before) != _clamped(offered, before):
                return False
        elif _onnx_nearest(node, wanted, before) != _tflite_nearest(convention, offered, before):
            return False
    return True


def _onnx_coordinate(node: Node, target: int, before: int, after: int, scale: Fraction) -> Fraction:
    """``coordinate_transformation_mode`` of the ONNX operator definition."""
    mode = node.text("coordinate_transformation_mode", "half_pixel")
    half = Fraction(1, 2)
    if mode == "half_pixel":
        return (target + half) / scale - half
    if mode == "pytorch_half_pixel":
        return (target + half) / scale - half if after > 1 else Fraction(0)
    if mode == "asymmetric":
        return target / scale
    if mode == "align_corners":
        return Fraction(target * (before - 1), after - 1) if after > 1 else Fraction(0)
    raise node.refuse(f"coordinate_transformation_mode {mode!r} cannot be converted")


def _onnx_nearest(node: Node, coordinate: Fraction, before: int) -> int:
    mode = node.text("nearest_mode", "round_prefer_floor")
    half = Fraction(1, 2)
    chosen = {
        "round_prefer_floor": math.ceil(coordinate - half),
        "round_prefer_ceil": math.floor(coordinate + half),
        "floor": math.floor(coordinate),
        "ceil": math.ceil(coordinate),
    }.get(mode)
    if chosen is None:
        raise node.refuse(f"nearest_mode {mode!r} is unknown")
    return min(max(chosen, 0), before - 1)


def _tflite_coordinate(
    convention: tuple[bool, bool], target: int, before: int, after: int, *, half: bool
) -> Fraction:
    """Source coordinate in tensorflow/lite/kernels/internal/reference (resize_bilinear, resize_utils)."""
    align_corners, half_pixel = convention
    if align_corners and after > 1:
        return Fraction(target * (before - 1), after - 1)
    scale = Fraction(before, after)
    if half_pixel:
        centre = (target + Fraction(1, 2)) * scale
        return centre - Fraction(1, 2) if half else centre
    return target * scale


def _tflite_nearest(convention: tuple[bool, bool], coordinate: Fraction, before: int) -> int:
    chosen = math.floor(coordinate + Fraction(1, 2)) if convention[0] else math.floor(coordinate)
    return min(max(chosen, 0), before - 1)


def _clamped(coordinate: Fraction, before: int) -> Fraction:
    return min(max(coordinate, Fraction(0)), Fraction(before - 1))
