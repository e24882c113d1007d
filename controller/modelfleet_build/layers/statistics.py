"""Sums over samples from which a layer's numbers follow; one sample at a time, so that no value is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelfleet_build.layers.parent import Place
from modelfleet_build.layers.report import Layer
from modelfleet_build.layers.tap import FloatArray, StoredRange

_TINY = 1e-12


@dataclass(slots=True)
class LayerSums:
    """Sums of one value over the samples seen so far; all in float64."""

    stored: StoredRange | None
    count: int = 0
    parent2: float = 0.0
    variant2: float = 0.0
    product: float = 0.0
    total2: float = 0.0
    own2: float = 0.0
    saturated: int = 0
    beyond: int = 0
    not_finite: int = 0
    low: float = math.inf
    high: float = -math.inf
    channels: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, parent: FloatArray, variant: FloatArray, forced: FloatArray) -> None:
        """Take one sample in: [1, channels, ...] each; `forced` as `ParentGraph.forced` gives it."""
        p, v, f = (item.astype(np.float64) for item in (parent, variant, forced))
        usable = np.isfinite(p) & np.isfinite(f)
        broken = usable & ~np.isfinite(v)
        self.not_finite += int(broken.sum())
        usable &= ~broken
        if not usable.all():
            p, v, f = (np.where(usable, item, 0.0) for item in (p, v, f))
        own = (v - f) ** 2
        self.count += p.size
        self.parent2 += float((p * p).sum())
        self.variant2 += float((v * v).sum())
        self.product += float((p * v).sum())
        self.total2 += float(((v - p) ** 2).sum())
        self.own2 += float(own.sum())
        self.low, self.high = min(self.low, float(p.min())), max(self.high, float(p.max()))
        by_channel = own.reshape(own.shape[1], -1).sum(axis=1) if own.ndim > 1 else own.sum(keepdims=True)
        self.channels = by_channel if not self.channels.size else self.channels + by_channel
        if self.stored is not None:
            half = self.stored.step / 2
            ends = (v <= self.stored.low + half) & (f < self.stored.low - half)
            ends |= (v >= self.stored.high - half) & (f > self.stored.high + half)
            self.saturated += int(((v <= self.stored.low + half) | (v >= self.stored.high - half)).sum())
            self.beyond += int(ends.sum())

    def own_error(self) -> float:
        """RMS of the own error / RMS of the parent."""
        return _ratio(self.own2, self.parent2)

    def channel_error(self) -> float:
        """The same of the worst channel, per element."""
        worst = float(self.channels.max()) * len(self.channels)
        return _ratio(worst, self.parent2)

    def layer(self, value: str, place: Place) -> Layer:
        """The numbers."""
        total = _ratio(self.total2, self.parent2)
        lengths = math.sqrt(self.parent2) * math.sqrt(self.variant2)
        stored = self.stored
        return Layer(
            value=value,
            node=place.node,
            operators=place.operators,
            own_error=self.own_error(),
            total_error=total,
            channel_error=self.channel_error(),
            cosine=self.product / lengths if lengths > _TINY else 0.0,
            sqnr_db=-20 * math.log10(total) if total > _TINY else None,
            step=float(stored.step.max()) if stored is not None else None,
            low=float(stored.low.min()) if stored is not None else None,
            high=float(stored.high.max()) if stored is not None else None,
            parent_low=self.low,
            parent_high=self.high,
            saturated=self.saturated / self.count if stored is not None else None,
            beyond=self.beyond / self.count if stored is not None else None,
            not_finite=self.not_finite,
        )


def relative(difference: FloatArray, reference: FloatArray) -> tuple[float, float]:
    """Sums of squares of both, for a relative RMS over several samples."""
    d, r = difference.astype(np.float64), reference.astype(np.float64)
    return float((d * d).sum()), float((r * r).sum())


def ratio(difference2: float, reference2: float) -> float:
    """Relative RMS of two sums of squares; an error against nothing is infinite only where there is one."""
    return _ratio(difference2, reference2)


def _ratio(difference2: float, reference2: float) -> float:
    if difference2 <= 0:
        return 0.0
    return math.sqrt(difference2 / max(reference2, _TINY))
