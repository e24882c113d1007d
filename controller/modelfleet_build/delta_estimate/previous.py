"""Compares the variants of a release with those of an earlier release folder."""

from __future__ import annotations

from pathlib import Path

from modelfleet_build.delta_estimate.estimate import estimate
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


def delta_warnings(deltas: tuple[DeltaEstimate, ...]) -> tuple[str, ...]:
    """One sentence for each kind of cause, about the variant that it costs most."""
    told: list[str] = []
    for kind in dict.fromkeys(item.kind for item in deltas if item.kind):
        struck = sorted((item for item in deltas if item.kind == kind), key=lambda item: item.share)
        least, worst = struck[0], struck[-1]
        shares = f"{100 * worst.share:.0f} %"
        if round(100 * least.share) != round(100 * worst.share):
            shares = f"{100 * least.share:.0f} to {shares}"
        count = f"{len(struck)} of {len(deltas)} variants"
        told.append(
            f"a delta from {worst.previous} would take about {shares} of the file for {count}, "
            f"most for {worst.variant}: {worst.cause}"
        )
    return tuple(told)
