"""Converted variants by the content of everything that made them.

The key is the digest of model bytes, full recipe, calibration samples, logical contract and tool versions, so
two different conversions never share an entry. Every file of an entry is checked against its digest before it
is used; a damaged entry is dropped and made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import Converted, Recipe
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.wire import codec

_ENTRY = "entry.json"
_FILES = "files"
_BESIDE = "beside"
_MAX_ENTRY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that changes the bytes of a converted variant."""

    model_sha256: str
    facts: ModelFacts
    recipe: Recipe
    calibration: str | None
    optimizer: str
    tools: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)
    companion: str | None = None

    def digest(self) -> str:
        """Name of the entry."""
        return hashlib.sha256(codec.encode(self)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What `entry.json` holds. `files` and `beside` map names to digests."""

    key: Key
    converted: Converted
    files: dict[str, str]
    beside: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A lookup: the conversion, or None; `damaged` says why an entry that was there was dropped."""

    converted: Converted | None
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries. Several builds may use it at once: entries appear by rename and never change."""

    root: Path

    def fetch(self, key: Key, folder: Path, beside: Path) -> Found:
        """Copy the files of an entry into `folder` and `beside`, two existing empty folders."""
        place = self._place(key)
        if not place.is_dir():
            return Found(None)
        try:
            data = (place / _ENTRY).read_bytes()
            entry = codec.decode(data, _Entry, what=_ENTRY, limit=_MAX_ENTRY_BYTES)
            if entry.key != key:
                raise ValueError("it is of another conversion")
            _copy_checked(place / _FILES, folder, entry.files)
            _copy_checked(place / _BESIDE, beside, entry.beside)
        except (OSError, ValueError, ModelfleetError) as error:
            for left in (*folder.iterdir(), *beside.iterdir()):
                left.unlink()
            with suppress(OSError):
                shutil.rmtree(place)
            return Found(None, f"a damaged cache entry was dropped: {str(error)[:200]}")
        return Found(entry.converted)

    def store(self, key: Key, converted: Converted, folder: Path, beside: Path) -> None:
        """Keep the files of both folders. A cache that cannot be written is no reason to fail a build."""
        place = self._place(key)
        if place.exists():
            return
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
            try:
                shutil.copytree(folder, partial / _FILES)
                shutil.copytree(beside, partial / _BESIDE)
                entry = _Entry(key, converted, _digests(partial / _FILES), _digests(partial / _BESIDE))
                (partial / _ENTRY).write_bytes(codec.pretty(entry))
                os.rename(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _place(self, key: Key) -> Path:
        digest = key.digest()
        return self.root / digest[:2] / digest


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def _copy_checked(source: Path, target: Path, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        if name != Path(name).name:
            raise ValueError(f"the file name {name!r} leaves the entry")
        shutil.copyfile(source / name, target / name)
        if file_digest(target / name) != digest:
            raise ValueError(f"the file {name} is not what was stored")


def file_digest(path: Path) -> str:
    """Lower-case hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
