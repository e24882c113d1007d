"""Writes the release folder: every variant complete, all at once or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.cache import file_digest
from modelfleet_build.child.jobs import DISK_IS_FULL
from modelfleet_build.datasets import Dataset
from modelfleet_build.report import REPORT_NAME, BuildReport
from modelfleet_build.request import exists
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.ids import ReleaseId, sha256_hex
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import (
    CONTRACT_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    Artifact,
    Manifest,
)
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden as golden_set
from modelfleet_runtimes.comparators import Outputs

VARIANTS = "variants"
_OWNED = "owned.lock"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders of a running build, beside the release folder so that the last step is a rename.

    Attributes:
        root: Removed when the build ends, however it ends.
        release: Becomes the release folder.
    """

    root: Path
    release: Path

    def fresh(self, name: str) -> Path:
        """A new empty folder for a child process or files between steps; names may repeat."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.root))

    def variant(self, name: str, files: Path) -> Path:
        """The variant folder of that name, made from the folder with the runtime's files."""
        path = self.release / VARIANTS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.chmod(0o755)
        files.rename(path)
        return path


@contextmanager
def workspace(output: Path) -> Iterator[Workspace]:
    """Make a workspace for a release that shall become `output`; disk errors become ours.

    Raises:
        WorldError: MF-5001, the disk is full; MF-1451, the folder cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Absolute: child processes run in folders of their own.
        beside = output.parent.absolute()
        _sweep(beside, output.name)
        root = Path(tempfile.mkdtemp(prefix=_partial(output.name), dir=beside))
    except OSError as error:
        raise _disk(output, error) from error
    owned = -1
    try:
        owned = os.open(root / _OWNED, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(owned, fcntl.LOCK_EX)
        space = Workspace(root, root / "release")
        space.release.mkdir()
        yield space
    except OSError as error:
        raise _disk(output, error) from error
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if owned >= 0:
            os.close(owned)


def _partial(name: str) -> str:
    return f".{name}.partial-"


def _sweep(beside: Path, name: str) -> None:
    """Remove what builds of the same release left that were killed: a living one holds its lock."""
    for root in beside.glob(f"{glob.escape(_partial(name))}*"):
        with suppress(OSError):
            lock = os.open(root / _OWNED, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
            finally:
                os.close(lock)


def complete_variant(
    folder: Path, contract: InputContract, data: Dataset, recorded: Outputs
) -> tuple[Artifact, ...]:
    """Add contract and golden set to a folder that holds the runtime's files; returns all files."""
    (folder / CONTRACT_NAME).write_bytes(codec.pretty(contract))
    with (folder / GOLDEN_NAME).open("wb") as file:
        answers = tuple(recorded[binding.logical.name] for binding in contract.outputs)
        golden_set.write(file, data.stored, data.scale, data.truth, answers)
    return artifacts(folder)


def artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Every file of a variant folder, sorted by name."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST_NAME)
    return tuple(Artifact(path.name, file_digest(path), path.stat().st_size) for path in files)


def write_manifest(space: Workspace, manifest: Manifest) -> ReleaseId:
    """Write `release.json` at the top and into every variant folder; returns the release id.

    Variant folders that the manifest does not name are removed.
    """
    data = codec.pretty(manifest)
    (space.release / MANIFEST_NAME).write_bytes(data)
    names = {variant.name for variant in manifest.variants}
    for folder in (space.release / VARIANTS).iterdir():
        if folder.name in names:
            (folder / MANIFEST_NAME).write_bytes(data)
        else:
            shutil.rmtree(folder)
    return ReleaseId(sha256_hex(data))


def publish(space: Workspace, report: BuildReport, output: Path) -> None:
    """Write the report and make the release appear at `output`, durable, in one step.

    Raises:
        CallerError: MF-1422, `output` came into being meanwhile.
        OSError: The disk fails.
    """
    (space.release / REPORT_NAME).write_bytes(codec.pretty(report))
    for path in sorted(space.release.rglob("*")):
        _sync(path)
    _sync(space.release)
    try:
        os.rename(space.release, output)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise exists(output) from error
    _sync(output.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk(output: Path, error: OSError) -> WorldError:
    full = error.errno in DISK_IS_FULL
    return WorldError(
        Code.DISK_FULL if full else Code.BUILD_NOT_WRITTEN,
        f"the release folder {output} cannot be written: {error.strerror or error}",
        expected="a writable folder with room for the variants",
        todo="make room, or choose another folder; nothing was left behind",
    )
