"""Where a tensor's logical axes are stored: every tensor of rank 4 is NHWC, every other as it is.

One rule without exceptions, so that two operators never have to agree on the layout of the value between
them. It costs a transpose where a model reshapes through rank 4; convolutional models do not.
"""

from __future__ import annotations

import numpy as np

from modelfleet_build.tflite.graph import FloatArray, Shape

# Stored axis i of a rank-4 tensor holds this logical axis.
NHWC = (0, 2, 3, 1)


def stored_order(rank: int) -> tuple[int, ...]:
    """Which logical axis each stored axis holds."""
    return NHWC if rank == 4 else tuple(range(rank))


def stored_shape(shape: Shape) -> Shape:
    """Shape as stored, of a value with the logical ``shape``."""
    return tuple(shape[axis] for axis in stored_order(len(shape)))


def stored_axis(axis: int, rank: int) -> int:
    """Stored position of a logical axis; a negative axis counts from the end."""
    return stored_order(rank).index(axis % rank)


def stored_constant(value: FloatArray, rank: int) -> FloatArray:
    """A constant that is broadcast against a value of ``rank``, as stored beside that value."""
    if value.ndim > rank:
        raise ValueError(f"a constant of rank {value.ndim} cannot be broadcast to rank {rank}")
    if value.ndim <= 1 and value.size == 1:
        return value.reshape((1,) * value.ndim)
    wide = value.reshape((1,) * (rank - value.ndim) + value.shape)
    return np.ascontiguousarray(wide.transpose(stored_order(rank)))


def is_order_free(shape: Shape) -> bool:
    """Whether NCHW and NHWC put the elements of ``shape`` in the same order."""
    if len(shape) != 4:
        return True
    return shape[1] == 1 or shape[2] * shape[3] == 1
