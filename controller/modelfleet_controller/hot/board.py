"""The snapshot in memory: what hot routes answer from. The database is the truth; this is read from it.

One event loop owns it. Parts are replaced whole, right after the transaction that changed them was
committed (see `unit.py`); between two awaits it never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.rollout.assignment import GONE, Baseline, KnownRelease, Standing, Subject
from modelfleet_core.rollout.cohort import position
from modelfleet_core.rollout.progress import DeviceOutcome
from modelfleet_core.trust.keys import Ed25519Public, ed25519_public_from_raw
from modelfleet_core.wire.checkin import SlotStatus

from ..auth.request_verifier import KnownKey
from ..devices.repository import DeviceRow, StatusRow


@dataclass(slots=True, eq=False)
class DeviceEntry:
    """One device: its row, and what it last said (written to the database coalesced)."""

    row: DeviceRow
    last_seen: datetime | None = None
    revision: int = 0
    slots: tuple[SlotStatus, ...] = ()
    _key: Ed25519Public | None = None

    @property
    def key(self) -> Ed25519Public:
        """The device's public key, ready to verify."""
        if self._key is None:
            self._key = ed25519_public_from_raw(self.row.public_key)
        return self._key


@dataclass(frozen=True, slots=True)
class Assignments:
    """What decides who gets what; replaced as one."""

    revision: int = 0
    standings: tuple[Standing, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    outcomes: Mapping[str, Mapping[str, DeviceOutcome]] = field(default_factory=dict)


class Board:
    """Devices, releases, classes and assignments in memory."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceEntry] = {}
        self.releases: dict[str, KnownRelease] = {}
        self.classes: tuple[DeviceClass, ...] = SHIPPED
        self.revision = 0
        self.standings: tuple[Standing, ...] = ()
        self.baselines: tuple[Baseline, ...] = ()
        self._outcomes: dict[str, dict[str, DeviceOutcome]] = {}
        self._unsaved: set[str] = set()

    # ---------------------------------------------------------------- what requests ask

    def key_of(self, device: str) -> KnownKey | None:
        """The device's key (the verifier's port `Keys`)."""
        entry = self.devices.get(device)
        return None if entry is None else KnownKey(entry.key, entry.row.revoked_at is not None)

    def subject(self, entry: DeviceEntry) -> Subject:
        """The device as assignments see it."""
        row = entry.row
        return Subject(
            device=row.id,
            device_class=row.device_class,
            labels=row.labels,
            facts=row.facts,
            joined_at=row.enrolled_at,
            outcomes=self._outcomes.get(row.id, {}),
        )

    def outcome(self, device: str, rollout: str) -> DeviceOutcome | None:
        """Where the device stands in a rollout of the board."""
        return self._outcomes.get(device, {}).get(rollout)

    def takes_part(self, device: str, standing: Standing) -> bool:
        """Whether the device is in the rollout already, or a stage begun so far takes it in."""
        if self.outcome(device, standing.id) is not None:
            return True
        entry = self.devices.get(device)
        found = None if entry is None else standing.classes.get(entry.row.device_class or "")
        if entry is None or found is None:
            return False
        place = position(standing.salt, device)
        return any(cutoff.holds(place, entry.row.enrolled_at) for cutoff in found.cutoffs)

    # ---------------------------------------------------------------- what transactions publish

    def put_device(self, row: DeviceRow) -> None:
        """A device is new or has changed."""
        entry = self.devices.get(row.id)
        if entry is None:
            self.devices[row.id] = DeviceEntry(row)
        else:
            entry.row = row

    def put_release(self, release: KnownRelease) -> None:
        """A release was pushed."""
        self.releases[release.id] = release

    def put_classes(self, classes: tuple[DeviceClass, ...]) -> None:
        """The user-defined classes have changed."""
        self.classes = (*SHIPPED, *classes)

    def put_assignments(self, assignments: Assignments) -> None:
        """Rollouts, baselines or their members have changed."""
        self.revision = assignments.revision
        self.standings = assignments.standings
        self.baselines = assignments.baselines
        self._outcomes = {device: dict(found) for device, found in assignments.outcomes.items()}

    def set_outcome(self, device: str, rollout: str, outcome: DeviceOutcome) -> None:
        """A device's event was committed: its outcome, and the seats that its class has taken."""
        index = next((i for i, standing in enumerate(self.standings) if standing.id == rollout), None)
        if index is None:
            return
        before = self._outcomes.setdefault(device, {}).get(rollout)
        self._outcomes[device][rollout] = outcome
        change = _sits(outcome) - _sits(before)
        entry = self.devices.get(device)
        if not change or entry is None or entry.row.device_class is None:
            return
        standing = self.standings[index]
        found = standing.classes.get(entry.row.device_class)
        if found is None:
            return
        seated = replace(found, taken=max(0, found.taken + change))
        classes = {**standing.classes, entry.row.device_class: seated}
        self.standings = (
            *self.standings[:index],
            replace(standing, classes=classes),
            *self.standings[index + 1 :],
        )

    # ---------------------------------------------------------------- what devices say

    def heard(self, entry: DeviceEntry, at: datetime, revision: int, slots: tuple[SlotStatus, ...]) -> None:
        """A check-in: remembered here, saved by `take_unsaved` within a few seconds."""
        entry.last_seen = at
        entry.revision = revision
        entry.slots = slots
        self._unsaved.add(entry.row.id)

    def take_unsaved(self) -> list[StatusRow]:
        """What devices said since the last call; give it back by `put_back` if it cannot be saved."""
        ids, self._unsaved = self._unsaved, set()
        found: list[StatusRow] = []
        for device in sorted(ids):
            entry = self.devices.get(device)
            if entry is not None and entry.last_seen is not None:
                found.append(StatusRow(device, entry.last_seen, entry.revision, entry.slots))
        return found

    def put_back(self, rows: list[StatusRow]) -> None:
        """These could not be saved; they will be in the next call's answer."""
        self._unsaved.update(row.device for row in rows)


def _sits(outcome: DeviceOutcome | None) -> int:
    return int(outcome is not None and outcome is not DeviceOutcome.NOT_REACHED and outcome not in GONE)
