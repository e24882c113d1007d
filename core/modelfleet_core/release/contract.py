"""Input contract: the logical tensors an application sees, and how one variant binds them physically.

Every variant of a release takes and gives the same logical tensors (float32; images NCHW). The physical side
says what the runtime's file wants: its tensor name, layout, dtype, and for integers scale and zero point:
`real = (q - zero_point) * scale`. Binding (transpose, quantise) is done by `modelfleet_runtimes.binding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_RANK = 6
MAX_TENSORS = 32
MAX_ELEMENTS = 64 * 1024 * 1024
BATCH = -1
"""A dimension that may vary (the batch); only allowed first."""


class Layout(StrEnum):
    """Order of a tensor's axes. `any` = no image axes; nothing is transposed."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    ANY = "any"


class DType(StrEnum):
    """Element types that cross the contract."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    UINT8 = "uint8"
    INT32 = "int32"
    INT64 = "int64"


@dataclass(frozen=True, slots=True)
class LogicalTensor:
    """What applications send or get: float32 unless said otherwise.

    Attributes:
        name: name of the tensor in the source model.
        shape: dimensions; `BATCH` (-1) only first.
        layout: `NCHW` for images, `any` otherwise.
        dtype: `float32` for all vision models of this version.
        minimum, maximum: values of the training input; None where unbounded. Inputs outside break the
            contract.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout = Layout.ANY
    dtype: DType = DType.FLOAT32
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Refuses impossible shapes."""
        if not self.name or len(self.name) > 256:
            raise ValueError("a tensor name has 1 to 256 characters")
        if not 1 <= len(self.shape) <= MAX_RANK:
            raise ValueError(
                f"tensor {self.name!r} has rank {len(self.shape)}; 1 to {MAX_RANK} are supported"
            )
        if any(d < 1 for d in self.shape[1:]) or (self.shape[0] < 1 and self.shape[0] != BATCH):
            raise ValueError(f"tensor {self.name!r} has shape {self.shape}; only the first may be {BATCH}")
        if self.layout is not Layout.ANY and len(self.shape) != 4:
            raise ValueError(f"tensor {self.name!r} is {self.layout} but has rank {len(self.shape)}")

    def elements_per_sample(self) -> int:
        """Number of elements without the batch dimension."""
        count = 1
        for d in self.shape[1:]:
            count *= d
        return count


@dataclass(frozen=True, slots=True)
class PhysicalTensor:
    """What the runtime's file wants for one logical tensor."""

    name: str
    dtype: DType
    layout: Layout = Layout.ANY
    shape: tuple[int, ...] = ()
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        """Integers need scale and zero point."""
        if self.dtype in (DType.INT8, DType.UINT8) and (
            self.scale is None or self.zero_point is None or not self.scale > 0
        ):
            raise ValueError(
                f"physical tensor {self.name!r} is {self.dtype}: scale > 0 and zero_point are needed"
            )


@dataclass(frozen=True, slots=True)
class TensorBinding:
    """One logical tensor and its physical counterpart in this variant."""

    logical: LogicalTensor
    physical: PhysicalTensor


@dataclass(frozen=True, slots=True)
class InputContract:
    """All inputs and outputs of one variant (`contract.json` in the variant folder)."""

    inputs: tuple[TensorBinding, ...]
    outputs: tuple[TensorBinding, ...]
    schema: int = 1

    def __post_init__(self) -> None:
        """Names must be unique on the logical side."""
        for side in (self.inputs, self.outputs):
            if not 1 <= len(side) <= MAX_TENSORS:
                raise ValueError(
                    f"a contract has 1 to {MAX_TENSORS} tensors on each side, this one {len(side)}"
                )
            names = [b.logical.name for b in side]
            if len(set(names)) != len(names):
                raise ValueError(f"logical tensor names repeat: {names}")

    def logical(self) -> tuple[tuple[LogicalTensor, ...], tuple[LogicalTensor, ...]]:
        """The logical side alone: equal for every variant of a release."""
        return tuple(b.logical for b in self.inputs), tuple(b.logical for b in self.outputs)
