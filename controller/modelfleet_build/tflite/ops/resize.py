"""``Resize`` and ``Upsample`` of images and sequences: exact, whatever the coordinates.

TFLite's operators are taken where they read exactly the elements the model reads. Every other nearest resize
is a choice of rows and columns; every other linear or cubic one a product with a constant matrix per axis.
"""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import FloatArray, Node
from modelfleet_build.tflite.interpolation import (
    CONVENTIONS,
    Axis,
    Convention,
    Rule,
    agrees_linear,
    matrix,
    nearest,
    tflite_nearest,
)
from modelfleet_build.tflite.ops.dense import batch_matmul
from modelfleet_build.tflite.ops.image import define_image, image, output_size
from modelfleet_build.tflite.ops.slicing import take


def resize(emitter: Emitter, node: Node) -> None:
    """``Resize`` and ``Upsample`` -> RESIZE_*, GATHER or BATCH_MATMUL."""
    shape, after = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
    if len(shape) not in (3, 4) or shape[:2] != after[:2]:
        raise node.refuse(f"{list(shape)} to {list(after)}: only spatial axes of NCHW can be resized")
    rule, axes = _rule(emitter, node), _axes(emitter, node)
    tensor = image(emitter, node, node.inputs[0])
    convention = _convention(node, rule, axes)
    if convention is not None:
        result = _resized(emitter, node, tensor, rule, convention)
    elif rule.mode == "nearest":
        for place, axis in zip((1, 2), axes, strict=True):
            tensor = take(emitter, tensor, [int(item) for item in nearest(node, rule, axis)], place)
        result = tensor
    else:
        result = _interpolated(emitter, node, tensor, rule, axes)
    define_image(emitter, node, result)


def _rule(emitter: Emitter, node: Node) -> Rule:
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise node.refuse(f"mode {mode!r} cannot be converted")
    if node.integer("antialias", 0) or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("antialias and keep_aspect_ratio_policy cannot be converted")
    if emitter.graph.opset < 11 or node.op == "Upsample":
        return Rule(mode, "asymmetric", "simple")
    return Rule(
        mode,
        node.text("coordinate_transformation_mode", "half_pixel"),
        node.text("nearest_mode", "round_prefer_floor"),
        node.number("cubic_coeff_a", -0.75),
        bool(node.integer("exclude_outside", 0)),
    )


def _axes(emitter: Emitter, node: Node) -> tuple[Axis, Axis]:
    """Height and width; the scale is the one stated, else the ratio of the sizes."""
    before, after = emitter.graph.shape(node.inputs[0]), emitter.graph.shape(node.output)
    scales = [after[axis] / before[axis] for axis in range(len(before))]
    position = 2 if emitter.graph.opset >= 11 and node.op == "Resize" else 1
    stated: tuple[float, ...] = ()
    if node.has_input(position):
        stated = tuple(float(item) for item in emitter.floats(node, position).reshape(-1))
    elif isinstance(given := node.attributes.get("scales"), tuple):
        stated = tuple(float(item) for item in given)
    where = node.integers("axes", None) or tuple(range(len(before)))
    if stated:
        for axis, scale in zip(where, stated, strict=True):
            scales[axis % len(before)] = scale
    found = [Axis(before[axis], after[axis], scales[axis]) for axis in range(2, len(before))]
    return (Axis(1, 1, 1.0), found[0]) if len(found) == 1 else (found[0], found[1])


def _convention(node: Node, rule: Rule, axes: tuple[Axis, Axis]) -> Convention | None:
    """The flags with which TFLite's own operator is exact, if there are any."""
    for convention in CONVENTIONS:
        if rule.mode == "nearest" and all(
            bool((nearest(node, rule, axis) == tflite_nearest(convention, axis)).all()) for axis in axes
        ):
            return convention
        if rule.mode == "linear" and all(agrees_linear(rule, convention, axis) for axis in axes):
            return convention
    return None


def _resized(emitter: Emitter, node: Node, tensor: int, rule: Rule, convention: Convention) -> int:
    code, options = (
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        if rule.mode == "nearest"
        else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    )
    size = output_size(emitter, node)
    batch, _, _, channels = emitter.dims(tensor)
    return emitter.op(
        code,
        [tensor, emitter.int32("size", size)],
        (batch, *size, channels),
        options,
        version=3 if convention[1] else 1,
        alignCorners=convention[0],
        halfPixelCenters=convention[1],
    )


def _interpolated(emitter: Emitter, node: Node, tensor: int, rule: Rule, axes: tuple[Axis, Axis]) -> int:
    """Rows by a matrix from the left, then columns by one for each row: nothing is transposed."""
    batch, height, width, channels = emitter.dims(tensor)
    maps = [matrix(node, rule, axis) for axis in axes]
    rows, columns = (emitter.constant(f"{node.name}:weights", item[None]) for item in maps)
    if not _is_identity(maps[0]):
        tensor = batch_matmul(emitter, rows, emitter.reshape(tensor, (batch, height, width * channels)))
        height = axes[0].after
    if not _is_identity(maps[1]):
        tensor = batch_matmul(emitter, columns, emitter.reshape(tensor, (height, width, channels)))
        width = axes[1].after
    return emitter.reshape(tensor, (batch, height, width, channels))


def _is_identity(weights: FloatArray) -> bool:
    return weights.shape[0] == weights.shape[1] and bool((weights == np.eye(len(weights))).all())
