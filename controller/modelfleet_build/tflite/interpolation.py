"""Which source elements a resized axis reads: by the ONNX definition, and by TFLite's kernels.

All of it along one axis, because every mode is separable. Single precision where the implementations use it
and a rounding decides which element is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from modelfleet_build.tflite.graph import FloatArray, Node

Indices = npt.NDArray[np.int64]
Convention = tuple[bool, bool]  # align_corners, half_pixel_centers: the flags of both TFLite operators
CONVENTIONS: tuple[Convention, ...] = ((False, False), (False, True), (True, False))
_HALF = np.float32(0.5)


@dataclass(frozen=True, slots=True)
class Axis:
    """One resized axis.

    Attributes:
        before: Elements of the source.
        after: Elements of the result.
        scale: Result over source, as the model states it.
    """

    before: int
    after: int
    scale: float


@dataclass(frozen=True, slots=True)
class Rule:
    """The attributes of ``Resize`` that say what is read.

    Attributes:
        mode: nearest, linear or cubic.
        transformation: ``coordinate_transformation_mode``.
        rounding: ``nearest_mode``, or ``simple`` as before opset 11.
        cubic: ``cubic_coeff_a``.
        inside: ``exclude_outside``: weights outside of the source are left out.
    """

    mode: str
    transformation: str
    rounding: str
    cubic: float = -0.75
    inside: bool = False


def coordinates(node: Node, rule: Rule, axis: Axis) -> FloatArray:
    """Source coordinate of each result element, in single precision as onnxruntime computes it."""
    target, scale = np.arange(axis.after, dtype=np.float32), np.float32(axis.scale)
    kind = rule.transformation
    if kind == "half_pixel" or (kind == "pytorch_half_pixel" and axis.after > 1):
        return (target + _HALF) / scale - _HALF
    if kind == "pytorch_half_pixel":
        return np.zeros(axis.after, np.float32)
    if kind == "asymmetric":
        return target / scale
    if kind == "align_corners":
        if axis.after == 1:
            return np.zeros(1, np.float32)
        return target * np.float32(axis.before - 1) / np.float32(axis.after - 1)
    if kind == "half_pixel_symmetric":
        adjustment = np.float32(axis.after) / (scale * np.float32(axis.before))
        centre = np.float32(axis.before) / np.float32(2)
        return centre * (1 - adjustment) + (target + _HALF) / scale - _HALF
    raise node.refuse(f"coordinate_transformation_mode {kind!r} cannot be converted")


def nearest(node: Node, rule: Rule, axis: Axis) -> Indices:
    """The element that each result element is a copy of."""
    place = coordinates(node, rule, axis)
    if rule.rounding == "round_prefer_floor":
        chosen = np.ceil(place - _HALF)
    elif rule.rounding == "round_prefer_ceil":
        chosen = np.floor(place + _HALF)
    elif rule.rounding == "floor":
        chosen = np.floor(place)
    elif rule.rounding == "ceil":
        chosen = np.ceil(place)
    elif rule.rounding == "simple":
        chosen = np.ceil(place) if axis.scale < 1 else np.trunc(place)
    else:
        raise node.refuse(f"nearest_mode {rule.rounding!r} is unknown")
    return np.asarray(np.clip(chosen, 0, axis.before - 1), np.int64)


def tflite_nearest(convention: Convention, axis: Axis) -> Indices:
    """What RESIZE_NEAREST_NEIGHBOR reads (tensorflow/lite/kernels/internal/reference/
    resize_nearest_neighbor.h, ``GetNearestNeighbor``)."""
    align_corners, half_pixel = convention
    corners = align_corners and axis.after > 1
    before, after = (axis.before - 1, axis.after - 1) if corners else (axis.before, axis.after)
    scale = np.float32(before) / np.float32(after)
    offset = _HALF if half_pixel else np.float32(0)
    place = (np.arange(axis.after, dtype=np.float32) + offset) * scale
    chosen = np.floor(place + _HALF) if align_corners else np.floor(place)
    return np.asarray(np.clip(chosen, 0, axis.before - 1), np.int64)


def agrees_linear(rule: Rule, convention: Convention, axis: Axis) -> bool:
    """Whether RESIZE_BILINEAR interpolates at exactly the model's coordinates, borders included."""
    scale = Fraction(axis.scale)
    half = Fraction(1, 2)
    for target in range(axis.after):
        corners = Fraction(target * (axis.before - 1), max(axis.after - 1, 1))
        centre = (target + half) / scale - half
        wanted = {
            "half_pixel": centre,
            "pytorch_half_pixel": centre if axis.after > 1 else Fraction(0),
            "asymmetric": target / scale,
            "align_corners": corners,
        }.get(rule.transformation)
        if wanted is None:
            return False
        offered = _tflite_linear(convention, target, axis)
        if abs(_clamped(wanted, axis.before) - _clamped(offered, axis.before)) > Fraction(1, 10**6):
            return False
    return True


def _tflite_linear(convention: Convention, target: int, axis: Axis) -> Fraction:
    """Source coordinate in tensorflow/lite/kernels/internal/reference/resize_bilinear.h."""
    align_corners, half_pixel = convention
    if align_corners and axis.after > 1:
        return Fraction(target * (axis.before - 1), axis.after - 1)
    scale = Fraction(axis.before, axis.after)
    if half_pixel:
        return (target + Fraction(1, 2)) * scale - Fraction(1, 2)
    return target * scale


def _clamped(coordinate: Fraction, before: int) -> Fraction:
    return min(max(coordinate, Fraction(0)), Fraction(before - 1))


def matrix(node: Node, rule: Rule, axis: Axis) -> FloatArray:
    """The axis as a linear map: weights [after, before] of a linear or cubic resize.

    What lies outside of the source is its outermost element.

    Cubic by the kernel of Keys, Cubic Convolution Interpolation for Digital Image Processing (1981), as the
    ONNX operator defines it.
    """
    place = coordinates(node, rule, axis).astype(np.float64)
    result = np.zeros((axis.after, axis.before))
    taps = (0, 1) if rule.mode == "linear" else (-1, 0, 1, 2)
    for row, coordinate in enumerate(place):
        base = int(np.floor(coordinate))
        weights = {base + tap: _weight(rule, coordinate - base - tap) for tap in taps}
        if rule.inside and rule.mode == "cubic":
            weights = {index: value for index, value in weights.items() if 0 <= index < axis.before}
            total = sum(weights.values())
            weights = {index: value / total for index, value in weights.items()}
        for index, value in weights.items():
            result[row, min(max(index, 0), axis.before - 1)] += value
    return result.astype(np.float32)


def _weight(rule: Rule, distance: float) -> float:
    x, a = abs(distance), rule.cubic
    if rule.mode == "linear":
        return max(1.0 - x, 0.0)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0
