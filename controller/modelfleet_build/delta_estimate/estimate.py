"""The estimate: what differs, compressed, and the likeliest cause where that is much.

Both sizes are of one compressor (LZMA of the standard library), so their ratio says what a delta saves.
Matched tensors enter as the difference of their elements, as unsigned integers modulo their width and with
equal bytes of all elements beside one another; unmatched ones as they are.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass, replace

import numpy as np

from modelfleet_build.delta_estimate.report import DeltaEstimate
from modelfleet_build.delta_estimate.tensors import Bytes, Tensor, Weights

USELESS = 0.7
"""From this share of the full download on, a delta is hardly worth its trouble."""

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_ALMOST_ALL = 0.9
_FEW = 0.1


@dataclass(frozen=True, slots=True)
class _Pair:
    """A tensor and its counterpart in the previous variant, None where it has none."""

    new: Tensor
    old: Tensor | None


def estimate(variant: str, previous: str, old: Weights, new: Weights) -> DeltaEstimate:
    """Compare two variants of one class and recipe.

    Args:
        variant: Name, for the report.
        previous: Release of `old`.
        old: What devices have.
        new: What they shall get.
    """
    by_name = {tensor.name: tensor for tensor in old.tensors}
    pairs = [_Pair(tensor, _counterpart(tensor, by_name)) for tensor in new.tensors]
    full = _compressed(list(new.content))
    # The rest of the file (graph, names, scales) costs as much as of its names and scales is new.
    skeleton = max(0, full - _compressed([pair.new.data for pair in pairs]))
    delta = _compressed([_difference(pair) for pair in pairs]) + round(skeleton * _changed_share(old, new))
    known = [(pair.new, pair.old) for pair in pairs if pair.old is not None]
    total = sum(len(one.data) for one, _ in known)
    equal = sum(int((one.data == other.data).sum()) for one, other in known)
    integers = [(one.data, other.data) for one, other in known if one.is_small_integer]
    count = sum(len(one) for one, _ in integers)
    moved = sum(int((one != other).sum()) for one, other in integers)
    both = [name for name in new.activation_scales if name in old.activation_scales]
    changed_scales = sum(old.activation_scales[name] != new.activation_scales[name] for name in both)
    made = DeltaEstimate(
        variant=variant,
        previous=previous,
        full_bytes=full,
        delta_bytes=min(delta, full),
        tensors=len(pairs),
        matched=len(known),
        equal_share=equal / total if total else 0.0,
        changed_int8=moved / count if count else None,
        scales=len(both),
        changed_scales=changed_scales,
        kind="",
        cause="",
    )
    kind, cause = _cause(made, old, new, known)
    return replace(made, kind=kind, cause=cause)


def _counterpart(tensor: Tensor, by_name: dict[str, Tensor]) -> Tensor | None:
    found = by_name.get(tensor.name)
    same = found is not None and (found.kind, found.shape) == (tensor.kind, tensor.shape)
    return found if same and found is not None and len(found.data) == len(tensor.data) else None


def _difference(pair: _Pair) -> Bytes:
    if pair.old is None:
        return pair.new.data
    width = _UNSIGNED.get(pair.new.item, np.uint8)
    new, old = (np.ascontiguousarray(item.data).view(width) for item in (pair.new, pair.old))
    planes = np.subtract(new, old).view(np.uint8).reshape(-1, pair.new.item if width != np.uint8 else 1)
    return np.ascontiguousarray(planes.T).reshape(-1)


def _compressed(parts: list[Bytes]) -> int:
    # Filters without a container: its header would weigh on small models.
    made = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    size = sum(len(made.compress(part.tobytes())) for part in parts)
    return size + len(made.flush())


def _changed_share(old: Weights, new: Weights) -> float:
    """Share of names and scales that are not those of the previous variant."""
    mine = {**new.activation_scales, **new.weight_scales, **{t.name: () for t in new.tensors}}
    theirs = {**old.activation_scales, **old.weight_scales, **{t.name: () for t in old.tensors}}
    if not mine:
        return 0.0
    return sum(theirs.get(name) != numbers for name, numbers in mine.items()) / len(mine)


def _cause(
    made: DeltaEstimate, old: Weights, new: Weights, known: list[tuple[Tensor, Tensor]]
) -> tuple[str, str]:
    """The likeliest reason; the one that a person can do most about first."""
    if old.normalisations != new.normalisations:
        return "folded", (
            f"BatchNorm was folded otherwise: {old.normalisations} were left in the previous variant, "
            f"{new.normalisations} in this one; export both the same way"
        )
    if made.tensors and made.matched < (1 - _ALMOST_ALL) * made.tensors:
        matched = f"{made.matched} of {made.tensors} tensors match by name"
        mine, theirs = (sorted((t.kind, t.shape) for t in item.tensors) for item in (new, old))
        if mine != theirs:
            return "architecture", f"the architecture changed: {matched}"
        return "renamed", f"nodes were renamed: {matched}; keep the exporter and the names of the modules"
    if rescaled := _rescaled(old, new, known):
        told = f"the channels of {rescaled} are rescaled; freeze BatchNorm when fine-tuning"
        return "batchnorm", f"BatchNorm moved: {told}"
    if _only_scales(made):
        which = "all" if made.changed_scales == made.scales else f"{made.changed_scales} of"
        told = "calibration differs; keep the calibration data and method"
        return "calibration", f"{which} {made.scales} scales changed: {told}"
    if made.share < USELESS:
        return "", ""
    changed = "of the weights' bytes" if made.changed_int8 is None else "of the int8 weights"
    share = 1 - made.equal_share if made.changed_int8 is None else made.changed_int8
    told = "training moved every layer; freeze layers, or train gentler"
    return "training", f"{100 * share:.0f} % {changed} changed: {told}"


def _only_scales(made: DeltaEstimate) -> bool:
    """Whether calibration moved every scale though the weights hardly changed."""
    few = made.changed_int8 is not None and made.changed_int8 < _FEW
    return few and made.scales > 0 and made.changed_scales >= _ALMOST_ALL * made.scales


def _rescaled(old: Weights, new: Weights, known: list[tuple[Tensor, Tensor]]) -> str:
    """`12 of 14 weights`, where most weights are the old ones times a number for each output channel."""
    floats = [(a, b) for a, b in known if a.kind == "float32" and _has_rows(a)]
    if floats:
        hits = sum(_row_scaled(a, b) for a, b in floats)
        return f"{hits} of {len(floats)} weights" if hits > len(floats) / 2 else ""
    integers = [a.name for a, b in known if a.is_small_integer and _equal(a, b) > 1 - _FEW]
    moved = [
        name
        for name in integers
        if len(new.weight_scales.get(name, ())) > 2 and _moved(old, new, name) > 0.01
    ]
    return f"{len(moved)} of {len(integers)} weights" if len(moved) > len(integers) / 2 > 0 else ""


def _has_rows(tensor: Tensor) -> bool:
    """Whether it has output channels of several weights each; any single number is a multiple of another."""
    return len(tensor.shape) >= 2 and tensor.shape[0] > 1 and len(tensor.data) >= 16 * tensor.shape[0]


def _row_scaled(new: Tensor, old: Tensor) -> bool:
    """Whether new = k old for each row, with k not 1, up to a tenth of the change."""
    a, b = (np.frombuffer(t.data.tobytes(), np.float32).reshape(t.shape[0], -1) for t in (new, old))
    change = float(((a - b) ** 2).sum())
    if change < 1e-6 * float((b * b).sum()):
        return False
    gain = (a * b).sum(axis=1) / np.maximum((b * b).sum(axis=1), 1e-12)
    return float(((a - gain[:, None] * b) ** 2).sum()) < _FEW * change


def _equal(a: Tensor, b: Tensor) -> float:
    return float((a.data == b.data).mean()) if len(a.data) else 1.0


def _moved(old: Weights, new: Weights, name: str) -> float:
    """Mean relative change of a tensor's scales."""
    mine, theirs = np.asarray(new.weight_scales[name]), np.asarray(old.weight_scales.get(name, ()))
    if mine.shape != theirs.shape:
        return 0.0
    live = theirs != 0
    return float(np.abs(mine[live] / theirs[live] - 1).mean()) if live.any() else 0.0
