"""Reads the board's parts from the database, inside the transaction that changes them or at the start."""

from __future__ import annotations

from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.rollout.assignment import KnownRelease

from ..db.database import Connection, Database
from ..devices.repository import DeviceRepository
from ..releases.repository import ReleaseRepository, StoredRelease
from ..rollouts.repository import RolloutRepository
from ..trust.repository import TrustRepository
from .board import Assignments, Board, DeviceEntry


def known_release(release: StoredRelease) -> KnownRelease:
    """The release as assignments see it."""
    return KnownRelease(release.id, release.manifest, release.bundles)


async def load_assignments(connection: Connection, board: Board, revision: int) -> Assignments:
    """Rollouts, baselines and outcomes as this transaction sees them."""
    repository = RolloutRepository(connection)
    return Assignments(
        revision=revision,
        standings=await repository.standings(board.releases),
        baselines=await repository.baselines(board.releases),
        outcomes=await repository.outcomes(),
    )


async def load_classes(connection: Connection) -> tuple[DeviceClass, ...]:
    """User-defined classes."""
    return await DeviceRepository(connection).classes()


async def load_board(database: Database) -> Board:
    """Everything, at the start of the process."""
    board = Board()
    async with database.read() as connection:
        devices = DeviceRepository(connection)
        for row in await devices.all():
            board.devices[row.id] = DeviceEntry(row)
        for status in await devices.statuses():
            entry = board.devices.get(status.device)
            if entry is not None:
                entry.last_seen, entry.revision, entry.slots = status.last_seen, status.revision, status.slots
        for release in await ReleaseRepository(connection).all():
            board.put_release(known_release(release))
        board.put_classes(await load_classes(connection))
        itself = await TrustRepository(connection).self()
        board.put_assignments(
            await load_assignments(connection, board, 0 if itself is None else itself.revision)
        )
    return board
