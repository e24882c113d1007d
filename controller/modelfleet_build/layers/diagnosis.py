"""What is wrong with a layer that diverges, told from what it gives and what it should give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelfleet_build.layers.report import Layer
from modelfleet_build.layers.tap import FloatArray, StoredRange

_MOST = 0.5
"""Share of the squared error that an explanation must account for, where nothing better is said."""

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Evidence:
    """Some samples of one layer.

    Attributes:
        variant: [n, channels, ...] what it gives.
        forced: The same shape, what the parent's operators make of the variant's own inputs.
        stored: How the variant stores it.
    """

    variant: FloatArray
    forced: FloatArray
    stored: StoredRange | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Kind, clause and advice, as in `report.Divergence`."""

    kind: str
    why: str
    todo: str


_RECALIBRATE = (
    "calibrate on data that reaches the whole range, or with another method (percentile, entropy); "
    "otherwise leave this layer in float"
)
_CONVERTER = (
    "the converter changed the layer: report the model, or leave this class out until it is corrected"
)
_WEIGHTS = (
    "convert again from the same model; if it stays, leave this layer in float and report the model: "
    "its weights or their scales are not those of the float model"
)


def diagnose(layer: Layer, evidence: Evidence) -> Diagnosis:
    """The first explanation that accounts for the error, the most particular first."""
    v, f = (item.astype(np.float64) for item in (evidence.variant, evidence.forced))
    finite = np.isfinite(v) & np.isfinite(f)
    if layer.not_finite:
        why = (
            f"it gives NaN or infinite values where the float model's are finite ({layer.not_finite} values)"
        )
        return Diagnosis("not_finite", why, "leave this layer in float; look for a division or a power in it")
    v, f = np.where(finite, v, 0.0), np.where(finite, f, 0.0)
    error2 = float(((v - f) ** 2).sum())
    if error2 <= _TINY:
        return _values(layer)
    found = (
        _range(layer, evidence.stored, v, f, error2)
        or _step(layer, evidence.stored, v, error2)
        or _displaced(v, f, error2)
        or _border(v, f, error2)
        or _channels(v, f, error2)
        or _gain(v, f, error2)
        or _offset(v, f, error2)
    )
    return found or _values(layer)


def _range(
    layer: Layer,
    stored: StoredRange | None,
    v: npt.NDArray[np.float64],
    f: npt.NDArray[np.float64],
    error2: float,
) -> Diagnosis | None:
    if stored is None:
        return None
    clipped = np.clip(f, stored.low, stored.high)
    outside = f != clipped
    if float(((f - clipped) ** 2).sum()) < _MOST * error2:
        return None
    above = float((f > stored.high + stored.step / 2).mean())
    below = float((f < stored.low - stored.step / 2).mean())
    bound, reach, share = (
        (float(stored.high.max()), float(f.max()), above)
        if above >= below
        else (float(stored.low.min()), float(f.min()), below)
    )
    why = (
        f"its range is clipped at {bound:.3g} while the float model reaches {reach:.3g}; "
        f"{100 * (share or float(outside.mean())):.2g} % of its values lie beyond"
    )
    return Diagnosis("range", why, _RECALIBRATE)


def _step(
    layer: Layer, stored: StoredRange | None, v: npt.NDArray[np.float64], error2: float
) -> Diagnosis | None:
    if stored is None or v.size * float((stored.step**2).mean()) / 12 < _MOST * error2:
        return None
    why = (
        f"its values are stored in steps of {stored.step.max():.3g}, "
        f"range {stored.low.min():.3g} to {stored.high.max():.3g}, "
        f"while the float model stays within {layer.parent_low:.3g} to {layer.parent_high:.3g}"
    )
    todo = "calibrate without the outliers that widened the range (percentile), or leave this layer in float"
    return Diagnosis("step", why, todo)


def _displaced(v: npt.NDArray[np.float64], f: npt.NDArray[np.float64], error2: float) -> Diagnosis | None:
    """All values moved by one pixel: compare the inner part with every neighbour."""
    if v.ndim != 4 or min(v.shape[2:]) < 4:
        return None
    inner = v[:, :, 1:-1, 1:-1]
    here = float(((inner - f[:, :, 1:-1, 1:-1]) ** 2).sum())
    if here < _TINY:
        return None
    height, width = v.shape[2:]
    best, move = here, (0, 0)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            moved = f[:, :, 1 + y : height - 1 + y, 1 + x : width - 1 + x]
            left = float(((inner - moved) ** 2).sum())
            if left < best:
                best, move = left, (y, x)
    if best > 0.25 * here or move == (0, 0):
        return None
    why = f"its image is displaced by {move[0]} rows and {move[1]} columns: the padding is another"
    return Diagnosis("displaced", why, _CONVERTER)


def _border(v: npt.NDArray[np.float64], f: npt.NDArray[np.float64], error2: float) -> Diagnosis | None:
    if v.ndim != 4 or min(v.shape[2:]) < 4:
        return None
    inside = float(((v - f)[:, :, 1:-1, 1:-1] ** 2).sum())
    if inside > 0.1 * error2:
        return None
    why = (
        f"{100 * (1 - inside / error2):.0f} % of its error lies in the outermost pixels: the padding is wrong"
    )
    return Diagnosis("border", why, _CONVERTER)


def _channels(v: npt.NDArray[np.float64], f: npt.NDArray[np.float64], error2: float) -> Diagnosis | None:
    if v.ndim < 2 or v.shape[1] < 4:
        return None
    rows = [np.moveaxis(item, 1, 0).reshape(item.shape[1], -1) for item in (v, f)]
    by_channel = ((rows[0] - rows[1]) ** 2).sum(axis=1)
    order = np.argsort(by_channel)[::-1]
    needed = int(np.searchsorted(np.cumsum(by_channel[order]), 0.8 * error2)) + 1
    if needed > max(1, v.shape[1] // 4):
        return None
    guilty = sorted(int(item) for item in order[:needed])
    share = 100 * float(by_channel[guilty].sum()) / error2
    names = ", ".join(map(str, guilty[:6])) + (" ..." if needed > 6 else "")
    plural, carry = ("channels", "carry") if needed > 1 else ("channel", "carries")
    why = f"{plural} {names} of {v.shape[1]} {carry} {share:.0f} % of its error"
    for one in guilty[:6]:
        left = ((rows[0][one] - rows[1]) ** 2).sum(axis=1)
        other = int(left.argmin())
        if other != one and left[other] < 0.1 * by_channel[one]:
            why += f"; channel {one} holds what belongs into channel {other}"
            break
    return Diagnosis("channels", why, _WEIGHTS)


def _gain(v: npt.NDArray[np.float64], f: npt.NDArray[np.float64], error2: float) -> Diagnosis | None:
    """Least squares of v = g f."""
    gain = float((v * f).sum()) / max(float((f * f).sum()), _TINY)
    left = float(((v - gain * f) ** 2).sum())
    if left > 0.25 * error2:
        return None
    why = f"its values are {gain:.3g} times what they should be: a scale is wrong"
    return Diagnosis("gain", why, _WEIGHTS)


def _offset(v: npt.NDArray[np.float64], f: npt.NDArray[np.float64], error2: float) -> Diagnosis | None:
    shift = float((v - f).mean())
    if v.size * shift**2 < 0.6 * error2:
        return None
    why = f"its values are all shifted by {shift:.3g}: a bias or a zero point is wrong"
    return Diagnosis("offset", why, _WEIGHTS)


def _values(layer: Layer) -> Diagnosis:
    why = (
        f"its values do not follow the float model (own error {100 * layer.own_error:.0f} % of their RMS, "
        f"cosine {layer.cosine:.3f})"
    )
    return Diagnosis("values", why, _WEIGHTS)
