"""Files from the controller, by digest: resumed where they broke off, hashed while they come, refused when
wrong.

Beside the growing file `.part-NAME`, whose room is taken beforehand, `.done-NAME` says how many of its
bytes have come. That number is written without fsync: after a power cut it may promise bytes that never
reached the disk. So a digest that is wrong after a resumed download is no proof against the sender; the
file is fetched once more from its beginning, and only then refused."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Final, Protocol

from modelfleet_agent.state.files import PRIVATE_FILE, disk_full, sync_folder, world, write_all
from modelfleet_agent.uplink.backoff import Backoff
from modelfleet_agent.uplink.transport import Stream, unreachable
from modelfleet_core import logs
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, WorldError
from modelfleet_core.release.manifest import Artifact

from .bandwidth import Bandwidth, wait
from .store import digest_file

_log = logging.getLogger(__name__)

PART: Final = ".part-"
DONE: Final = ".done-"
LONGEST_WAIT_S: Final = 60.0
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")
_EARLY_ENDS: Final = 3
_SYNC_EVERY: Final = 8 * 1024 * 1024
_RETRIED: Final = frozenset({Code.CONTROLLER_UNREACHABLE, Code.CONTROLLER_BUSY})


class BlobSource(Protocol):
    """Gives blobs as streams (`ControllerClient`)."""

    def open(self, path: str, headers: Mapping[str, str]) -> AbstractContextManager[Stream]:
        """A signed GET."""
        ...


def blob_path(digest: str) -> str:
    """Path of a blob at the controller."""
    return f"/v1/blobs/sha256/{digest}"


def cancelled() -> WorldError:
    """The end of unwanted work."""
    return WorldError(
        Code.CANCELLED,
        "the work was given up",
        expected="an operation that is still wanted",
        todo="nothing",
    )


class Downloader:
    """Fetches blobs. One per operation.

    Args:
        source: where they come from.
        clock: for waiting.
        entropy: for the jitter of retries.
        stop: true = give up.
    """

    def __init__(self, source: BlobSource, clock: Clock, entropy: Entropy, stop: Callable[[], bool]) -> None:
        self._source = source
        self._clock = clock
        self._entropy = entropy
        self._stop = stop
        self.received = 0

    def small(self, digest: str, limit: int, what: str) -> bytes:
        """A small blob as a whole.

        Raises:
            IntegrityError: MF-2040, it has another digest or more than `limit` bytes.
            CallerError: the controller refuses it.
            WorldError: MF-5012, given up.
        """
        backoff = Backoff(self._entropy, longest_s=LONGEST_WAIT_S)
        while True:
            try:
                with self._source.open(blob_path(digest), {}) as stream:
                    data = b""
                    while len(data) <= limit and (part := stream.read(64 * 1024)):
                        data += part
                        self.received += len(part)
            except WorldError as error:
                self._wait_out(error, backoff)
                continue
            if len(data) > limit or hashlib.sha256(data).hexdigest() != digest:
                raise wrong_digest(what, digest)
            return data

    def reserve(self, artifacts: tuple[Artifact, ...], folder: Path, free: int, keep_free: int) -> None:
        """Takes the room of everything that is still to come, before the first byte comes.

        Args:
            artifacts: files of the variant.
            folder: where they are put together.
            free: bytes that may be written now.
            keep_free: bytes that must stay free.

        Raises:
            WorldError: MF-5001, there is not enough room; MF-3004.
        """
        needed = sum(a.size - _allocated(folder, a) for a in artifacts if not (folder / a.path).exists())
        if needed > 0 and needed + keep_free > free:
            raise disk_full(
                f"the release needs {needed} more bytes; {free} are free, of which {keep_free} must stay"
            )
        for artifact in artifacts:
            if (folder / artifact.path).exists() or artifact.size == 0:
                continue
            with world(f"room for {artifact.path} cannot be taken"):
                descriptor = os.open(
                    folder / f"{PART}{artifact.path}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE
                )
                try:
                    os.posix_fallocate(descriptor, 0, artifact.size)
                finally:
                    os.close(descriptor)

    def fetch(self, artifact: Artifact, folder: Path, bandwidth: Bandwidth) -> None:
        """Makes `folder/NAME` be that file; nothing comes over the network where it already is.

        Raises:
            IntegrityError: MF-2040, the file that came is another one; it is deleted.
            CallerError: the controller refuses it.
            WorldError: MF-5001, MF-3004, MF-5012 given up.
        """
        whole = folder / artifact.path
        if whole.exists():
            if whole.stat().st_size == artifact.size and digest_file(whole) == artifact.sha256:
                return
            whole.unlink()  # torn by a power cut
        part = _Part(folder, artifact)
        with closing(part):
            resumed = part.offset > 0
            while True:
                self._fill(part, bandwidth)
                if part.digest() == artifact.sha256:
                    part.finish()
                    return
                if not resumed:
                    part.delete()
                    raise wrong_digest(artifact.path, artifact.sha256)
                logs.warning(_log, "download.repeated", file=artifact.path)
                part.restart()
                resumed = False

    def _fill(self, part: _Part, bandwidth: Bandwidth) -> None:
        backoff = Backoff(self._entropy, longest_s=LONGEST_WAIT_S)
        ended_early, furthest = 0, -1
        while part.offset < part.artifact.size:
            before = part.offset
            try:
                self._continue(part, bandwidth)
                if part.offset < part.artifact.size:
                    ended_early = ended_early + 1 if part.offset <= furthest else 0
                    furthest = max(furthest, part.offset)
                    raise unreachable(f"{part.artifact.path} ended after {part.offset} bytes")
            except WorldError as error:
                if ended_early >= _EARLY_ENDS:
                    # The blob itself is that short: no answer breaks off at the same byte so often.
                    part.delete()
                    raise wrong_length(part.artifact, part.offset) from error
                if part.offset > before:
                    backoff.succeeded()
                self._wait_out(error, backoff)

    def _continue(self, part: _Part, bandwidth: Bandwidth) -> None:
        headers = {"Range": f"bytes={part.offset}-"} if part.offset else {}
        with self._source.open(blob_path(part.artifact.sha256), headers) as stream:
            if part.offset and not _goes_on(stream, part):
                part.restart()
                if stream.status != 200:
                    return
            length = stream.headers.get("content-length", "")
            if length.isdecimal() and part.offset + int(length[:19]) != part.artifact.size:
                part.delete()
                raise wrong_length(part.artifact, part.offset + int(length[:19]))
            while data := stream.read(bandwidth.read_size):
                self.received += len(data)
                part.take(data)
                bandwidth.spend(len(data))
                if self._stop():
                    raise cancelled()

    def _wait_out(self, error: WorldError, backoff: Backoff) -> None:
        """A network that fails is waited for without end: the director says when to give up."""
        if error.code not in _RETRIED:
            raise error
        if self._stop():
            raise cancelled() from error
        seconds = backoff.failed()
        logs.warning(_log, "download.broken", reason=error.happened, wait_s=round(seconds, 1))
        wait(seconds, self._clock, self._stop)
        if self._stop():
            raise cancelled() from error


class _Part:
    """A growing file: its bytes, how many there are, and their hash."""

    def __init__(self, folder: Path, artifact: Artifact) -> None:
        self.artifact = artifact
        self._folder = folder
        self._path = folder / f"{PART}{artifact.path}"
        self._done = folder / f"{DONE}{artifact.path}"
        self._hash = hashlib.sha256()
        self.offset = 0
        self._synced = 0
        with world(f"{self._path} cannot be opened"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._path, flags, PRIVATE_FILE)
            self._count = os.open(self._done, flags, PRIVATE_FILE)
            self._resume()

    def _resume(self) -> None:
        text = os.pread(self._count, 20, 0).decode("ascii", "replace")
        claimed = int(text) if text.isascii() and text.isdecimal() else 0
        there = min(claimed, os.fstat(self._file).st_size)
        if there > self.artifact.size:
            there = 0
        while self.offset < there:
            data = os.pread(self._file, min(1024 * 1024, there - self.offset), self.offset)
            self._hash.update(data)
            self.offset += len(data)
        self._synced = self.offset

    def take(self, data: bytes) -> None:
        """The next bytes."""
        if self.offset + len(data) > self.artifact.size:
            self.delete()
            raise wrong_length(self.artifact, self.offset + len(data))
        with world(f"{self._path} cannot be written"):
            os.lseek(self._file, self.offset, os.SEEK_SET)
            write_all(self._file, data)
            self._hash.update(data)
            self.offset += len(data)
            if self.offset - self._synced >= _SYNC_EVERY:
                os.fdatasync(self._file)
                self._synced = self.offset
            os.pwrite(self._count, b"%020d" % self.offset, 0)

    def digest(self) -> str:
        """sha256 of what is there."""
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Begin again at the first byte."""
        with world(f"{self._path} cannot be written"):
            os.pwrite(self._count, b"%020d" % 0, 0)
        self.offset = self._synced = 0
        self._hash = hashlib.sha256()

    def finish(self) -> None:
        """It is whole and right: durable, then its real name."""
        with world(f"{self._path} cannot be finished"):
            os.ftruncate(self._file, self.artifact.size)
            os.fsync(self._file)
            os.replace(self._path, self._folder / self.artifact.path)
            self._done.unlink(missing_ok=True)
            sync_folder(self._folder)

    def delete(self) -> None:
        """Nothing of it stays."""
        self._path.unlink(missing_ok=True)
        self._done.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        os.close(self._count)


def _goes_on(stream: Stream, part: _Part) -> bool:
    """Whether the answer continues where the file ends."""
    match = _CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
    if match is None or stream.status not in (206, 416):
        return False
    first, last, total = match.groups()
    if int(total) != part.artifact.size:
        part.delete()
        raise wrong_length(part.artifact, int(total))
    return stream.status == 206 and (int(first or 0), int(last or 0) + 1) == (part.offset, part.artifact.size)


def _allocated(folder: Path, artifact: Artifact) -> int:
    try:
        return min(artifact.size, (folder / f"{PART}{artifact.path}").stat().st_size)
    except FileNotFoundError:
        return 0


def wrong_digest(what: str, digest: str) -> IntegrityError:
    """The refusal of bytes that are not what was asked for."""
    return IntegrityError(
        Code.FILE_DIGEST,
        f"{what} came with another content than sha256 {digest[:16]}...",
        expected="the bytes that were signed",
        todo="nothing: they were deleted; somebody between builder and device has changed them",
    )


def wrong_length(artifact: Artifact, length: int) -> IntegrityError:
    """The refusal of a file that is longer or shorter than what was signed."""
    return IntegrityError(
        Code.FILE_DIGEST,
        f"{artifact.path} came with {length} bytes instead of {artifact.size}",
        expected="the file as long as the signed release says",
        todo="nothing: it was deleted; somebody between builder and device has changed it",
    )
