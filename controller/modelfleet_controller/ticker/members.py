"""Who belongs to a rollout, from the snapshot of devices: a class's members and where each stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelfleet_core.release.matching import match_variant
from modelfleet_core.rollout.assignment import GONE, KnownRelease, Subject, selects
from modelfleet_core.rollout.cohort import Cutoff, position
from modelfleet_core.rollout.progress import DeviceOutcome, OutcomeCounts
from modelfleet_core.wire.checkin import SlotStatus

from ..hot.board import Board
from ..rollouts.stored import StoredDevice, StoredRollout

RECENT: Final = timedelta(hours=24)
"""A device that was not seen for longer takes no seat when a cutoff is resolved (semantics section 1)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One device that the rollout's selector and class take in."""

    subject: Subject
    place: int
    last_seen: datetime | None
    slots: tuple[SlotStatus, ...]
    fits: bool

    def recent(self, now: datetime) -> bool:
        """Whether it was seen lately."""
        return self.last_seen is not None and now - self.last_seen <= RECENT


def members_of(board: Board, rollout: StoredRollout, release: KnownRelease) -> dict[str, list[Member]]:
    """Class -> members in the order of their places, without revoked devices and those of no class."""
    found: dict[str, list[Member]] = {}
    for entry in board.devices.values():
        name = entry.row.device_class
        if (
            entry.row.revoked_at is not None
            or name is None
            or (rollout.only_classes and name not in rollout.only_classes)
        ):
            continue
        if not selects(rollout.plan.match_labels, entry.row.labels):
            continue
        subject = board.subject(entry)
        fits = match_variant(subject.facts, name, release.manifest).variant is not None
        member = Member(subject, position(rollout.salt, subject.device), entry.last_seen, entry.slots, fits)
        found.setdefault(name, []).append(member)
    for members in found.values():
        members.sort(key=lambda member: member.place)
    return found


def eligible(members: list[Member], rows: Mapping[str, StoredDevice], now: datetime) -> list[Member]:
    """Those that may take a seat: seen lately, with a fitting variant, not gone from this rollout."""
    gone = {device for device, row in rows.items() if row.outcome in GONE}
    return [
        member
        for member in members
        if member.fits and member.recent(now) and member.subject.device not in gone
    ]


def standing_of(member: Member, row: StoredDevice | None, silent: frozenset[str]) -> DeviceOutcome:
    """The member's outcome as people see it."""
    if row is None:
        return DeviceOutcome.NOT_REACHED if member.fits else DeviceOutcome.REFUSED
    on_the_way = (DeviceOutcome.DOWNLOADING, DeviceOutcome.SHADOWING, DeviceOutcome.PROBATION)
    if row.outcome in on_the_way and member.subject.device in silent:
        return DeviceOutcome.SILENT
    return row.outcome


def counts_of(
    members: list[Member],
    rows: Mapping[str, StoredDevice],
    cutoffs: Mapping[int, Cutoff],
    silent: frozenset[str],
) -> tuple[int, OutcomeCounts]:
    """(seats of the current stage, outcomes of the devices below a cutoff begun so far)."""
    inside = [
        member
        for member in members
        if member.subject.device in rows
        or any(cutoff.holds(member.place, member.subject.joined_at) for cutoff in cutoffs.values())
    ]
    outcomes = OutcomeCounts.of(
        standing_of(member, rows.get(member.subject.device), silent) for member in inside
    )
    if not cutoffs:
        return 0, outcomes
    current = cutoffs[max(cutoffs)]
    below = sum(member.fits and current.holds(member.place, member.subject.joined_at) for member in members)
    return current.seats(below), outcomes
