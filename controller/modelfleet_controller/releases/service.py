"""A release is taken in whole and signed, or not at all.

What is checked at the door: `release.json` parses and has the digest it is pushed under; every variant has
a bundle that a registered release key signed; each bundle lists exactly the variant's files and
`release.json`; every file is a blob of the right size. The controller cannot make a release: it holds no
release key (SECURITY, layer A).
"""

from __future__ import annotations

from collections.abc import Mapping

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import Digest, is_digest
from modelfleet_core.release.manifest import (
    MANIFEST_NAME,
    MAX_BUNDLE_BYTES,
    MAX_MANIFEST_BYTES,
    Manifest,
    Variant,
)
from modelfleet_core.trust.bundle import verify_bundle
from modelfleet_core.trust.dsse import Verifier
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import ReleasePush, ReleaseView

from ..blobs.port import BlobStore
from ..db.database import Connection
from .repository import ReleaseRepository, StoredRelease


async def verify_push(
    push: ReleasePush, blobs: BlobStore, policy: Mapping[str, Verifier], clock: Clock, person: str
) -> StoredRelease:
    """The release of a push, verified against the blobs; nothing is stored.

    Raises: CallerError: MF-1621 a blob is missing, MF-1601 the manifest cannot be read, MF-1631 files,
        bundles and manifest do not agree. IntegrityError: 20xx, a bundle that no registered key signed or
        that says something else.
    """
    if not is_digest(push.manifest):
        raise _incomplete(f"manifest {push.manifest[:80]!r} is not a sha256", "the digest of release.json")
    data = await blobs.load(Digest(push.manifest), MAX_MANIFEST_BYTES)
    manifest = codec.decode(data, Manifest, what="release.json", limit=MAX_MANIFEST_BYTES)
    names = {variant.name for variant in manifest.variants}
    if set(push.bundles) != names or not names:
        raise _incomplete(
            f"bundles for {', '.join(sorted(push.bundles)) or 'no variant'}",
            f"one bundle for each of {', '.join(sorted(names)) or 'at least one variant'}",
        )
    signers: set[str] = set()
    for variant in manifest.variants:
        signers.add(await _verify_variant(push, manifest, variant, blobs, policy))
    now = clock.now()
    return StoredRelease(
        id=push.manifest,
        name=manifest.name,
        version=manifest.version,
        manifest=manifest,
        bundles=dict(push.bundles),
        signed_by=tuple(sorted(signers)),
        created_at=manifest.created_at,
        pushed_at=now,
        pushed_by=person,
    )


async def _verify_variant(
    push: ReleasePush, manifest: Manifest, variant: Variant, blobs: BlobStore, policy: Mapping[str, Verifier]
) -> str:
    digest = push.bundles[variant.name]
    if not is_digest(digest):
        raise _incomplete(f"variant {variant.name}: bundle {digest[:80]!r} is not a sha256", "a digest")
    try:
        verified = verify_bundle(await blobs.load(Digest(digest), MAX_BUNDLE_BYTES), policy)
    except IntegrityError as error:
        raise _of_variant(error, variant) from error
    statement = verified.statement
    expected = {file.path: file.sha256 for file in variant.files} | {MANIFEST_NAME: push.manifest}
    if dict(statement.files) != expected:
        different = sorted(
            name for name in {*statement.files, *expected} if statement.files.get(name) != expected.get(name)
        )
        raise _incomplete(
            f"variant {variant.name}: its bundle and release.json differ on {', '.join(different)[:300]}",
            "a bundle that lists exactly the variant's files and release.json",
        )
    if (statement.release, statement.variant) != (push.manifest, variant.name):
        raise _incomplete(
            f"variant {variant.name}: its bundle is for {statement.variant} of {statement.release[:12]}",
            "the bundle that was signed for this variant of this release",
        )
    for file in variant.files:
        size = await blobs.size(Digest(file.sha256))
        if size is None:
            raise CallerError(
                Code.BLOB_MISSING,
                f"variant {variant.name}: {file.path} ({file.sha256}) was not uploaded",
                expected="every file of the release as a blob",
                todo="push the release again with `fleetctl release push`; it uploads what is missing",
            )
        if size != file.size:
            raise _incomplete(
                f"variant {variant.name}: {file.path} has {size} bytes",
                f"{file.size} bytes, as release.json says",
            )
    return verified.key_hint


class ReleaseService:
    """Rules of releases over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._releases = ReleaseRepository(connection)

    async def add(self, release: StoredRelease) -> tuple[StoredRelease, bool]:
        """Stores a verified release; the same one again changes nothing (False).

        Raises:
            CallerError: MF-1630, another release has that name and version.
        """
        known = await self._releases.by_id(release.id)
        if known is not None:
            return known, False
        taken = await self._releases.by_reference(release.name, release.version)
        if taken is not None:
            raise CallerError(
                Code.RELEASE_EXISTS,
                f"{release.name}:{release.version} exists already with other content "
                f"({taken.id[:12]}, pushed {taken.pushed_at:%Y-%m-%dT%H:%M:%SZ} by {taken.pushed_by})",
                expected="a version that was never pushed; releases do not change",
                todo="give the release a new version and build it again",
            )
        await self._releases.add(release)
        return release, True

    async def get(self, reference: str) -> StoredRelease:
        """The release `name:version`, or of that id.

        Raises:
            CallerError: MF-1602.
        """
        name, colon, version = reference.partition(":")
        found = (
            await self._releases.by_reference(name, version)
            if colon
            else await self._releases.by_id(reference)
        )
        if found is None:
            raise CallerError(
                Code.NOT_FOUND,
                f"there is no release {reference[:130]!r}",
                expected="a reference that `fleetctl release list` shows",
                todo="push the release first, or correct its name",
            )
        return found


def view(release: StoredRelease) -> ReleaseView:
    """The release as operators see it."""
    return ReleaseView(
        id=release.id,
        reference=f"{release.name}:{release.version}",
        created_at=release.created_at,
        pushed_at=release.pushed_at,
        signed_by=release.signed_by,
        manifest=release.manifest,
        bundles=release.bundles,
    )


def _incomplete(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.RELEASE_INCOMPLETE,
        happened,
        expected=expected,
        todo="sign and push the folder that `fleetctl build` wrote, unchanged",
    )


def _of_variant(error: ModelfleetError, variant: Variant) -> IntegrityError:
    return IntegrityError(
        error.code, f"variant {variant.name}: {error.happened}", expected=error.expected, todo=error.todo
    )
