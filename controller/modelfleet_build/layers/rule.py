"""Which layer diverges first. The rule, in words:

A layer is *suspect* when its own error reaches the floor of the variant's precision and four times the
median own error of all layers (or, for a single channel, three floors and twelve medians), or when it gives
NaN where the parent does not. The first suspect in the order of the graph *diverges* when its own error
alone, added to the float model, changes an output by the effect floor. Own errors do not pile up from layer
to layer, so the rule is as sharp at the end of a deep network as at its beginning; a healthy layer's is that
of rounding to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelfleet_build.layers.report import Divergence, Layer
from modelfleet_core.release.manifest import Precision

MOST_SUSPECTS = 12
_FLOORS = {Precision.FP32: 1e-3, Precision.FP16: 0.02, Precision.INT8: 0.1}
_FACTOR = 4.0
_CHANNEL = 3.0
_EFFECT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """The numbers of the rule for one comparison; see the module.

    Attributes:
        floor: Least own error of a suspect.
        factor: Least multiple of the median.
        median: Median own error of the layers.
        effect: Least change of an output.
    """

    floor: float
    factor: float
    median: float
    effect: float


def limits(precision: Precision, layers: Sequence[Layer]) -> RuleLimits:
    """The limits for a variant of that precision."""
    errors = [layer.own_error for layer in layers if math.isfinite(layer.own_error)]
    floor = _FLOORS[precision]
    return RuleLimits(floor, _FACTOR, float(np.median(errors)) if errors else 0.0, _EFFECT_SHARE * floor)


def is_suspect(layer: Layer, bounds: RuleLimits) -> bool:
    """Whether a layer's own error stands out."""
    if layer.not_finite:
        return True
    whole = max(bounds.floor, bounds.factor * bounds.median)
    return layer.own_error >= whole or layer.channel_error >= _CHANNEL * whole


def first(layers: Sequence[Layer], bounds: RuleLimits) -> Layer | None:
    """The first layer that diverges, None where none does."""
    for layer in layers:
        if layer.suspect and (layer.not_finite or (layer.effect or 0.0) >= bounds.effect):
            return layer
    return None


def verdict(layers: Sequence[Layer], bounds: RuleLimits, divergence: Divergence | None) -> str:
    """The one sentence."""
    if divergence is not None:
        return f"{spelled(divergence)} is the first layer that diverges: {divergence.why}"
    if not layers:
        return "nothing could be compared"
    worst = max(layers, key=lambda layer: layer.own_error)
    told = (
        f"no layer diverges: the worst own error is {100 * worst.own_error:.2g} % at {spelled(worst)} "
        f"(median {100 * bounds.median:.2g} %)"
    )
    suspects = [layer for layer in layers if layer.suspect]
    if suspects:
        told += f"; {spelled(suspects[0])} stands out, but no output feels it"
    return told


def spelled(layer: Layer | Divergence) -> str:
    """`Conv+Clip /b4/Clip`."""
    return f"{'+'.join(layer.operators[-3:])} {layer.node}"
