"""The port that makes a variant's inner values visible, one module per format behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import InputContract

FloatArray = npt.NDArray[np.float32]
RangeArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StoredRange:
    """How a value is stored as integers: size of a step, and the least and greatest real value.

    Each float64, one for the whole tensor or broadcast along its channels.
    """

    step: RangeArray
    low: RangeArray
    high: RangeArray


def stored_range(scale: object, zero_point: object, dtype: npt.DTypeLike) -> StoredRange:
    """The range of integers of `dtype` that stand for (q - zero_point) * scale."""
    limits = np.iinfo(np.dtype(dtype).name)
    step, point = np.asarray(scale, np.float64), np.asarray(zero_point, np.float64)
    return StoredRange(step, (limits.min - point) * step, (limits.max - point) * step)


class Tap(Protocol):
    """A variant, opened so that its inner values can be read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Values of the ONNX model that it has, by their ONNX names."""
        ...

    def stored(self, name: str) -> StoredRange | None:
        """How a value is stored; None = as floating point."""
        ...

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Every value of `names` for one sample, float32 in the axes of the ONNX model.

        Args:
            inputs: Every logical input, float32 [1, ...].
        """
        ...


@dataclass(frozen=True, slots=True)
class TapRequest:
    """What to open.

    Attributes:
        path: The file that the runtime opens.
        contract: How its tensors are bound.
        wanted: Values of the parent that would be of use.
    """

    path: Path
    contract: InputContract
    wanted: Collection[str]


def open_tap(request: TapRequest) -> Tap:
    """Open a variant by its format.

    Raises:
        CallerError: MF-1454, the inner values of this format cannot be seen.
    """
    opener = _OPENERS.get(request.path.suffix)
    if opener is None:
        raise opaque(request.path, f"files of the form *{request.path.suffix} do not show their inner values")
    return opener(request)


def opaque(path: Path, why: str) -> CallerError:
    """The refusal of a file whose inner values cannot be seen."""
    return CallerError(
        Code.LAYERS_OPAQUE,
        f"the layers of {path.name} cannot be compared: {why}",
        expected="an .onnx, .tflite or OpenVINO .xml file whose operators run on this machine",
        todo="explain a variant of another class that was quantized the same way, such as arm-litert.int8",
    )


def _onnx(request: TapRequest) -> Tap:
    from modelfleet_build.layers.tap_onnx import OnnxTap

    return OnnxTap(request)


def _tflite(request: TapRequest) -> Tap:
    from modelfleet_build.layers.tap_tflite import TfliteTap

    return TfliteTap(request)


def _openvino(request: TapRequest) -> Tap:
    from modelfleet_build.layers.tap_openvino import OpenVinoTap

    return OpenVinoTap(request)


_OPENERS: dict[str, Callable[[TapRequest], Tap]] = {
    ".onnx": _onnx,
    ".tflite": _tflite,
    ".xml": _openvino,
}
