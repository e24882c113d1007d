"""Release keys on disk: ECDSA P-256, PKCS8, 0600; their public halves beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetctl import safefile
from fleetctl.app import App
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.trust.keys import (
    MAX_PEM_BYTES,
    EcdsaP256Private,
    EcdsaP256Public,
    generate_ecdsa_p256,
    is_encrypted,
    load_private_key,
    load_public_key,
)

PUBLIC_SUFFIX: Final = ".pub"


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key pair that was made. `fingerprint` names it in bundles and trust files."""

    private_key: str
    public_key: str
    fingerprint: str
    encrypted: bool
    schema: int = 1


def make(path: Path, passphrase: str | None = None) -> KeyView:
    """A fresh pair in `path` (0600) and `path.pub`; nothing is ever overwritten.

    Raises:
        CallerError: MF-6005, one of them exists; MF-2003, the passphrase is too short.
    """
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    if public_path.exists():
        raise safefile.exists(public_path)
    key = generate_ecdsa_p256()
    safefile.make_folder(path.parent, 0o755)
    safefile.write(path, key.to_pem(passphrase).encode(), safefile.PRIVATE, replace=False)
    safefile.write(public_path, key.public().to_pem().encode(), safefile.PUBLIC, replace=False)
    return KeyView(str(path), str(public_path), key.key_hint, passphrase is not None)


def read_private(path: Path, app: App) -> EcdsaP256Private:
    """The key in a file; its passphrase from MODELFLEET_KEY_PASSPHRASE or asked for.

    Raises:
        CallerError: MF-6004 no such file, MF-6014 no passphrase, MF-2001 to MF-2003 the key is not usable.
    """
    pem = safefile.read(path, MAX_PEM_BYTES, "the key")
    passphrase = app.settings.passphrase
    if is_encrypted(pem) and passphrase is None:
        passphrase = app.terminal.secret(f"Passphrase of {path}", app.hidden)
        if passphrase is None:
            raise CallerError(
                Code.CLI_NO_SECRET,
                f"{path} is encrypted and no passphrase was given",
                expected="MODELFLEET_KEY_PASSPHRASE, or a terminal to ask on",
                todo="set the variable for this command",
            )
    key = load_private_key(pem, passphrase)
    if not isinstance(key, EcdsaP256Private):
        raise _not_a_release_key(path)
    return key


def read_public(path: Path) -> EcdsaP256Public:
    """The public release key in a file.

    Raises:
        CallerError: MF-6004 no such file, MF-2001/MF-2002 not a public ECDSA P-256 key.
    """
    key = load_public_key(safefile.read(path, MAX_PEM_BYTES, "the key"))
    if not isinstance(key, EcdsaP256Public):
        raise _not_a_release_key(path)
    return key


def _not_a_release_key(path: Path) -> CallerError:
    return CallerError(
        Code.KEY_WRONG_KIND,
        f"{path} holds an Ed25519 key",
        expected="ECDSA P-256: other tools can check no other release signature",
        todo="make one with `fleetctl release keygen --key FILE`",
    )
