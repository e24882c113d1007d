"""What every BlobStore must do. Subclass it in a test module and give `make`:

class TestMyStore(BlobStoreConformance):
    def make(self, folder: Path) -> BlobStore:
        return MyStore(folder)
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import Digest

from ..blobs.port import BlobStore

LIMIT = 64 * 1024 * 1024
LARGE = bytes(range(256)) * 12_000
"""About 3 MB: more than any store's chunk."""


class BlobStoreConformance:
    """The tests; pytest collects them through the subclass."""

    def make(self, folder: Path) -> BlobStore:
        """A store in an empty folder; called again with the same folder it is the same store after a
        restart.
        """
        raise NotImplementedError

    def test_what_was_put_can_be_read(self, tmp_path: Path) -> None:
        """Whole, and under its digest alone."""
        store = self.make(tmp_path)
        assert asyncio.run(_put(store, LARGE))
        assert asyncio.run(store.size(digest(LARGE))) == len(LARGE)
        assert asyncio.run(_read(store, digest(LARGE), 0, len(LARGE))) == LARGE
        assert asyncio.run(store.load(digest(LARGE), LIMIT)) == LARGE
        assert asyncio.run(store.size(digest(b"other"))) is None

    def test_the_empty_blob(self, tmp_path: Path) -> None:
        """Nothing is something too."""
        store = self.make(tmp_path)
        assert asyncio.run(_put(store, b""))
        assert asyncio.run(store.size(digest(b""))) == 0
        assert asyncio.run(_read(store, digest(b""), 0, 0)) == b""

    def test_any_part_can_be_read(self, tmp_path: Path) -> None:
        """Also parts that lie across chunks."""
        store = self.make(tmp_path)
        asyncio.run(_put(store, LARGE))
        for start, length in ((0, 1), (len(LARGE) - 1, 1), (255 * 1024, 4096), (1_000_001, 1_000_003)):
            assert asyncio.run(_read(store, digest(LARGE), start, length)) == LARGE[start : start + length]

    def test_putting_again_changes_nothing(self, tmp_path: Path) -> None:
        """The second answer is False."""
        store = self.make(tmp_path)
        assert asyncio.run(_put(store, b"once"))
        assert not asyncio.run(_put(store, b"once"))
        assert asyncio.run(store.load(digest(b"once"), LIMIT)) == b"once"

    def test_other_bytes_are_refused(self, tmp_path: Path) -> None:
        """A digest mismatch leaves nothing, neither for data that lacks nor that has too much."""
        store = self.make(tmp_path)
        for wrong in (b"", b"rigth", b"right and more", LARGE):
            error = asyncio.run(_refused(store, digest(b"right"), wrong))
            assert isinstance(error, IntegrityError)
            assert error.code is Code.BLOB_DIGEST
            assert asyncio.run(store.size(digest(b"right"))) is None
        assert asyncio.run(_put(store, b"right"))

    def test_too_much_is_refused_while_it_streams(self, tmp_path: Path) -> None:
        """The rest is not even asked for."""
        store = self.make(tmp_path)
        asked = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal asked
            while True:
                asked += 1
                yield bytes(1000)

        async def attempt() -> ModelfleetError | None:
            try:
                await store.put(digest(b"x"), endless(), 10_000)
            except ModelfleetError as error:
                return error
            return None

        error = asyncio.run(attempt())
        assert isinstance(error, CallerError)
        assert error.code is Code.BLOB_TOO_LARGE
        assert asked == 11
        assert asyncio.run(store.size(digest(b"x"))) is None

    def test_an_upload_that_breaks_off_leaves_nothing(self, tmp_path: Path) -> None:
        """The caller goes away in the middle; the next upload of the same blob is whole."""
        store = self.make(tmp_path)

        async def broken() -> AsyncIterator[bytes]:
            yield LARGE[:2_000_000]
            raise ConnectionError("gone")

        async def attempt() -> None:
            try:
                await store.put(digest(LARGE), broken(), LIMIT)
            except ConnectionError:
                return
            raise AssertionError("the break went unnoticed")

        asyncio.run(attempt())
        assert asyncio.run(store.size(digest(LARGE))) is None
        assert asyncio.run(_put(store, LARGE))

    def test_a_blob_that_is_not_there(self, tmp_path: Path) -> None:
        """Refused by name, not by an empty answer."""
        store = self.make(tmp_path)
        for attempt in (store.load(digest(b"no"), LIMIT), _read(store, digest(b"no"), 0, 1)):
            error = asyncio.run(_error(attempt))
            assert error is not None
            assert error.code is Code.BLOB_MISSING

    def test_a_blob_larger_than_asked_for_is_not_loaded(self, tmp_path: Path) -> None:
        """`load` is for small blobs."""
        store = self.make(tmp_path)
        asyncio.run(_put(store, LARGE))
        error = asyncio.run(_error(store.load(digest(LARGE), 1000)))
        assert error is not None
        assert error.code is Code.BLOB_TOO_LARGE

    def test_blobs_outlive_the_store(self, tmp_path: Path) -> None:
        """A restart finds them."""
        asyncio.run(_put(self.make(tmp_path), b"kept"))
        assert asyncio.run(self.make(tmp_path).load(digest(b"kept"), LIMIT)) == b"kept"

    def test_uploads_at_the_same_time(self, tmp_path: Path) -> None:
        """Of the same blob and of others."""
        store = self.make(tmp_path)

        async def many() -> list[bool]:
            return list(
                await asyncio.gather(*[_put(store, LARGE if i % 2 else bytes([i])) for i in range(8)])
            )

        asyncio.run(many())
        assert asyncio.run(store.load(digest(LARGE), LIMIT)) == LARGE
        assert asyncio.run(store.load(digest(bytes([4])), LIMIT)) == bytes([4])


def digest(data: bytes) -> Digest:
    """The name of a blob."""
    return Digest(hashlib.sha256(data).hexdigest())


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 70_001):
        yield data[start : start + 70_001]


async def _put(store: BlobStore, data: bytes) -> bool:
    return await store.put(digest(data), _chunks(data), LIMIT)


async def _read(store: BlobStore, name: Digest, start: int, length: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(name, start, length)])


async def _refused(store: BlobStore, name: Digest, data: bytes) -> ModelfleetError | None:
    return await _error(store.put(name, _chunks(data), LIMIT))


async def _error(attempt: object) -> ModelfleetError | None:
    try:
        await attempt  # type: ignore[misc] # a coroutine of whatever result
    except ModelfleetError as error:
        return error
    return None
