"""The state directory: one folder, one agent, one version of its layout.

version             the layout's number, written once
lock                held (flock) by the running supervisor
identity/           device.key, identity.json: written once, never rewritten
trust.json          the trust file pinned at enrolment
director.json       highest revision seen and the last statement
journal/            what the lifecycle was about to do (docs/guides/agent.md, "The journal")
store/              variant folders, content-addressed
outbox/             reports that are not delivered yet
serve/              serve's own: table.json, serve.sock, lock, logs, engines (docs/guides/tensorrt.md)
requests/           what people at the device asked for (`modelfleet-agent rollback`)
status.json         for `modelfleet-agent status`, rewritten when something changes
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from .files import PRIVATE_FILE, PRIVATE_FOLDER, read_limited, sync_folder, unreadable, world, write_atomic

SCHEMA: Final = 1
_FOLDERS: Final = ("identity", "journal", "store", "outbox", "serve", "requests")


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths inside one state directory. Open it with `prepare`."""

    root: Path

    @property
    def version(self) -> Path:
        """The layout's number."""
        return self.root / "version"

    @property
    def lock(self) -> Path:
        """Held by the running supervisor."""
        return self.root / "lock"

    @property
    def key(self) -> Path:
        """The device's private key (PEM, 0600)."""
        return self.root / "identity" / "device.key"

    @property
    def identity(self) -> Path:
        """Who the device is and which controller it belongs to; its existence means: enrolled."""
        return self.root / "identity" / "identity.json"

    @property
    def trust(self) -> Path:
        """The pinned trust file."""
        return self.root / "trust.json"

    @property
    def director(self) -> Path:
        """Highest revision seen and the last statement."""
        return self.root / "director.json"

    @property
    def journal(self) -> Path:
        """The lifecycle's journal."""
        return self.root / "journal"

    @property
    def store(self) -> Path:
        """Variant folders."""
        return self.root / "store"

    @property
    def outbox(self) -> Path:
        """Reports that wait."""
        return self.root / "outbox"

    @property
    def serve(self) -> Path:
        """Serve's own files."""
        return self.root / "serve"

    @property
    def requests(self) -> Path:
        """Wishes of people at the device."""
        return self.root / "requests"

    @property
    def status(self) -> Path:
        """What `modelfleet-agent status` shows."""
        return self.root / "status.json"


def prepare(root: Path) -> StateFolder:
    """The state directory, made if it does not exist (0700).

    Raises:
        CallerError: MF-3002, it is from a newer version of the agent; nothing is touched.
        WorldError: MF-3004 it cannot be made or read, MF-5001 the disk is full.
    """
    folder = StateFolder(root)
    with world(f"the state directory {root} cannot be made"):
        root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    found = _version(folder)
    if found is not None and found > SCHEMA:
        raise CallerError(
            Code.STATE_NEWER,
            f"the state directory {root} has layout {found}",
            expected=f"at most {SCHEMA}, which this version of the agent writes",
            todo="install the newer agent again, or give this one a state directory of its own",
        )
    with world(f"the state directory {root} cannot be made"):
        for name in _FOLDERS:
            (root / name).mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    if found is None:
        write_atomic(folder.version, f"{SCHEMA}\n".encode())
        with world(f"the state directory {root} cannot be made"):
            sync_folder(root.parent)
    return folder


def sweep(folder: StateFolder) -> None:
    """Deletes what a write that was cut off left behind. Only for the holder of the lock."""
    with world(f"{folder.root} cannot be cleaned"):
        for part in (folder.root, *(folder.root / name for name in _FOLDERS)):
            for path in part.glob("*.partial"):
                path.unlink(missing_ok=True)


def _version(folder: StateFolder) -> int | None:
    data = read_limited(folder.version, 64)
    if data is None:
        return None
    text = data.decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise unreadable(folder.version, f"it holds {text!r}, not a number")
    return int(text)


class Lock:
    """The one right to act on a state directory: an flock that dies with its holder, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Takes the lock or refuses at once.

        Raises:
            CallerError: MF-3003, another process holds it.
            WorldError: MF-3004, it cannot be opened.
        """
        with world(f"the lock {path} cannot be opened"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise WorldError(
                    Code.STATE_UNREADABLE,
                    f"the lock {path} cannot be taken: {error}",
                    expected="a file system that knows flock",
                    todo="put the state directory on a local file system",
                ) from error
            raise CallerError(
                Code.STATE_LOCKED,
                f"another agent (process {holder}) runs on {path.parent}",
                expected="one agent per state directory",
                todo="stop the other one, or give this one a state directory of its own",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(path: Path) -> int | None:
    """Process id of the agent that holds the lock, or None when nobody does.

    Looks without taking the lock, so that it can never make a starting agent believe in a second one.
    """
    try:
        inode = str(path.stat().st_ino)
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in locks.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 708 08:01:1835 0 EOF   (waiting ones have "->" after the number)
        words = line.split()
        if len(words) == 8 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return int(words[4])
    return None
