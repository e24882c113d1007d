"""Where the device's private key lives: the port, and the one that keeps it in a file.

A TPM or a smart card is another `KeyProvider`; nothing else of the agent sees a private key.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final, Protocol

from modelfleet_agent.state.files import read_limited, world, write_atomic
from modelfleet_core.clock import Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.trust.dsse import Signer
from modelfleet_core.trust.keys import Ed25519Private, ed25519_from_seed, load_private_key

SEED_BYTES: Final = 32
_MAX_KEY: Final = 4096


class KeyProvider(Protocol):
    """Holds the device's Ed25519 key."""

    def exists(self) -> bool:
        """Whether there is a key already."""
        ...

    def obtain(self) -> tuple[Signer, bytes]:
        """The signer and the raw public key (32 bytes); makes the key the first time.

        Raises:
            IntegrityError: MF-3009, there is a key and it cannot be used.
            WorldError: MF-3004, MF-5001.
        """
        ...


class FileKey:
    """An Ed25519 key in a PEM file that only its owner can read; written once, never rewritten."""

    def __init__(self, path: Path, entropy: Entropy) -> None:
        self._path = path
        self._entropy = entropy

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def obtain(self) -> tuple[Signer, bytes]:
        """The key of the file, which is made the first time (see `KeyProvider.obtain`)."""
        data = read_limited(self._path, _MAX_KEY)
        if data is None:
            key = ed25519_from_seed(self._entropy(SEED_BYTES))
            write_atomic(self._path, key.to_pem().encode())
            return key, key.public().raw
        with world(f"{self._path} cannot be read"):
            mode = stat.S_IMODE(self._path.stat().st_mode)
        if mode & 0o077:
            raise self._broken(f"others may read it (mode {mode:04o})", f"run: chmod 600 {self._path}")
        try:
            found = load_private_key(data)
        except ModelfleetError as error:
            raise self._broken(error.happened, "restore it from a backup, or enrol anew") from error
        if not isinstance(found, Ed25519Private):
            raise self._broken("it is not an Ed25519 key", "restore it from a backup, or enrol anew")
        return found, found.public().raw

    def _broken(self, happened: str, todo: str) -> ModelfleetError:
        return IntegrityError(
            Code.IDENTITY_BROKEN,
            f"the device's key {self._path}: {happened}",
            expected="an Ed25519 key (PEM) that only its owner can read",
            todo=todo,
        )


def not_enrolled(root: Path) -> CallerError:
    """The refusal to run a device that no controller knows."""
    return CallerError(
        Code.NOT_ENROLLED,
        f"the device of {root} is not enrolled",
        expected="an identity and a pinned trust file",
        todo="run: modelfleet-agent enroll URL --token T --trust FILE",
    )
