"""Files that are whole or absent, whatever stops the machine: temporary file, fsync, rename, fsync of the
folder.

Also the one place that turns `OSError` into our errors: a full disk is told apart from a broken one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def sync_folder(folder: Path) -> None:
    """Makes renames, creations and deletions in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data` at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE_FILE, durable: bool = True) -> None:
    """Replaces `path` by `data`; a reader sees the old or the new content, never a part.

    Args:
        path: in an existing folder.
        data: the whole content.
        mode: permissions of the file.
        durable: whether it must survive a power cut the moment this returns (fsync of file and folder).

    Raises:
        WorldError: MF-5001 the disk is full, MF-3004 it cannot be written; the old content is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    with world(f"{path} cannot be written"):
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            try:
                os.fchmod(descriptor, mode)
                write_all(descriptor, data)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)


def read_limited(path: Path, limit: int) -> bytes | None:
    """The content of a file of at most `limit` bytes, or None where there is none.

    Raises:
        WorldError: MF-3004, it cannot be read or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, str(error)) from error
    if len(data) > limit:
        raise unreadable(path, f"it has more than {limit} bytes")
    return data


def unreadable(path: Path, happened: str) -> WorldError:
    """The error of a state file that is not what the agent wrote."""
    return WorldError(
        Code.STATE_UNREADABLE,
        f"{path}: {happened}",
        expected="the file as the agent wrote it",
        todo="look at the disk (`modelfleet-agent doctor`); restore the state directory or enrol anew",
    )


@contextmanager
def world(happened: str) -> Iterator[None]:
    """Turns `OSError` inside the block into a `WorldError`: MF-5001 for a full disk, MF-3004 otherwise."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(f"{happened}: {error.strerror}") from error
        raise WorldError(
            Code.STATE_UNREADABLE,
            f"{happened}: {error}",
            expected="a state directory that this user may write to",
            todo="check owner, mode and the disk with `modelfleet-agent doctor`",
        ) from error


def disk_full(happened: str) -> WorldError:
    """The error of a full disk."""
    return WorldError(
        Code.DISK_FULL,
        happened,
        expected="room on the disk of the state directory",
        todo="free space there; what runs goes on running",
    )
