"""The director's private key: made at the first start, 0600, read at every other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError
from modelfleet_core.trust.keys import Ed25519Private, generate_ed25519, load_private_key


def load_or_make(path: Path) -> Ed25519Private:
    """The key in `path`; a fresh one is written where there is none.

    Raises:
        IntegrityError: MF-2001, the file holds no Ed25519 key, or others than its owner may read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except FileNotFoundError:
        return _make(path)
    if mode & 0o077:
        raise IntegrityError(
            Code.KEY_INVALID,
            f"the director key {path}: others may read it (mode {mode:04o})",
            expected="a file that only its owner can read",
            todo=f"run: chmod 600 {path}; if somebody may have read it, give the devices a new trust file",
        )
    try:
        key = load_private_key(data)
    except CallerError as error:
        raise IntegrityError(
            Code.KEY_INVALID,
            f"{path}: {error.happened}",
            expected="the director key that the first start wrote",
            todo="restore the file from a backup; devices trust no other director key",
        ) from error
    if not isinstance(key, Ed25519Private):
        raise IntegrityError(
            Code.KEY_INVALID,
            f"{path} holds a key of another kind",
            expected="Ed25519",
            todo="restore the file from a backup; devices trust no other director key",
        )
    return key


def _make(path: Path) -> Ed25519Private:
    key = generate_ed25519()
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.to_pem())
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key
