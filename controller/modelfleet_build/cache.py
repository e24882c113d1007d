"""What earlier builds found out, by the content of everything that led to it.

An entry is some files and one value. Its key names everything that could change them (for a conversion: model
bytes, recipe, options, calibration samples, contract and tool versions), so two different ones never share an
entry. Every file of an entry is checked against its digest before it is used; a damaged entry is dropped and
made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from modelfleet_build.child.jobs import Loadable
from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import Recipe
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.manifest import Decoder, Task
from modelfleet_core.wire import codec

T = TypeVar("T")

_ENTRY, _KEY, _VALUE = "entry.json", "key.json", "value.json"
_MAX_ENTRY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConversionKey:
    """Everything that changes the bytes of a converted variant."""

    model_sha256: str
    facts: ModelFacts
    recipe: Recipe
    calibration: str | None
    optimizer: str
    tools: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)
    companion: str | None = None


@dataclass(frozen=True, slots=True)
class Runnable:
    """A model that is run: its files' digests and how a runtime opens them."""

    files: dict[str, str]
    loadable: Loadable
    version: str

    @staticmethod
    def of(loadable: Loadable, version: str) -> Runnable:
        """What is on disk now; the place itself does not matter."""
        return Runnable(digests(Path(loadable.folder)), replace(loadable, folder=""), version)


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """Everything that changes what a measurement finds, the machine included.

    Attributes:
        target, reference: What was run, and what it was timed against.
        parent_sha256, parent_version: The float parent it was compared with, and of its runtime.
        validation, golden: Digests of samples and truth.
        effort: Rounds, calls and seconds of the latency comparison, and the seed.
        machine: Processor and number of cores.
        tool: Version of the builder.
    """

    target: Runnable
    reference: Runnable | None
    parent_sha256: str
    parent_version: str
    validation: str
    golden: str
    task: Task
    decoder: Decoder | None
    scale: float | None
    effort: tuple[float, ...]
    machine: str
    tool: str


@dataclass(frozen=True, slots=True)
class SensitivityKey:
    """Everything that changes how much each operator suffers from int8."""

    model_sha256: str
    calibration: str
    tuning: str
    tools: dict[str, str]


@dataclass(frozen=True, slots=True)
class IntakeKey:
    """Everything that changes what the intake of a single-file model finds."""

    source_sha256: str
    tools: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A lookup: the value, or None; `damaged` says why an entry that was there was dropped."""

    value: T | None
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries. Several builds may use it at once: entries appear by rename and never change."""

    root: Path

    def usable(self) -> bool:
        """Whether entries can be kept: the folder is there, or can be made, and may be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self.root, os.W_OK | os.X_OK)

    def fetch(self, key: object, kind: type[T], *folders: Path) -> Found[T]:
        """The value of an entry; its files are copied into `folders`, existing empty ones.

        Args:
            key: A dataclass.
            kind: Type of the value.
            folders: As many as were stored.
        """
        place = self._place(key)
        if not place.is_dir():
            return Found(None)
        try:
            entry = codec.decode(
                (place / _ENTRY).read_bytes(), dict[str, str], what=_ENTRY, limit=_MAX_ENTRY_BYTES
            )
            for name in (_KEY, _VALUE):
                if _sha256((place / name).read_bytes()) != entry.pop(name):
                    raise ValueError(f"{name} is not what was stored")
            if (place / _KEY).read_bytes() != codec.encode(key):
                raise ValueError("it is of another key")
            value = codec.decode((place / _VALUE).read_bytes(), kind, what=_VALUE, limit=_MAX_ENTRY_BYTES)
            for name, digest in entry.items():
                _copy_checked(place, name, digest, folders)
        except (OSError, ValueError, KeyError, IndexError, ModelfleetError) as error:
            for left in (path for folder in folders for path in folder.iterdir()):
                left.unlink()
            with suppress(OSError):
                shutil.rmtree(place)
            return Found(None, f"a damaged cache entry was dropped: {str(error)[:200]}")
        return Found(value)

    def store(self, key: object, value: object, *folders: Path) -> None:
        """Keep a value and the files of flat folders. A cache that cannot be written fails no build."""
        place = self._place(key)
        if place.exists():
            return
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
            try:
                entry: dict[str, str] = {}
                for number, folder in enumerate(folders):
                    shutil.copytree(folder, partial / str(number))
                    for name, digest in digests(partial / str(number)).items():
                        entry[f"{number}/{name}"] = digest
                for name, data in ((_KEY, codec.encode(key)), (_VALUE, codec.encode(value))):
                    (partial / name).write_bytes(data)
                    entry[name] = _sha256(data)
                (partial / _ENTRY).write_bytes(codec.pretty(entry))
                os.rename(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _place(self, key: object) -> Path:
        digest = key_digest(key)
        return self.root / digest[:2] / digest


def key_digest(key: object) -> str:
    """Name of the entry of a key: of its kind and content."""
    return _sha256(type(key).__name__.encode() + b" " + codec.encode(key))


def digests(folder: Path) -> dict[str, str]:
    """Name -> lower-case hex sha256 of every file of a flat folder."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def file_digest(path: Path) -> str:
    """Lower-case hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _copy_checked(place: Path, name: str, digest: str, folders: tuple[Path, ...]) -> None:
    number, _, plain = name.partition("/")
    if plain != Path(plain).name or not number.isdecimal():
        raise ValueError(f"the file name {name!r} leaves the entry")
    target = folders[int(number)] / plain
    shutil.copyfile(place / number / plain, target)
    if file_digest(target) != digest:
        raise ValueError(f"the file {name} is not what was stored")
