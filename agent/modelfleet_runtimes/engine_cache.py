"""Engines that were derived on this device, kept so that they are built once.

Rules, all of them:

1. An entry is found by everything that its bytes hang on: model, build spec, GPU, TensorRT and who built it.
2. It appears whole, by rename, after its files and their digests were written and synced.
3. Every file is checked against its digest before each use. An entry that is not what was stored is dropped
   and built anew, never loaded. The digests lie beside the files: they hold damage and mix-ups, not somebody
   who may write here, and who could replace the agent as well.
4. Nothing is taken from elsewhere: no entry is downloaded, and none is copied in.
5. One build at a time (a lock that dies with its holder): two would not fit into a small device's memory.
6. The entries used longest ago go when all together take more than the limit; the one in use stays.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modelfleet_core.errors import ModelfleetError
from modelfleet_core.ids import is_file_name
from modelfleet_core.wire import codec

T = TypeVar("T")

_ENTRY = "entry.json"
_LOCK = "lock"
_PARTIAL = ".partial-"
_MAX_ENTRY_BYTES = 64 * 1024
_MAX_FILES = 32
DEFAULT_LIMIT_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine's bytes hang on, beside the builder's own choices by time.

    Attributes:
        model_sha256, spec_sha256: of the signed files.
        gpu: name of the GPU.
        compute_capability: such as `8.7`.
        tensorrt: version.
        maker: who drives it, `tensorrt` or `onnxruntime 1.23.0`.
    """

    model_sha256: str
    spec_sha256: str
    gpu: str
    compute_capability: str
    tensorrt: str
    maker: str

    def digest(self) -> str:
        """Name of the entry."""
        return hashlib.sha256(codec.encode(self)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What `entry.json` holds; `files` maps names to sha256."""

    key: EngineKey
    files: dict[str, str]


Make = Callable[[Path], None]
"""Writes the files of an engine into an empty folder."""


@dataclass(frozen=True, slots=True)
class EngineCache:
    """A folder of engines.

    Attributes:
        root: made when it is needed, for its owner only.
        limit_bytes: see rule 6.
    """

    root: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def use(self, key: EngineKey, make: Make, load: Callable[[Path], T]) -> T:
        """What `load` makes of the folder of an engine, which `make` built, now or before.

        A kept engine that is whole and still cannot be loaded is dropped and built anew, once.

        Args:
            key: Of the engine.
            make: Writes its files into an empty folder.
            load: Must not need the files afterwards.

        Raises:
            OSError: The folder cannot be written.
            ModelfleetError: Whatever `make` or `load` raise.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            place = self.root / key.digest()
            if _whole(place, key):
                os.utime(place)
                with suppress(ModelfleetError):
                    return load(place)
            _drop(place)
            self._build(place, key, make)
            self._prune(place)
            return load(place)

    def _build(self, place: Path, key: EngineKey, make: Make) -> None:
        for left in self.root.glob(f"{_PARTIAL}*"):  # nobody else builds: it is of a process that died
            _drop(left)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.root))
        try:
            make(partial)
            files = sorted(path for path in partial.iterdir() if path.is_file())
            entry = _Entry(key, {path.name: _digest(path) for path in files})
            (partial / _ENTRY).write_bytes(codec.pretty(entry))
            for path in (*files, partial / _ENTRY, partial):
                _sync(path)
            partial.rename(place)
            _sync(self.root)
        finally:
            _drop(partial)

    def _prune(self, used: Path) -> None:
        entries = [path for path in self.root.iterdir() if path.is_dir()]
        sizes = {path: sum(item.stat().st_size for item in path.iterdir()) for path in entries}
        total = sum(sizes.values())
        for path in sorted(entries, key=lambda item: item.stat().st_mtime_ns):
            if total > self.limit_bytes and path != used:
                _drop(path)
                total -= sizes[path]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _whole(place: Path, key: EngineKey) -> bool:
    """Rule 3."""
    try:
        with (place / _ENTRY).open("rb") as file:
            data = file.read(_MAX_ENTRY_BYTES + 1)
        entry = codec.decode(data, _Entry, what=_ENTRY, limit=_MAX_ENTRY_BYTES)
        names = sorted(path.name for path in place.iterdir())
        if (
            entry.key != key
            or not 1 <= len(entry.files) <= _MAX_FILES
            or names != sorted([_ENTRY, *entry.files])
        ):
            return False
        return all(
            is_file_name(name) and not (place / name).is_symlink() and _digest(place / name) == digest
            for name, digest in entry.files.items()
        )
    except (OSError, ModelfleetError):
        return False


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
