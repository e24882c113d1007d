"""The folders of jobs on disk: made from blobs, read while they run, taken apart into blobs, removed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelfleet_build import job as jobs
from modelfleet_build.cache import file_digest
from modelfleet_build.job import BuildJob
from modelfleet_core.ids import Digest
from modelfleet_core.wire.build import BuildFile, BuildOutcome, BuildProgress

from ..blobs.local import missing
from ..blobs.port import BlobStore
from ..db.errors import FULL_ERRNOS, disk_full

CHUNK: Final = 1024 * 1024
REPORT: Final = "build.json"
"""Name of the report among the files of a build; in a release folder it has that name already."""


@dataclass(frozen=True, slots=True)
class BuildFolders:
    """Folders of jobs, `root/BUILD`."""

    root: Path

    async def prepare(self, build: str, job: BuildJob, blobs: BlobStore) -> None:
        """Makes the folder of a job; what was there of an earlier attempt is replaced.

        Raises:
            CallerError: MF-1621, an input is not there any more.
            WorldError: MF-5001.
        """
        folder = self.root / build
        try:
            await asyncio.to_thread(_empty, folder)
            for item in job.spec.inputs:
                size = await blobs.size(Digest(item.sha256))
                if size is None:
                    raise missing(item.sha256)
                path = jobs.input_path(folder, item)
                path.parent.mkdir(parents=True)
                with path.open("wb") as file:
                    async for chunk in blobs.read(Digest(item.sha256), 0, size):
                        await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(jobs.write_job, folder, job)
        except OSError as error:
            if error.errno in FULL_ERRNOS:
                raise disk_full(f"build {build}") from error
            raise

    async def progress(self, build: str) -> BuildProgress:
        """How far its job is."""
        return await asyncio.to_thread(jobs.read_progress, self.root / build)

    async def outcome(self, build: str) -> BuildOutcome | None:
        """How its job ended."""
        return await asyncio.to_thread(jobs.read_outcome, self.root / build)

    async def store(self, build: str, blobs: BlobStore, limit: int) -> tuple[BuildFile, ...]:
        """Stores the release folder, or the report alone where there is none, as blobs.

        Raises:
            CallerError: MF-1623, a file has more than `limit` bytes.
            WorldError: MF-5001.
        """
        stored: list[BuildFile] = []
        for name, path in await asyncio.to_thread(_results, self.root / build):
            digest = Digest(await asyncio.to_thread(file_digest, path))
            await blobs.put(digest, _chunks(path), limit)
            stored.append(BuildFile(name, digest, path.stat().st_size))
        return tuple(stored)

    async def remove(self, build: str) -> None:
        """Removes the folder of a job that does not run."""
        await asyncio.to_thread(shutil.rmtree, self.root / build, ignore_errors=True)

    async def keep_only(self, builds: Iterable[str]) -> None:
        """Removes what a crash left of builds that are over."""
        known = set(builds)
        for name in await asyncio.to_thread(os.listdir, self.root):
            if name not in known:
                await self.remove(name)


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _results(folder: Path) -> list[tuple[str, Path]]:
    release, report = folder / jobs.RELEASE, folder / jobs.REPORT
    if release.is_dir():
        files = sorted(path for path in release.rglob("*") if path.is_file())
        return [(path.relative_to(release).as_posix(), path) for path in files]
    return [(REPORT, report)] if report.is_file() else []


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
