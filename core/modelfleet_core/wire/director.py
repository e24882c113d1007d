"""Director statement: what one device shall run, signed by the online director key (layer C).

It can only choose among releases that the release bundles (layer A) authorise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from modelfleet_core.ids import is_digest, is_name

DIRECTOR_PAYLOAD = "application/vnd.modelfleet.director+json"
TIME_PAYLOAD = "application/vnd.modelfleet.time+json"
MAX_SLOTS: Final = 64


class Mode(StrEnum):
    """What the device does with the assigned release.

    `withdrawn`: the operation is taken back; go back to what was there before it, reject the release.
    """

    SHADOW = "shadow"
    LIVE = "live"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class SlotAssignment:
    """One slot's desired release.

    Attributes:
        slot: name of the slot (= the release's name).
        operation: identity of this attempt; a rejected release is installed again only under a new one.
        release: release id (sha256 of release.json); `reference` is `name:version` for people.
        variant: variant chosen for this device; the device checks that it fits its own facts.
        bundle: sha256 of the variant's Sigstore bundle, to be fetched as a blob.
        mode: shadow, live or withdrawn.
        baseline: release id whose golden set judges accuracy; None on a first install.
        window_s: length of an evidence window, seconds.
        probation_s: least time on probation after the switch before the device commits, seconds.
        bandwidth: limit of the download, bytes per second; None = unlimited.
        reverse_share: share of live inputs mirrored to the warm previous, on probation and in live stages.
        golden_tolerance_points: a golden drop beyond this blocks the switch to live.
        rollout: rollout id, or None for a baseline assignment.
    """

    slot: str
    operation: str
    release: str
    reference: str
    variant: str
    bundle: str
    mode: Mode
    baseline: str | None = None
    window_s: float = 300.0
    probation_s: float = 600.0
    bandwidth: float | None = None
    reverse_share: float = 0.05
    golden_tolerance_points: float = 2.0
    rollout: str | None = None

    def __post_init__(self) -> None:
        """Refuses what must not reach a path, a store key or a timer of a device, whoever signed it."""
        if not is_name(self.slot) or not is_name(self.variant):
            raise ValueError(f"slot {self.slot[:80]!r} or variant {self.variant[:80]!r} is not a plain name")
        digests = (self.release, self.bundle, *(() if self.baseline is None else (self.baseline,)))
        if not all(is_digest(d) for d in digests):
            raise ValueError(
                f"slot {self.slot}: release, bundle or baseline is not a sha256 in lower-case hex"
            )
        for text in (self.operation, self.reference, self.rollout or ""):
            if len(text) > 160 or not text.isprintable():
                raise ValueError(f"slot {self.slot}: operation, reference or rollout is not plain text")
        if not self.operation:
            raise ValueError(f"slot {self.slot}: the operation has no name")
        spans = (self.window_s, self.probation_s, self.bandwidth or 1.0, self.golden_tolerance_points)
        if not all(math.isfinite(x) and x >= 0 for x in spans) or self.window_s == 0 or self.bandwidth == 0:
            raise ValueError(f"slot {self.slot}: window, probation, bandwidth or tolerance is out of range")
        if not 0 <= self.reverse_share <= 1:
            raise ValueError(f"slot {self.slot}: reverse_share {self.reverse_share} is not within 0..1")


@dataclass(frozen=True, slots=True)
class DirectorStatement:
    """Signed content: device, revision, life, nonce of the request it answers, and the slots."""

    device: str
    revision: int
    issued_at: datetime
    expires_at: datetime
    nonce: str
    slots: tuple[SlotAssignment, ...]
    schema: int = 1

    def __post_init__(self) -> None:
        """Instants must be aware; a slot may stand once."""
        if self.issued_at.tzinfo is None or self.expires_at.tzinfo is None:
            raise ValueError("instants must be aware")
        if len(self.slots) > MAX_SLOTS:
            raise ValueError(f"{len(self.slots)} slots; at most {MAX_SLOTS} are allowed")
        names = [s.slot for s in self.slots]
        if len(set(names)) != len(names):
            raise ValueError(f"slots repeat: {names}")
