"""Blobs in a local directory: `sha256/ab/cdef...`, written beside and renamed when they are whole and on
disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from modelfleet_core.clock import Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError
from modelfleet_core.ids import Digest, is_digest

from ..db.errors import FULL_ERRNOS, disk_full

CHUNK: Final = 256 * 1024
FLUSH: Final = 1024 * 1024


class LocalBlobs:
    """A BlobStore under one folder. Leftovers of uploads that a crash cut off are removed by `sweep`."""

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self._blobs = folder / "sha256"
        self._partial = folder / "partial"
        self._entropy = entropy
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where the blob lies.

        Raises:
            ValueError: `digest` is none.
        """
        if not is_digest(digest):
            raise ValueError("not a digest")
        return self._blobs / digest[:2] / digest[2:]

    def sweep(self) -> int:
        """Removes what cut-off uploads left; gives their number. Only while nobody uploads."""
        leftovers = list(self._partial.iterdir())
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        return len(leftovers)

    async def size(self, digest: Digest) -> int | None:
        """Size in bytes, or None."""
        return await asyncio.to_thread(self._size, digest)

    async def put(self, digest: Digest, data: AsyncIterator[bytes], limit: int) -> bool:
        """Stores verified bytes (see the port)."""
        target = self.path(digest)
        existed = await self.size(digest) is not None
        partial = self._partial / f"{digest[:16]}.{self._entropy(8).hex()}"
        try:
            file = await asyncio.to_thread(_create, partial)
            try:
                await _fill(file, digest, data, limit)
            finally:
                await asyncio.to_thread(file.close)
            if not existed:
                await asyncio.to_thread(_publish, partial, target)
        except OSError as error:
            if error.errno in FULL_ERRNOS:
                raise disk_full(f"blob {digest[:12]}") from error
            raise
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return not existed

    async def read(self, digest: Digest, start: int, length: int) -> AsyncIterator[bytes]:
        """Chunks of a part (see the port)."""
        try:
            file = await asyncio.to_thread(self.path(digest).open, "rb")
        except FileNotFoundError:
            raise missing(digest) from None
        try:
            await asyncio.to_thread(file.seek, start)
            while length > 0:
                chunk = await asyncio.to_thread(file.read, min(CHUNK, length))
                if not chunk:
                    return
                length -= len(chunk)
                yield chunk
        finally:
            file.close()

    async def load(self, digest: Digest, limit: int) -> bytes:
        """A small blob (see the port)."""
        size = await self.size(digest)
        if size is None:
            raise missing(digest)
        if size > limit:
            raise too_large(size, limit)
        return await asyncio.to_thread(self.path(digest).read_bytes)

    def _size(self, digest: Digest) -> int | None:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None


def _create(partial: Path) -> BinaryIO:
    return os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb", buffering=0)


async def _fill(file: BinaryIO, digest: Digest, data: AsyncIterator[bytes], limit: int) -> None:
    found = hashlib.sha256()
    size = 0
    pending = bytearray()
    async for chunk in data:
        size += len(chunk)
        if size > limit:
            raise too_large(size, limit)
        pending += chunk
        if len(pending) >= FLUSH:
            await asyncio.to_thread(_append, file, found.update, bytes(pending))
            pending.clear()
    await asyncio.to_thread(_append, file, found.update, bytes(pending))
    if found.hexdigest() != digest:
        raise IntegrityError(
            Code.BLOB_DIGEST,
            f"the {size} uploaded bytes have sha256 {found.hexdigest()}",
            expected=f"sha256 {digest}, as the path says",
            todo="upload the file again; nothing was stored",
        )
    await asyncio.to_thread(os.fsync, file.fileno())


def _append(file: BinaryIO, digest: Callable[[bytes], None], data: bytes) -> None:
    digest(data)
    view = memoryview(data)
    while view:
        # an unbuffered write may be short: exactly that happens when the disk fills up
        written = file.write(view)
        view = view[written or 0 :]


def _publish(partial: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    partial.rename(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def missing(digest: str) -> CallerError:
    """The refusal of a digest that nobody uploaded."""
    return CallerError(
        Code.BLOB_MISSING,
        f"there is no blob with sha256 {digest}",
        expected="a blob that was uploaded",
        todo="upload it first: PUT /v1/blobs/sha256/{digest}",
    )


def too_large(size: int, limit: int) -> CallerError:
    """The refusal of too many bytes."""
    return CallerError(
        Code.BLOB_TOO_LARGE,
        f"the blob has {size} bytes or more",
        expected=f"at most {limit} bytes",
        todo="raise blob_limit in the controller's settings if such files are meant",
    )
