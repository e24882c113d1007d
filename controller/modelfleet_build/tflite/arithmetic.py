"""Element-wise arithmetic on stored tensors, for operators that are compositions.

Every function takes tensor indices (or numbers on the right) and returns the index of a new tensor. What
``ai-edge-quantizer`` and Vela know in int8 is preferred to what is shorter: ``-x`` is ``x * -1``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelfleet_build.tflite.emitter import MAX_RANK, Emitter, fused
from modelfleet_build.tflite.graph import Activation, Kind, Shape

_OPTIONS = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "POW": "PowOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "EQUAL": "EqualOptions",
    "NOT_EQUAL": "NotEqualOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
    "LOGICAL_AND": "LogicalAndOptions",
    "LOGICAL_OR": "LogicalOrOptions",
}
FUSES = frozenset({"ADD", "SUB", "MUL", "DIV"})
Operand = int | float


def binary(
    emitter: Emitter,
    code: str,
    left: int,
    right: Operand,
    activation: Activation = Activation.NONE,
    *,
    kind: Kind | None = None,
) -> int:
    """An operator of two operands that broadcast as in NumPy. ``right`` is a number where it is a float."""
    other = emitter.floats_like(left, right) if isinstance(right, float) else right
    shape = np.broadcast_shapes(emitter.dims(left), emitter.dims(other))
    values = {"fusedActivationFunction": fused(activation)} if code in FUSES else {}
    inputs, result = [left, other], shape
    if len(shape) > MAX_RANK:
        inputs, result = merged(emitter, inputs, shape)
    made = emitter.op(code, inputs, result, _OPTIONS[code], kind=kind, fields=values)
    return emitter.reshape(made, shape)


def unary(emitter: Emitter, code: str, tensor: int, options: str | None = None) -> int:
    """An operator of one operand without parameters."""
    return emitter.op(code, [tensor], emitter.dims(tensor), options)


def activated(emitter: Emitter, tensor: int, activation: Activation) -> int:
    """``tensor`` after an activation, by operators that have int8 forms everywhere."""
    if activation is Activation.NONE:
        return tensor
    if activation is Activation.RELU:
        return unary(emitter, "RELU", tensor)
    # A product with one runs the clip inside; RELU6 by itself would be a float island in an int8 model.
    return binary(emitter, "MUL", tensor, 1.0, activation)


def mean(emitter: Emitter, tensor: int, axes: Sequence[int], code: str = "MEAN") -> int:
    """Reduce stored ``axes``, which stay with size 1."""
    shape = [1 if axis in axes else size for axis, size in enumerate(emitter.dims(tensor))]
    inputs = [tensor, emitter.int32("axes", sorted(axes))]
    return emitter.op(code, inputs, shape, "ReducerOptions", keepDims=True)


def merged(emitter: Emitter, inputs: list[int], shape: Shape) -> tuple[list[int], Shape]:
    """Operands and result shape with neighbouring axes merged that all operands broadcast alike.

    Raises:
        Refused: More than four axes are left.
    """
    rank = len(shape)
    sizes = [(*(1,) * (rank - len(emitter.dims(item))), *emitter.dims(item)) for item in inputs]
    groups: list[list[int]] = []
    pattern: tuple[bool, ...] = ()
    for axis in range(rank):
        if shape[axis] == 1:
            continue
        present = tuple(size[axis] != 1 for size in sizes)
        if groups and present == pattern:
            groups[-1].append(axis)
        else:
            groups.append([axis])
        pattern = present
    if len(groups) > MAX_RANK:
        raise emitter.node.refuse(f"broadcasting over {len(groups)} groups of axes cannot be converted")

    def of(size: Shape) -> Shape:
        return tuple(int(np.prod([size[axis] for axis in group])) for group in groups)

    return [emitter.reshape(item, of(size)) for item, size in zip(inputs, sizes, strict=True)], of(shape)
