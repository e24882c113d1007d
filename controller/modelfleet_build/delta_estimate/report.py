"""What an estimate of a delta says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeltaEstimate:
    """A delta from the variant of the previous release to this one, same class and recipe.

    Attributes:
        variant: Name of the variant.
        previous: Release that the delta would start from, `name:version`.
        full_bytes: Compressed size of the new variant's file.
        delta_bytes: Estimated size of the delta.
        tensors: Constants of the new variant.
        matched: How many of them have a counterpart of the same name and shape.
        equal_share: Share of the matched bytes that did not change, 0 to 1.
        changed_int8: Share of the matched int8 values that changed, 0 to 1; None where there are none.
        scales, changed_scales: Numbers of values between operators that are quantized in both, and of those
            whose scale or zero point changed.
        kind: `folded`, `renamed`, `architecture`, `batchnorm`, `calibration` or `training`; empty where the
            delta is small and nothing avoidable made it larger.
        cause: The same as a clause with its numbers.
    """

    variant: str
    previous: str
    full_bytes: int
    delta_bytes: int
    tensors: int
    matched: int
    equal_share: float
    changed_int8: float | None
    scales: int
    changed_scales: int
    kind: str
    cause: str

    @property
    def share(self) -> float:
        """Delta / full, 0 to about 1."""
        return self.delta_bytes / self.full_bytes if self.full_bytes else 1.0
