"""The slot table on disk, so that serve boots without the supervisor (semantics section 5).

Written whole: temporary file, fsync, rename, fsync of the folder. Holds also where serve fell back by itself,
so that a restart does not give a model that was taken back another try.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.wire import codec

from ..control.protocol import Desired
from .shared import FellBack

TABLE_NAME: Final = "table.json"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class SavedTable:
    """What was wanted last, and the slots that serve itself took back."""

    desired: Desired
    fell_back: dict[str, FellBack]
    schema: int = SCHEMA


def load(folder: Path) -> SavedTable | None:
    """The saved table, or None where there is none.

    Raises:
        IntegrityError: MF-4034, it is damaged or from a newer version.
    """
    path = folder / TABLE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        table = codec.decode(data, SavedTable, what=TABLE_NAME)
    except ModelfleetError as error:
        raise _unreadable(path, error.happened) from error
    if table.schema > SCHEMA:
        raise _unreadable(path, f"its schema is {table.schema}")
    return table


def save(folder: Path, table: SavedTable) -> None:
    """Replace the saved table. Blocks until it is on the disk.

    Raises:
        OSError: the disk is full or read-only; the old table stays.
    """
    path = folder / TABLE_NAME
    temporary = folder / f".{TABLE_NAME}.new"
    with temporary.open("wb") as file:
        file.write(codec.pretty(table))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        Code.SERVE_TABLE_UNREADABLE,
        f"{path} cannot be used: {reason}",
        expected=f"a slot table of schema {SCHEMA}",
        todo="start the supervisor, which sends the table anew; remove the file if it stays damaged",
    )
