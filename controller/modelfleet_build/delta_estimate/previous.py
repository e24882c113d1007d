"""Compares the variants of a release with those of an earlier release folder."""

from __future__ import annotations

from pathlib import Path

from modelfleet_build.delta_estimate.estimate import USELESS, estimate
from modelfleet_build.delta_estimate.report import DeltaEstimate
from modelfleet_build.delta_estimate.tensors import read_weights
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.release.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, Variant
from modelfleet_core.wire import codec

_VARIANTS = "variants"


def read_previous(folder: Path) -> Manifest:
    """The manifest of the earlier release.

    Raises:
        CallerError: MF-1456, there is none or it cannot be read.
    """
    path = folder / MANIFEST_NAME
    try:
        return codec.decode(path.read_bytes(), Manifest, what=str(path), limit=MAX_MANIFEST_BYTES)
    except (OSError, ModelfleetError) as error:
        raise CallerError(
            Code.PREVIOUS_UNREADABLE,
            f"the previous release {folder} cannot be read: {str(error)[:200]}",
            expected="a folder that `fleetctl build` wrote",
            todo="correct --previous, or leave it out",
        ) from error


def estimates(previous: Path, folder: Path, variants: tuple[Variant, ...]) -> tuple[DeltaEstimate, ...]:
    """An estimate for every variant whose class and recipe the earlier release has, too.

    Args:
        previous: Earlier release folder.
        folder: Folder of the new release.
        variants: Of the new release.
    """
    before = read_previous(previous)
    found: list[DeltaEstimate] = []
    for variant in variants:
        old = before.variant(variant.name)
        if old is None or old.recipe != variant.recipe:
            continue
        try:
            one = read_weights(previous / _VARIANTS / old.name, old.entry)
            other = read_weights(folder / _VARIANTS / variant.name, variant.entry)
        except (OSError, ValueError):
            continue  # what cannot be read is no reason to fail a build that is done
        if one is not None and other is not None:
            found.append(estimate(variant.name, before.reference(), one, other))
    return tuple(found)


def warning(item: DeltaEstimate) -> str | None:
    """The sentence for the report; None where deltas will do."""
    if item.share < USELESS and not item.cause:
        return None
    sizes = f"about {item.delta_bytes} of {item.full_bytes} bytes ({100 * item.share:.0f} %)"
    return f"{item.variant}: a delta from {item.previous} would take {sizes}: {item.cause}"
