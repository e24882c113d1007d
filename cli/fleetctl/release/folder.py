"""A release folder on disk: read, sign, verify. Writes nothing but the bundles beside the variants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetctl import safefile
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.manifest import (
    BUNDLE_SUFFIX,
    MANIFEST_NAME,
    MAX_BUNDLE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    Manifest,
)
from modelfleet_core.trust.bundle import VerifiedBundle, sign_bundle, verify_bundle
from modelfleet_core.trust.dsse import Signer, Verifier
from modelfleet_core.trust.statement import build_statement, check_files, check_manifest, parse_statement
from modelfleet_core.wire import codec

VARIANTS: Final = "variants"


@dataclass(frozen=True, slots=True)
class VariantFolder:
    """One variant on disk, every file of it hashed."""

    name: str
    folder: Path
    bundle: Path
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class ReleaseFolder:
    """A release on disk. `id` is the sha256 of release.json."""

    folder: Path
    id: str
    manifest: Manifest
    variants: tuple[VariantFolder, ...]


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """One variant's signature as it was found."""

    variant: str
    signed_by: str
    files: int
    ok: bool
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureView:
    """View of `release sign` and `release verify`."""

    release: str
    id: str
    ok: bool
    variants: tuple[VariantCheck, ...]
    schema: int = 1


def read(folder: Path) -> ReleaseFolder:
    """The release in a folder; every variant of its manifest must be there.

    Raises:
        CallerError: MF-6004 no release there, MF-1601 release.json is malformed.
        IntegrityError: MF-2036 a variant folder is missing or unknown.
    """
    data = safefile.read(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES, "the manifest")
    manifest = codec.decode(data, Manifest, what=str(folder / MANIFEST_NAME), limit=MAX_MANIFEST_BYTES)
    found = (
        {p.name for p in (folder / VARIANTS).iterdir() if p.is_dir()}
        if (folder / VARIANTS).is_dir()
        else set()
    )
    listed = {v.name for v in manifest.variants}
    if found != listed:
        odd = sorted(found ^ listed)[0]
        raise IntegrityError(
            Code.STATEMENT_OTHER_RELEASE,
            f"{folder}: variant {odd} is {'not in release.json' if odd in found else 'not in the folder'}",
            expected="exactly the variants that release.json lists",
            todo="build the release again",
        )
    variants = tuple(_variant(folder, v.name) for v in manifest.variants)
    return ReleaseFolder(folder, str(sha256_hex(data)), manifest, variants)


def _variant(folder: Path, name: str) -> VariantFolder:
    place = folder / VARIANTS / name
    entries = sorted(place.iterdir())
    if len(entries) > MAX_FILES + 1:
        raise CallerError(
            Code.CLI_FILE,
            f"{place} holds {len(entries)} files",
            expected=f"at most {MAX_FILES + 1}",
            todo="remove what does not belong to the variant",
        )
    files: dict[str, str] = {}
    for entry in entries:
        if entry.is_symlink() or not entry.is_file():
            raise CallerError(
                Code.CLI_FILE,
                f"{entry} is not a plain file",
                expected="plain files only, no links and no folders",
                todo="build the release again",
            )
        with entry.open("rb") as file:
            files[entry.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return VariantFolder(name, place, folder / VARIANTS / f"{name}{BUNDLE_SUFFIX}", files)


def sign(release: ReleaseFolder, signer: Signer) -> SignatureView:
    """Writes one bundle per variant, after all of them could be made.

    Raises:
        IntegrityError: MF-2034 to MF-2042, a folder is not what release.json says; nothing is written then.
    """
    made: list[tuple[VariantFolder, bytes]] = []
    for variant in release.variants:
        statement = build_statement(variant.name, variant.files, release.id)
        check_manifest(parse_statement(statement), release.manifest)
        made.append((variant, sign_bundle(statement, signer)))
    for variant, bundle in made:
        safefile.write(variant.bundle, bundle)
    checks = tuple(VariantCheck(v.name, signer.key_hint, len(v.files), ok=True) for v, _ in made)
    return SignatureView(release.manifest.reference(), release.id, True, checks)


def verify(release: ReleaseFolder, keys: Mapping[str, Verifier]) -> SignatureView:
    """Checks every variant against trusted keys; a refusal stands in the view with its code."""
    checks = tuple(_check(release, variant, keys) for variant in release.variants)
    ok = bool(checks) and all(c.ok for c in checks)
    return SignatureView(release.manifest.reference(), release.id, ok, checks)


def _check(release: ReleaseFolder, variant: VariantFolder, keys: Mapping[str, Verifier]) -> VariantCheck:
    try:
        verified = verify_variant(release, variant, keys)
    except ModelfleetError as error:
        return VariantCheck(variant.name, "", len(variant.files), False, error.code.value, error.happened)
    return VariantCheck(variant.name, verified.key_hint, len(variant.files), ok=True)


def verify_variant(
    release: ReleaseFolder, variant: VariantFolder, keys: Mapping[str, Verifier]
) -> VerifiedBundle:
    """What a trusted key signed for a variant, when the folder is exactly that.

    Raises:
        IntegrityError: MF-2023 there is no bundle, else the codes of `verify_bundle` and `check_files`.
    """
    verified = verify_bundle(bundle_of(variant), keys)
    check_files(verified.statement, variant.files)
    if verified.statement.variant != variant.name or verified.statement.release != release.id:
        raise IntegrityError(
            Code.STATEMENT_OTHER_RELEASE,
            f"the bundle of {variant.name} signs variant {verified.statement.variant} "
            f"of release {verified.statement.release[:16]}",
            expected=f"variant {variant.name} of release {release.id[:16]}",
            todo="sign the release anew with `fleetctl release sign`",
        )
    check_manifest(verified.statement, release.manifest)
    return verified


def bundle_of(variant: VariantFolder) -> bytes:
    """The bundle's bytes.

    Raises:
        IntegrityError: MF-2023, the variant is not signed.
    """
    if not variant.bundle.is_file():
        raise IntegrityError(
            Code.BUNDLE_MISSING,
            f"variant {variant.name} is not signed: {variant.bundle} is missing",
            expected="one bundle beside every variant folder",
            todo=f"fleetctl release sign {variant.folder.parent.parent} --key FILE",
        )
    return safefile.read(variant.bundle, MAX_BUNDLE_BYTES, "the bundle")
