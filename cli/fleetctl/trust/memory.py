"""What this machine remembers of a controller: its director keys and the release keys registered from here.

A trust file is made of the remembered release keys, never of those that the controller tells: whoever takes
the controller must not be able to add a key by which devices accept releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleetctl import safefile
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.trust.keys import load_public_key
from modelfleet_core.trust.policy import MAX_TRUST_BYTES, TrustFile, policy_of, write_trust_file
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import TrustView


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key: its fingerprint, and who knows it."""

    kind: str
    fingerprint: str
    here: bool
    controller: bool


@dataclass(frozen=True, slots=True)
class TrustStatus:
    """View of `trust status`. `warnings` are sentences that need a person."""

    audience: str
    url: str
    keys: tuple[KeyLine, ...]
    warnings: tuple[str, ...]
    schema: int = 1


class TrustMemory:
    """One file per controller (`AUDIENCE.json`), a trust file without certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, audience: str) -> TrustFile | None:
        """What is remembered of a controller, None where nothing is.

        Raises:
            CallerError: MF-2050, the file is broken.
        """
        path = self._path(audience)
        if not path.exists():
            return None
        data = safefile.read(path, MAX_TRUST_BYTES, "the remembered keys")
        try:
            return codec.decode(data, TrustFile, what=str(path), limit=MAX_TRUST_BYTES)
        except ModelfleetError as error:
            raise CallerError(
                Code.TRUST_FILE_INVALID,
                error.happened,
                expected="the file that `fleetctl trust init` writes",
                todo="remove it and run `fleetctl trust init` again",
            ) from error

    def remember(self, told: TrustView, release_keys: Sequence[str], now: datetime) -> TrustFile:
        """Adds release keys; director keys are taken at the first time and compared ever after.

        Raises:
            CallerError: MF-6010, the controller's director keys are others than the remembered.
        """
        known = self.read(told.audience)
        if known is None:
            known = TrustFile(told.audience, (), told.director_keys, now)
        check_director(known, told)
        merged = (*known.release_keys, *(k for k in release_keys if k not in known.release_keys))
        trust = replace(known, release_keys=merged, issued_at=now)
        policy_of(trust)
        safefile.make_folder(self.folder)
        safefile.write(self._path(told.audience), write_trust_file(trust), safefile.PRIVATE)
        return trust

    def _path(self, audience: str) -> Path:
        # TrustFile allows A-Za-z0-9._- in an audience; a leading dot would still hide or leave the folder.
        return self.folder / f"controller-{audience}.json"


def check_director(known: TrustFile, told: TrustView) -> None:
    """Compares the controller's director keys with the remembered ones.

    Raises:
        CallerError: MF-6010.
    """
    if set(known.director_keys) != set(told.director_keys):
        raise CallerError(
            Code.CLI_TRUST_CHANGED,
            f"the controller {told.audience} shows another director key than the remembered one",
            expected=f"key {', '.join(fingerprint(k)[:16] for k in known.director_keys)}",
            todo="if its data were really made anew, remove the remembered file, then `fleetctl trust init`",
        )


def fingerprint(pem: str) -> str:
    """The key's hint; `unreadable` where it is no key."""
    try:
        return load_public_key(pem).key_hint
    except ModelfleetError:
        return "unreadable"


def status(url: str, told: TrustView, known: TrustFile | None) -> TrustStatus:
    """Both sides' keys next to each other, and what is odd about them."""
    lines: list[KeyLine] = []
    warnings: list[str] = []
    sides = (
        ("release", known.release_keys if known else (), told.release_keys),
        ("director", known.director_keys if known else (), told.director_keys),
    )
    for kind, here, there in sides:
        for pem in dict.fromkeys((*here, *there)):
            lines.append(KeyLine(kind, fingerprint(pem), pem in here, pem in there))
    if known is None:
        warnings.append("this machine remembers nothing of this controller; run `fleetctl trust init`")
    if not told.release_keys:
        warnings.append("the controller accepts no release key yet: nothing can be pushed")
    for line in lines:
        if known is not None and line.kind == "release" and not line.here:
            warnings.append(
                f"the controller accepts release key {line.fingerprint[:16]}, which was not registered from "
                "here; it will not stand in trust files made here"
            )
        if line.kind == "release" and not line.controller:
            warnings.append(
                f"release key {line.fingerprint[:16]} is remembered here; the controller does not know it"
            )
        if known is not None and line.kind == "director" and not (line.here and line.controller):
            warnings.append(f"director key {line.fingerprint[:16]} is not the same on both sides")
    return TrustStatus(told.audience, url, tuple(lines), tuple(warnings))
