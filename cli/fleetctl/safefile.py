"""Files written whole or not at all, and read with a limit."""

from __future__ import annotations

import os
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError

PRIVATE = 0o600
PUBLIC = 0o644


def write(path: Path, data: bytes, mode: int = PUBLIC, *, replace: bool = True) -> None:
    """Writes a file at once: beside it, synced, then renamed (or linked where nothing may be replaced).

    Raises:
        CallerError: MF-6005, it exists and `replace` is False.
        WorldError: MF-5001 or MF-6004.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(beside, path)
            else:
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise exists(path) from error
    except OSError as error:
        raise unwritable(path, error) from error


def read(path: Path, limit: int, what: str) -> bytes:
    """At most `limit` bytes of a regular file.

    Raises:
        CallerError: MF-6004, it is not there, not a file, or larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CallerError(
            Code.CLI_FILE,
            f"{what} {path} cannot be read: {error.strerror or error}",
            expected="a file that you may read",
            todo="check the path",
        ) from error
    if len(data) > limit:
        raise CallerError(
            Code.CLI_FILE,
            f"{what} {path} has more than {limit} bytes",
            expected=f"at most {limit} bytes",
            todo="check the path",
        )
    return data


def make_folder(path: Path, mode: int = 0o700) -> None:
    """The folder and its parents.

    Raises:
        WorldError: MF-5001 or MF-6004.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise unwritable(path, error) from error


def exists(path: Path) -> CallerError:
    """The refusal to overwrite."""
    return CallerError(
        Code.CLI_EXISTS,
        f"{path} exists already",
        expected="a path where nothing is yet",
        todo="choose another path, or remove this file first",
    )


def unwritable(path: Path, error: OSError) -> ModelfleetError:
    """The error for a file that could not be written."""
    full = error.errno in (28, 122)  # ENOSPC, EDQUOT
    return WorldError(
        Code.DISK_FULL if full else Code.CLI_FILE,
        f"{path} cannot be written: {error.strerror or error}",
        expected="a folder with space that you may write to",
        todo="free some space" if full else "check the path and its permissions",
    )
