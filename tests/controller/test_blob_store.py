"""The local blob store: the conformance suite, and what only a directory can suffer."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelfleet_controller.blobs.local import LocalBlobs
from modelfleet_controller.blobs.port import BlobStore
from modelfleet_controller.testing.blob_store import BlobStoreConformance, digest
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from .kit import Counting


class TestLocalBlobs(BlobStoreConformance):
    def make(self, folder: Path) -> BlobStore:
        return LocalBlobs(folder, Counting(seed=f"{folder}:{len(list(folder.iterdir()))}"))


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


async def data_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no file above `size` bytes: writes beyond it fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_layout_is_by_digest(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, Counting())
    asyncio.run(store.put(digest(b"a"), data_of(b"a"), 10))
    name = digest(b"a")
    assert files(tmp_path) == [f"sha256/{name[:2]}/{name[2:]}"]


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, Counting())
    data = bytes(3_000_000)
    with largest_file(1_500_000), pytest.raises(WorldError) as refused:
        asyncio.run(store.put(digest(data), data_of(data), len(data)))
    assert refused.value.code is Code.DISK_FULL
    assert "no space" in refused.value.happened
    assert files(tmp_path) == []
    assert asyncio.run(store.put(digest(data), data_of(data), len(data)))


def test_what_a_crash_left_is_swept_and_never_served(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, Counting())
    pid = os.fork()
    if pid == 0:  # a process that dies in the middle of an upload

        async def dying() -> AsyncIterator[bytes]:
            yield bytes(2_000_000)
            os.kill(os.getpid(), signal.SIGKILL)
            yield b""

        asyncio.run(store.put(digest(bytes(3_000_000)), dying(), 4_000_000))
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert len(files(tmp_path)) == 1
    again = LocalBlobs(tmp_path, Counting(seed="again"))
    assert again.sweep() == 1
    assert files(tmp_path) == []
    assert asyncio.run(again.size(digest(bytes(3_000_000)))) is None


def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, Counting())
    with pytest.raises(ValueError):
        store.path("../../etc/passwd")  # type: ignore[arg-type] # that is the point
