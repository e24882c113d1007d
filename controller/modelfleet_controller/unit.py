"""A unit of work: one write transaction, and what it changes in the snapshot, published after the commit.

Whoever changes what devices are assigned calls `reassign`: the global revision is raised and the snapshot's
rollouts are read again inside the same transaction, so that no check-in is answered from a state that was
never committed, nor from an old one after the answer to the change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from modelfleet_core.release.device_class import DeviceClass

from .controller import Controller
from .db.database import Connection
from .devices.repository import DeviceRow
from .hot.board import Assignments, Board
from .hot.load import known_release, load_assignments, load_classes
from .releases.repository import StoredRelease
from .trust.repository import TrustRepository


@dataclass(slots=True, eq=False)
class Unit:
    """The transaction in hand: `connection`, and what it changes in the snapshot."""

    connection: Connection
    _board: Board
    _reassign: bool = False
    _new_classes: bool = False
    _devices: list[DeviceRow] = field(default_factory=list)
    _releases: list[StoredRelease] = field(default_factory=list)
    _classes: tuple[DeviceClass, ...] | None = None
    _assignments: Assignments | None = None

    def reassign(self) -> None:
        """Assignments may have changed."""
        self._reassign = True

    def devices_changed(self, rows: Iterable[DeviceRow]) -> None:
        """These devices are new or have changed."""
        self._devices += rows

    def classes_changed(self) -> None:
        """The user-defined classes have changed."""
        self._new_classes = True

    def release_added(self, release: StoredRelease) -> None:
        """A release is new."""
        self._releases.append(release)

    async def read_changes(self) -> None:
        """Reads what will be published; the last thing inside the transaction."""
        if self._new_classes:
            self._classes = await load_classes(self.connection)
        if self._reassign:
            revision = await TrustRepository(self.connection).raise_revision()
            self._assignments = await load_assignments(self.connection, self._board, revision)

    def publish(self) -> None:
        """Puts the committed changes on the board."""
        for release in self._releases:
            self._board.put_release(known_release(release))
        if self._classes is not None:
            self._board.put_classes(self._classes)
        for row in self._devices:
            self._board.put_device(row)
        if self._assignments is not None:
            self._board.put_assignments(self._assignments)


@asynccontextmanager
async def unit_of(controller: Controller) -> AsyncIterator[Unit]:
    """A transaction whose changes reach the snapshot when, and only when, it is committed.

    Publishing happens before the next writer runs: `Database.write` leaves its lock without a pause in
    between.
    """
    async with controller.database.write() as connection:
        unit = Unit(connection, controller.board)
        yield unit
        await unit.read_changes()
    unit.publish()
