"""`fleetctl release export-header`: a variant as a C header, checked before it is written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetctl import safefile
from fleetctl.release.folder import ReleaseFolder, verify_variant
from modelfleet_build.c_header import MAX_MODEL_BYTES, HeaderSource, c_header, check_exportable
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import CONTRACT_NAME, Variant
from modelfleet_core.trust.dsse import Verifier
from modelfleet_core.trust.statement import build_statement, check_manifest, parse_statement
from modelfleet_core.wire import codec

_MAX_CONTRACT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class HeaderView:
    """View of `release export-header`; `signed_by` is empty where no keys were given to check with."""

    release: str
    id: str
    variant: str
    path: str
    model_sha256: str
    model_bytes: int
    arena_bytes: int | None
    signed_by: str
    schema: int = 1


def export(
    release: ReleaseFolder, name: str, target: Path, keys: Mapping[str, Verifier] | None
) -> HeaderView:
    """Write the header of a variant whose folder is exactly what release.json says.

    Raises:
        CallerError: MF-6011 no such variant, MF-1466 it cannot be a header, MF-6005 the file exists.
        IntegrityError: MF-2034 to MF-2042, the folder is not what release.json or the signature says.
    """
    variant = release.manifest.variant(name)
    if variant is None:
        raise _unknown(release, name)
    check_exportable(variant)
    folder = next(item for item in release.variants if item.name == name)
    check_manifest(parse_statement(build_statement(name, folder.files, release.id)), release.manifest)
    signed_by = verify_variant(release, folder, keys).key_hint if keys is not None else ""
    model = _read(folder.folder, variant, variant.entry, MAX_MODEL_BYTES)
    contract = _read(folder.folder, variant, CONTRACT_NAME, _MAX_CONTRACT_BYTES)
    source = HeaderSource(
        release.manifest,
        release.id,
        variant,
        model,
        codec.decode(contract, InputContract, what=CONTRACT_NAME, limit=_MAX_CONTRACT_BYTES),
    )
    safefile.write(target, c_header(source).encode(), replace=False)
    return HeaderView(
        release=release.manifest.reference(),
        id=release.id,
        variant=name,
        path=str(target),
        model_sha256=str(sha256_hex(model)),
        model_bytes=len(model),
        arena_bytes=variant.measurements.arena_bytes,
        signed_by=signed_by,
    )


def _read(folder: Path, variant: Variant, name: str, limit: int) -> bytes:
    """A file of the variant, hashed again: it may have changed since the folder was looked at."""
    data = safefile.read(folder / name, limit, name)
    wanted = next((item.sha256 for item in variant.files if item.path == name), None)
    if str(sha256_hex(data)) != wanted:
        raise IntegrityError(
            Code.FILE_DIGEST,
            f"variant {variant.name}: {name} is not the file that release.json lists",
            expected=f"sha256 {wanted}",
            todo="build the release again",
        )
    return data


def _unknown(release: ReleaseFolder, name: str) -> CallerError:
    names = [item.name for item in release.manifest.variants]
    nearest = difflib.get_close_matches(name, names, n=1)
    return CallerError(
        Code.CLI_ARGUMENT,
        f"{release.manifest.reference()} has no variant {name!r}",
        expected=f"one of {', '.join(names)}",
        todo=f"did you mean {nearest[0]}?" if nearest else "name one of them",
    )
