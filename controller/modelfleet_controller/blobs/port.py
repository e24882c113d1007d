"""The port for content-addressed files. Names are lower-case hex sha256; content never changes under its
name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from modelfleet_core.ids import Digest


class BlobStore(Protocol):
    """Where blobs are. `modelfleet_controller.testing.blob_store` holds what every store must do."""

    async def size(self, digest: Digest) -> int | None:
        """Size in bytes, or None where there is no such blob."""
        ...

    async def put(self, digest: Digest, data: AsyncIterator[bytes], limit: int) -> bool:
        """Stores `data` under `digest`, verified while it streams; False = it was there before.

        A blob appears whole or not at all, also when the process dies or the caller goes away.

        Raises:
            IntegrityError: MF-1620, the bytes have another digest.
            CallerError: MF-1623, more than `limit` bytes.
            WorldError: MF-5001, no space; nothing is left behind.
        """
        ...

    def read(self, digest: Digest, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in chunks; the caller has asked `size` before.

        Raises:
            CallerError: MF-1621, there is no such blob.
        """
        ...

    async def load(self, digest: Digest, limit: int) -> bytes:
        """A small blob as a whole.

        Raises:
            CallerError: MF-1621 there is no such blob, MF-1623 it has more than `limit` bytes.
        """
        ...
