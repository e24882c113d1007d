"""Who takes part: a device's place is a hash, a stage is a cutoff, so membership needs no list of devices.

Rule 1 (semantics section 1): position = first 64 bits of sha256(salt | device id); a device belongs to a
stage when its position is at or below the stage's cutoff for its class. One cutoff per class and stage is
resolved when the stage begins and never changes; so a stage change writes O(1) rows.
Rule 2: cohorts nest. Every cohort is a prefix in the order of positions, and among stages of one mode a later
cutoff is never below an earlier one.
Rule 3: `devices: N` is closed: it takes the N first of the devices known when it began. `percent` is open:
later devices below the cutoff fall in, as long as seats are free.
Rule 4: a live stage of N devices takes first those that proved themselves in shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from hashlib import sha256
from typing import Final

from modelfleet_core.rollout.plan import Stage
from modelfleet_core.wire.director import Mode

POSITIONS: Final = 1 << 64
NOBODY: Final = -1
_SIGN: Final = 1 << 63


def position(salt: str, device: str) -> int:
    """A device's place in a rollout, 0 <= place < 2**64; another salt (a retry) gives another order."""
    return int.from_bytes(sha256(f"{salt}|{device}".encode()).digest()[:8], "big")


def to_signed(place: int) -> int:
    """The place as a signed 64-bit integer in the same order, for databases without unsigned ones."""
    return place - _SIGN


def from_signed(stored: int) -> int:
    """The inverse of `to_signed`."""
    return stored + _SIGN


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The cohort of one class in one stage: what is stored in the stage row.

    Attributes:
        highest: largest position that belongs to it; NOBODY = no device.
        admits: seats; None = as many as there are (100 percent).
        known_by: only devices that were known (enrolled, and matching) at this instant belong; None = open.
    """

    highest: int
    admits: int | None
    known_by: datetime | None = None

    def holds(self, place: int, joined_at: datetime) -> bool:
        """Whether a device at that position, known since `joined_at` (aware), belongs to it."""
        return place <= self.highest and (self.known_by is None or joined_at <= self.known_by)

    def seats(self, members: int) -> int:
        """Devices of that many members which may take part at once."""
        return members if self.admits is None else min(self.admits, members)

    def has_seat(self, taken: int) -> bool:
        """Whether one more device may take part when `taken` do already; the others wait."""
        return self.admits is None or taken < self.admits


def resolve(
    stage: Stage,
    eligible: Iterable[int],
    now: datetime,
    *,
    before: Cutoff | None = None,
    proven: Iterable[int] = (),
    shadow: Cutoff | None = None,
) -> Cutoff:
    """The cutoff of a stage for one class, at the moment it begins.

    Args:
        stage: the stage that begins.
        eligible: positions of the class's devices that match, were seen recently and have not failed or
            refused.
        now: the instant, aware.
        before: cutoff of the last earlier stage of the same mode; this one is never smaller.
        proven: live stages: positions of the eligible devices that are running the release in shadow.
        shadow: live stages: cutoff of the last shadow stage.
    """
    places = sorted(eligible)
    if stage.devices is not None:
        found = _first(
            stage.devices, places, now, sorted(proven), shadow if stage.mode is Mode.LIVE else None
        )
    else:
        found = _share(stage.percent or 0.0, places)
    if before is None:
        return found
    return _at_least(found, before)


def _first(
    wanted: int, places: Sequence[int], now: datetime, proven: Sequence[int], shadow: Cutoff | None
) -> Cutoff:
    if shadow is not None and len(proven) >= wanted:
        return Cutoff(proven[wanted - 1], wanted, shadow.known_by)
    if not places:
        return Cutoff(NOBODY, wanted, now)
    return Cutoff(places[min(wanted, len(places)) - 1], wanted, now)


def _share(percent: float, places: Sequence[int]) -> Cutoff:
    if percent >= 100:
        return Cutoff(POSITIONS - 1, None)
    part = Fraction(percent) / 100
    highest = math.ceil(part * POSITIONS) - 1
    if places:
        highest = max(highest, places[0])  # rounded up to at least one device per class
    below = sum(place <= highest for place in places)
    return Cutoff(highest, max(1, below, math.ceil(part * len(places))))


def _at_least(found: Cutoff, before: Cutoff) -> Cutoff:
    """Rule 2. An open cohort stays open, a closed one keeps the devices that it had."""
    admits = None if found.admits is None or before.admits is None else max(found.admits, before.admits)
    known_by = found.known_by
    if before.known_by is None:
        known_by = None
    elif known_by is not None:
        known_by = max(known_by, before.known_by)
    return Cutoff(max(found.highest, before.highest), admits, known_by)


def mode_of(
    place: int, joined_at: datetime, stages: Sequence[Stage], cutoffs: Sequence[Cutoff]
) -> Mode | None:
    """In which mode a device takes part now: live, shadow, or not at all.

    Args:
        place: its position.
        joined_at: since when it is known; aware.
        stages: the plan's stages.
        cutoffs: of the stages begun so far in this class, in order (the last one is the current stage's).

    A device of a shadow stage that a smaller live canary leaves out stays in shadow: its pairs are evidence.
    """
    found: Mode | None = None
    for stage, cutoff in zip(stages, cutoffs, strict=False):
        if cutoff.holds(place, joined_at):
            found = stage.mode  # shadow stages come first, so live wins
    return found
