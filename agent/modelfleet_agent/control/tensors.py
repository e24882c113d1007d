"""Tensors as they travel between processes: a head (name, element type, shape) and raw little-endian
elements.

Knows sizes, not values: serve passes tensors on without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modelfleet_core.release.contract import MAX_ELEMENTS, MAX_RANK, MAX_TENSORS, DType

from .framing import invalid

ELEMENT_BYTES: Final[dict[DType, int]] = {
    DType.FLOAT32: 4,
    DType.FLOAT16: 2,
    DType.INT8: 1,
    DType.UINT8: 1,
    DType.INT32: 4,
    DType.INT64: 8,
}


@dataclass(frozen=True, slots=True)
class TensorHead:
    """Name, element type and shape (first dimension: samples) of one tensor whose elements stand in the
    body."""

    name: str
    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32

    def size(self) -> int:
        """Bytes of its elements.

        Raises:
            CallerError: MF-4036, rank, dimensions or number of elements are outside their limits.
        """
        if not 1 <= len(self.shape) <= MAX_RANK or min(self.shape) < 0 or len(self.name) > 256:
            raise invalid(
                f"a tensor {self.name[:64]!r} of shape {self.shape[:8]}", f"1 to {MAX_RANK} dimensions"
            )
        count = 1
        for dimension in self.shape:
            count *= dimension
            if count > MAX_ELEMENTS:
                raise invalid(f"a tensor of shape {self.shape}", f"at most {MAX_ELEMENTS} elements")
        return count * ELEMENT_BYTES[self.dtype]


def cut(heads: Sequence[TensorHead], body: memoryview) -> list[memoryview]:
    """Each tensor's elements in `body`, without copying.

    Raises:
        CallerError: MF-4036, the heads do not add up to the body.
    """
    if len(heads) > MAX_TENSORS:
        raise invalid(f"{len(heads)} tensors", f"at most {MAX_TENSORS}")
    parts: list[memoryview] = []
    at = 0
    for head in heads:
        end = at + head.size()
        parts.append(body[at:end])
        at = end
    if at != len(body):
        raise invalid(
            f"tensors of {at} bytes in a body of {len(body)}", "heads and body that belong together"
        )
    return parts
