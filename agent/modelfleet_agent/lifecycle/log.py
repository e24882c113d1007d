"""An append-only log of JSON records, one per line, each with its checksum; knows nothing of what they mean.

A line is a JSON object whose last field is `"crc"`: the CRC-32 (8 hex digits) of the line up to the comma
before that field. What follows from it:

- A record exists when its whole line does. A torn last line (kill -9, power cut, null bytes) was never
  acknowledged and is dropped.
- Damage further up costs only the damaged lines: the writer above puts the whole truth of a slot into each
record.
- Compaction writes the new log beside the old one, makes it durable and renames it; the log before it is
kept.
- A full disk does not stop a rollback: `reserve` is given up to make room for what must be written.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from modelfleet_agent.state.files import PRIVATE_FILE, sync_folder, world, write_all
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

NAME: Final = "journal.log"
KEPT: Final = "journal.old"
RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 128 * 1024
MAX_RECORD: Final = 512 * 1024
MAX_LOG: Final = 64 * 1024 * 1024
_CRC: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}\Z')


@dataclass(frozen=True, slots=True)
class Found:
    """What a log held.

    Attributes:
        records: the intact ones in order, each a JSON object without its `crc`.
        torn: bytes of an unfinished last line.
        damaged: whole lines whose checksum is wrong: something was lost that had been acknowledged.
    """

    records: tuple[bytes, ...]
    torn: int = 0
    damaged: int = 0


def seal(record: bytes) -> bytes:
    """The line of a record.

    Args:
        record: a JSON object with at least one field, without line breaks.
    """
    return b'%s,"crc":"%08x"}\n' % (record[:-1], zlib.crc32(record[:-1]))


def unseal(line: bytes) -> bytes | None:
    """The record of a line (without its line break), or None where the checksum is wrong."""
    match = _CRC.search(line)
    if match is None:
        return None
    body = line[: match.start()]
    return body + b"}" if b"%08x" % zlib.crc32(body) == match.group(1) else None


def read(data: bytes) -> Found:
    """What the bytes of a log hold; never raises."""
    *lines, rest = data.split(b"\n")
    records = [unseal(line) for line in lines]
    intact = tuple(record for record in records if record is not None)
    return Found(intact, len(rest), len(records) - len(intact))


class RecordLog:
    """The open log of one folder. Not safe for several threads."""

    def __init__(self, folder: Path, descriptor: int, size: int) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._size = size

    @property
    def path(self) -> Path:
        """The file that is appended to; compaction replaces it."""
        return self._folder / NAME

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self._size

    @staticmethod
    def look(folder: Path) -> tuple[Found, Found]:
        """What the log and the one kept from before the last compaction hold.

        Raises:
            WorldError: MF-3004, a file exists and cannot be read.
        """
        found: list[Found] = []
        for name in (NAME, KEPT):
            with world(f"the journal {folder / name} cannot be read"):
                try:
                    with (folder / name).open("rb") as file:
                        found.append(read(file.read(MAX_LOG)))
                except FileNotFoundError:
                    found.append(Found(()))
        return found[0], found[1]

    @classmethod
    def start(cls, folder: Path, records: Iterable[bytes]) -> Self:
        """A log that holds exactly `records`, in place of whatever was there.

        Raises:
            WorldError: MF-5001 the disk is full, MF-3004 it cannot be written; the log is as it was.
        """
        log = cls(folder, -1, 0)
        log.compact(tuple(records))
        return log

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """The log as it lies there, a torn last line cut off: for a disk too full to write a new one.

        Raises:
            WorldError: MF-3004, it cannot be opened.
        """
        path = folder / NAME
        with world(f"the journal {path} cannot be opened"):
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            try:
                size = os.pread(descriptor, MAX_LOG, 0).rfind(b"\n") + 1
                os.ftruncate(descriptor, size)
            except OSError:
                os.close(descriptor)
                raise
        return cls(folder, descriptor, size)

    def append(self, record: bytes) -> None:
        """Makes one record durable before it returns.

        Raises:
            WorldError: MF-5001 the disk is full, MF-3004 it cannot be written; the log is as it was.
            ValueError: the record is no JSON object or longer than `MAX_RECORD`.
        """
        line = seal(_checked(record))
        try:
            self._write(line)
        except WorldError as error:
            if error.code is not Code.DISK_FULL or not (self._folder / RESERVE).exists():
                raise
            (self._folder / RESERVE).unlink(missing_ok=True)
            self._write(line)

    def _write(self, line: bytes) -> None:
        with world(f"the journal {self.path} cannot be written"):
            try:
                write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
        self._size += len(line)

    def compact(self, records: Sequence[bytes]) -> None:
        """Replaces the log by these records, keeping the one before as `journal.old`.

        Raises:
            WorldError: MF-5001 the disk is full, MF-3004 it cannot be written; the log is as it was.
        """
        lines = b"".join(seal(_checked(record)) for record in records)
        partial = self._folder / f"{NAME}.partial"
        with world(f"the journal {self.path} cannot be written"):
            descriptor = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE
            )
            try:
                write_all(descriptor, lines)
                os.fsync(descriptor)
                if self.path.exists():
                    kept = self._folder / KEPT
                    kept.unlink(missing_ok=True)
                    os.link(self.path, kept)
                os.replace(partial, self.path)
                sync_folder(self._folder)
            except OSError:
                os.close(descriptor)
                partial.unlink(missing_ok=True)
                raise
        self.close()
        self._descriptor, self._size = descriptor, len(lines)
        self._reserve()

    def _reserve(self) -> None:
        reserve = self._folder / RESERVE
        if reserve.exists():
            return
        try:
            descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                write_all(descriptor, bytes(RESERVE_BYTES))
            finally:
                os.close(descriptor)
        except OSError:
            # No room for it now: the next compaction tries again.
            reserve.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _checked(record: bytes) -> bytes:
    if (
        len(record) > MAX_RECORD
        or record[:1] != b"{"
        or record[-1:] != b"}"
        or b"\n" in record
        or record == b"{}"
    ):
        raise ValueError(f"a record is one JSON object on one line of at most {MAX_RECORD} bytes")
    return record
