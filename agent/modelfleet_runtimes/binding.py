"""Logical tensors (float32, NCHW) <-> the physical tensors that a variant's file wants.

Formula of integer tensors: `real = (q - zero_point) * scale`, hence
`q = clip(round(real / scale) + zero_point, least, greatest)`, rounded half to even as TFLite and ONNX define.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import (
    BATCH,
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)

FloatArray = npt.NDArray[np.float32]
PhysicalArray = npt.NDArray[Any]

NUMPY_DTYPES: dict[DType, np.dtype[Any]] = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.FLOAT16: np.dtype(np.float16),
    DType.INT8: np.dtype(np.int8),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
}
_TO_NHWC = (0, 2, 3, 1)
_TO_NCHW = (0, 3, 1, 2)
# Inputs may leave the stated range by this share of it: resizing and colour conversion round.
_RANGE_SLACK = 1e-3


def check_inputs(contract: InputContract, inputs: Mapping[str, FloatArray]) -> int:
    """Check a request against the contract.

    Returns:
        The number of samples.

    Raises:
        CallerError: MF-4005; such a request counts for neither model (semantics section 2, errors).
    """
    expected = [binding.logical.name for binding in contract.inputs]
    if sorted(inputs) != sorted(expected):
        raise _breaks(f"the inputs are {sorted(inputs)}", f"exactly {expected}")
    samples: int | None = None
    for binding in contract.inputs:
        count = _check_input(binding.logical, inputs[binding.logical.name])
        if samples is not None and count != samples:
            raise _breaks(f"the inputs have {samples} and {count} samples", "the same number in every input")
        samples = count
    return samples if samples is not None else 0


def to_physical(binding: TensorBinding, value: FloatArray) -> PhysicalArray:
    """The array that the file's tensor takes, C-contiguous."""
    physical = binding.physical
    if binding.logical.layout is Layout.NCHW and physical.layout is Layout.NHWC:
        value = value.transpose(_TO_NHWC)
    return np.ascontiguousarray(quantise(physical, value))


def to_logical(binding: TensorBinding, value: PhysicalArray) -> FloatArray:
    """The logical array of what the file's tensor gave, C-contiguous, not sharing memory with it."""
    physical = binding.physical
    if binding.logical.layout is Layout.NCHW and physical.layout is Layout.NHWC:
        value = value.transpose(_TO_NCHW)
    return np.array(dequantise(physical, value), dtype=np.float32, order="C", copy=True)


def quantise(physical: PhysicalTensor, value: FloatArray) -> PhysicalArray:
    """Real values -> the tensor's element type."""
    dtype = NUMPY_DTYPES[physical.dtype]
    if physical.scale is None or physical.zero_point is None:
        return np.asarray(value, dtype)
    limits = np.iinfo(dtype)
    steps = np.rint(value / np.float32(physical.scale)) + np.float32(physical.zero_point)
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype)


def dequantise(physical: PhysicalTensor, value: PhysicalArray) -> FloatArray:
    """The tensor's elements -> real values."""
    if physical.scale is None or physical.zero_point is None:
        return np.asarray(value, np.float32)
    return (value.astype(np.float32) - np.float32(physical.zero_point)) * np.float32(physical.scale)


def check_output(logical: LogicalTensor, value: FloatArray, samples: int) -> None:
    """Refuse an answer that has not the shape of the contract.

    Raises:
        WorldError: MF-4007.
    """
    shape = (samples if logical.shape[0] == BATCH else logical.shape[0], *logical.shape[1:])
    if value.shape != shape:
        raise WorldError(
            Code.OUTPUT_WRONG,
            f"the output {logical.name!r} has shape {list(value.shape)}",
            expected=f"{list(shape)} as in the contract",
            todo="rebuild the variant; the file and its contract do not belong together",
        )


def _check_input(logical: LogicalTensor, value: FloatArray) -> int:
    name = logical.name
    if value.dtype != np.float32:
        raise _breaks(f"the input {name!r} is {value.dtype}", "float32")
    if value.ndim != len(logical.shape) or value.shape[1:] != logical.shape[1:] or value.shape[0] < 1:
        raise _breaks(f"the input {name!r} has shape {list(value.shape)}", _spelled(logical.shape))
    if logical.shape[0] != BATCH and value.shape[0] != logical.shape[0]:
        raise _breaks(f"the input {name!r} has {value.shape[0]} samples", f"{logical.shape[0]}")
    least, greatest = float(value.min()), float(value.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise _breaks(f"the input {name!r} holds NaN or infinite values", "finite values")
    low, high = logical.minimum, logical.maximum
    slack = _RANGE_SLACK * (high - low) if low is not None and high is not None else 0.0
    if (low is not None and least < low - slack) or (high is not None and greatest > high + slack):
        raise _breaks(f"the input {name!r} holds values from {least:g} to {greatest:g}", f"{low} to {high}")
    return int(value.shape[0])


def _spelled(shape: tuple[int, ...]) -> str:
    return "shape [" + ", ".join("n" if item == BATCH else str(item) for item in shape) + "]"


def _breaks(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.INPUT_BREAKS_CONTRACT,
        happened,
        expected=expected,
        todo="send what the release's input contract says (`fleetctl release show`)",
    )
