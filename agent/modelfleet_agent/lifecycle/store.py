"""Variant folders on the device: whole or not there, named by content, deleted when nothing refers to them.

    store/<release id>.<variant>/                   a complete folder, as the builder made it
    store/<release id>.<variant>.sigstore.json      its bundle, beside it (semantics section 6)
    store/.incoming/<release id>.<variant>/         what is being downloaded
    store/.trash/                                   what is being deleted

A folder gets its name by one rename after every file was checked, and loses it by one rename before the
first file is deleted: a crash never leaves a folder that looks complete and is not."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from modelfleet_agent.facts import free_disk
from modelfleet_agent.state.files import PRIVATE_FOLDER, sync_folder, world, write_atomic
from modelfleet_core.lifecycle.chain import Installed
from modelfleet_core.release.manifest import BUNDLE_SUFFIX

_INCOMING: Final = ".incoming"
_TRASH: Final = ".trash"
_CHUNK: Final = 1024 * 1024


def key_of(installed: Installed) -> str:
    """Name of the folder of one variant of one release."""
    return f"{installed.release}.{installed.variant}"


class VariantStore:
    """All variant folders of the device.

    Args:
        root: the folder `store` of the state directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in (_INCOMING, _TRASH):
            with world(f"the store {root} cannot be made"):
                (root / name).mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        self._empty_trash()

    def folder(self, installed: Installed) -> Path:
        """Where the complete folder is, or would be."""
        return self._root / key_of(installed)

    def has(self, installed: Installed) -> bool:
        """Whether the complete folder is there."""
        return self.folder(installed).is_dir()

    def incoming(self, installed: Installed) -> Path:
        """Where its files are put together; made if need be.

        Raises:
            WorldError: MF-5001, MF-3004.
        """
        path = self._root / _INCOMING / key_of(installed)
        with world(f"{path} cannot be made"):
            path.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
        return path

    def free(self) -> int:
        """Bytes that may still be written."""
        return free_disk(self._root)

    def install(self, installed: Installed, bundle: bytes) -> None:
        """Gives a folder whose files are all checked its name. Idempotent.

        Raises:
            WorldError: MF-5001, MF-3004.
        """
        write_atomic(self._root / f"{key_of(installed)}{BUNDLE_SUFFIX}", bundle)
        if self.has(installed):
            return
        source = self._root / _INCOMING / key_of(installed)
        with world(f"{source} cannot be moved into the store"):
            for path in source.iterdir():
                if path.name.startswith("."):
                    path.unlink()
            sync_folder(source)
            os.rename(source, self.folder(installed))
            sync_folder(self._root)

    def remove(self, installed: Installed) -> None:
        """Deletes a complete folder. Idempotent.

        Raises:
            WorldError: MF-3004.
        """
        if self.has(installed):
            self._discard(self.folder(installed))
            self._empty_trash()

    def drop_incoming(self, installed: Installed) -> None:
        """Gives the room of an unfinished download back. Idempotent.

        Raises:
            WorldError: MF-3004.
        """
        path = self._root / _INCOMING / key_of(installed)
        if path.exists():
            self._discard(path)
            self._empty_trash()

    def collect(self, held: Iterable[Installed], preparing: Iterable[Installed] = ()) -> int:
        """Deletes every folder, bundle and unfinished download that nothing refers to; how many.

        Args:
            held: everything that any slot refers to.
            preparing: what any slot is downloading.

        Raises:
            WorldError: MF-3004.
        """
        kept = {key_of(installed) for installed in held}
        kept |= {f"{key}{BUNDLE_SUFFIX}" for key in kept}
        coming = {key_of(installed) for installed in preparing}
        with world(f"the store {self._root} cannot be read"):
            gone = [
                p for p in self._root.iterdir() if p.name not in kept and p.name not in (_INCOMING, _TRASH)
            ]
            gone += [p for p in (self._root / _INCOMING).iterdir() if p.name not in coming]
        for path in gone:
            self._discard(path)
        self._empty_trash()
        return len(gone)

    def _discard(self, path: Path) -> None:
        with world(f"{path} cannot be deleted"):
            if path.is_dir():
                shutil.rmtree(self._root / _TRASH / path.name, ignore_errors=True)
                os.rename(path, self._root / _TRASH / path.name)
                sync_folder(path.parent)
            else:
                path.unlink(missing_ok=True)

    def _empty_trash(self) -> None:
        with world(f"the store {self._root} cannot be cleaned"):
            for path in (self._root / _TRASH).iterdir():
                shutil.rmtree(path)


def digest_file(path: Path) -> str:
    """sha256 of a file, lower-case hex.

    Raises:
        WorldError: MF-3004.
    """
    with world(f"{path} cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> Mapping[str, str]:
    """sha256 of every file of a folder, by name; unfinished downloads (dot files) are left out.

    Raises:
        WorldError: MF-3004.
    """
    with world(f"{folder} cannot be read"):
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return {name: digest_file(folder / name) for name in names}
