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
from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import Converted, Recipe
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.wire import codec

_ENTRY = "entry.json"
_FILES = "files"
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

    def digest(self) -> str:
        """Name of the entry."""
        return hashlib.sha256(codec.encode(self)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What `entry.json` holds."""

    key: Key
    converted: Converted
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A lookup: the conversion, or None; `damaged` says why an entry that was there was dropped."""

    converted: Converted | None
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries. Several builds may use it at once: entries appear by rename and never change."""

    root: Path

    def fetch(self, key: Key, folder: Path) -> Found:
        """Copy the files of an entry into `folder`, an existing empty one."""
        place = self._place(key)
        if not place.is_dir():
            return Found(None)
        try:
            data = (place / _ENTRY).read_bytes()
            entry = codec.decode(data, _Entry, what=_ENTRY, limit=_MAX_ENTRY_BYTES)
            if entry.key != key:
                raise ValueError("it is of another conversion")
            for name, digest in entry.files.items():
                if name != Path(name).name:
                    raise ValueError(f"the file name {name!r} leaves the entry")
                shutil.copyfile(place / _FILES / name, folder / name)
                if file_digest(folder / name) != digest:
                    raise ValueError(f"the file {name} is not what was stored")
        except (OSError, ValueError, ModelfleetError) as error:
            for left in folder.iterdir():
                left.unlink()
            with suppress(OSError):
                shutil.rmtree(place)
            return Found(None, f"a damaged cache entry was dropped: {str(error)[:200]}")
        return Found(entry.converted)

    def store(self, key: Key, converted: Converted, folder: Path) -> None:
        """Keep the files of `folder`. A cache that cannot be written is no reason to fail a build."""
        place = self._place(key)
        if place.exists():
            return
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
            try:
                shutil.copytree(folder, partial / _FILES)
                files = {path.name: file_digest(path) for path in sorted((partial / _FILES).iterdir())}
                (partial / _ENTRY).write_bytes(codec.pretty(_Entry(key, converted, files)))
                os.rename(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _place(self, key: Key) -> Path:
        digest = key.digest()
        return self.root / digest[:2] / digest


def file_digest(path: Path) -> str:
    """Lower-case hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
