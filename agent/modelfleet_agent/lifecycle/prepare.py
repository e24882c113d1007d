"""From an assignment to a complete, verified folder in the store: the work of VERIFYING to CHECKING.

Every step can be repeated from its beginning. What a step needs of the one before it reads from the disk
again and verifies again: nothing is believed because an earlier step, or an earlier process, has seen it.
Order of the checks as in the contract: bundle -> statement -> manifest -> own variant fits -> files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelfleet_agent.state.files import read_limited, write_atomic
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.lifecycle.chain import Installed
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.release.manifest import (
    MANIFEST_NAME,
    MAX_BUNDLE_BYTES,
    MAX_MANIFEST_BYTES,
    Manifest,
    Variant,
)
from modelfleet_core.release.matching import class_no, variant_no
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.trust.bundle import verify_bundle
from modelfleet_core.trust.policy import TrustPolicy
from modelfleet_core.trust.statement import (
    FolderStatement,
    check_assignment,
    check_files,
    check_manifest,
)
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import SlotAssignment

from .bandwidth import Bandwidth
from .download import BlobSource, Downloader, wrong_digest
from .store import VariantStore, digest_folder

_BUNDLE: Final = ".bundle"
_MISSING: Final = frozenset({Code.NOT_FOUND, Code.BLOB_MISSING})


@dataclass(frozen=True, slots=True)
class Verified:
    """A release that may be installed here: what was signed, its manifest, the own variant."""

    statement: FolderStatement
    manifest: Manifest
    variant: Variant
    bundle: bytes


def installed_of(assignment: SlotAssignment) -> Installed:
    """What an assignment brings."""
    return Installed(assignment.release, assignment.reference, assignment.variant)


def verify(
    bundle: bytes,
    manifest_bytes: bytes,
    assignment: SlotAssignment,
    *,
    policy: TrustPolicy,
    facts: DeviceFacts,
) -> Verified:
    """Everything that must hold before a release is downloaded. Pure.

    Args:
        bundle: the Sigstore bundle.
        manifest_bytes: `release.json`.
        assignment: what the director ordered.
        policy: of the pinned trust file.
        facts: of this device, now: they decide, not the class that it had at enrolment.

    Raises:
        IntegrityError: MF-2010 to MF-2041, signature, digests or names do not hold.
        CallerError: MF-3020 the variant does not fit this device, MF-3022 another slot's release.
    """
    statement = verify_bundle(bundle, policy).statement
    check_assignment(statement, assignment.release, assignment.variant)
    if sha256_hex(manifest_bytes) != statement.release:
        raise wrong_digest(MANIFEST_NAME, statement.release)
    try:
        manifest = codec.decode(manifest_bytes, Manifest, what=MANIFEST_NAME, limit=MAX_MANIFEST_BYTES)
    except ModelfleetError as error:
        raise IntegrityError(
            Code.STATEMENT_OTHER_RELEASE,
            error.happened,
            expected="a manifest that this version of the agent knows",
            todo="update the agent, or build the release with a version that it knows",
        ) from error
    check_manifest(statement, manifest)
    variant = manifest.variant(assignment.variant)
    assert variant is not None  # check_manifest has found it
    if manifest.name != assignment.slot:
        raise CallerError(
            Code.SLOT_OF_OTHER_RELEASE,
            f"release {manifest.reference()} is assigned to slot {assignment.slot}",
            expected=f"slot {manifest.name}",
            todo="nothing on the device: the controller has mixed up two releases",
        )
    reason = _unfit(facts, variant)
    if reason is not None:
        raise CallerError(
            Code.NO_FITTING_VARIANT,
            f"variant {variant.name} of {manifest.reference()} does not fit: {reason}",
            expected="a variant built for this device's class whose runtime and memory it has",
            todo="build the release for this class, or correct the device's runtimes",
        )
    return Verified(statement, manifest, variant, bundle)


def _unfit(facts: DeviceFacts, variant: Variant) -> str | None:
    """Why the variant does not fit; of a class that a user has defined only its variant's needs are known."""
    shipped = next((known for known in SHIPPED if known.name == variant.device_class), None)
    no = None if shipped is None else class_no(facts, shipped)
    if no is not None:
        return f"built for class {variant.device_class}: {no}"
    return variant_no(facts, variant.device_class, variant)


class Preparer:
    """Does the work of the preparing states.

    Args:
        store: where folders go.
        source: where blobs come from.
        policy: of the pinned trust file.
        facts: of this device, now.
        clock: for waiting.
        entropy: for the jitter of retries.
        keep_free: bytes that must stay free on the disk.
    """

    def __init__(
        self,
        store: VariantStore,
        source: BlobSource,
        policy: TrustPolicy,
        *,
        facts: Callable[[], DeviceFacts],
        clock: Clock,
        entropy: Entropy,
        keep_free: int,
    ) -> None:
        self._store = store
        self._source = source
        self._policy = policy
        self._facts = facts
        self._clock = clock
        self._entropy = entropy
        self._keep_free = keep_free

    def run(
        self,
        state: State,
        assignment: SlotAssignment,
        committed: Iterable[Installed],
        stop: Callable[[], bool],
    ) -> int:
        """Does one state's work; bytes that came over the network.

        Args:
            state: VERIFYING, RESERVING, DOWNLOADING or CHECKING.
            assignment: what is being installed.
            committed: what the slot can serve or go back to: never deleted here.
            stop: true = give up.

        Raises:
            IntegrityError: something is not what was signed.
            CallerError: it does not fit this device, or the controller refuses a file.
            WorldError: disk, network; MF-5012 given up.
        """
        downloader = Downloader(self._source, self._clock, self._entropy, stop)
        installed = installed_of(assignment)
        if state is State.VERIFYING:
            self._verify(downloader, assignment, tuple(committed))
        elif not self._store.has(installed):
            verified = self._verified(downloader, assignment)
            folder = self._store.incoming(installed)
            if state is State.RESERVING:
                self._reserve(downloader, verified, folder, installed)
            elif state is State.DOWNLOADING:
                bandwidth = Bandwidth(assignment.bandwidth, self._clock, stop)
                for artifact in verified.variant.files:
                    downloader.fetch(artifact, folder, bandwidth)
            else:
                check_files(verified.statement, digest_folder(folder))
                self._store.install(installed, verified.bundle)
        return downloader.received

    def _verify(
        self, downloader: Downloader, assignment: SlotAssignment, committed: tuple[Installed, ...]
    ) -> None:
        installed = installed_of(assignment)
        verified = self._verified(downloader, assignment)
        if not self._store.has(installed) or installed in committed:
            return
        # It was here before. What the disk has made of it since shows now, not when it is loaded.
        try:
            check_files(verified.statement, digest_folder(self._store.folder(installed)))
        except IntegrityError:
            self._store.remove(installed)

    def _reserve(
        self, downloader: Downloader, verified: Verified, folder: Path, installed: Installed
    ) -> None:
        try:
            downloader.reserve(verified.variant.files, folder, self._store.free(), self._keep_free)
        except ModelfleetError:
            # A half-taken room would keep the disk full.
            self._store.drop_incoming(installed)
            raise

    def _verified(self, downloader: Downloader, assignment: SlotAssignment) -> Verified:
        """Bundle and manifest, from the disk or the controller, verified in either case."""
        folder = self._store.incoming(installed_of(assignment))
        try:
            bundle = self._blob(
                downloader, assignment.bundle, folder / _BUNDLE, MAX_BUNDLE_BYTES, "the bundle"
            )
        except CallerError as error:
            if error.code not in _MISSING:
                raise
            raise IntegrityError(
                Code.BUNDLE_MISSING,
                f"{assignment.reference}, variant {assignment.variant}, has no signature",
                expected="a release bundle signed by a trusted key: there is no unsigned way",
                todo="sign the release with `fleetctl release sign` and push it again",
            ) from error
        # The bundle first: of an unsigned release not even the manifest is fetched.
        statement = verify_bundle(bundle, self._policy).statement
        check_assignment(statement, assignment.release, assignment.variant)
        manifest = self._blob(
            downloader, assignment.release, folder / MANIFEST_NAME, MAX_MANIFEST_BYTES, MANIFEST_NAME
        )
        return verify(
            bundle,
            manifest,
            assignment,
            policy=self._policy,
            facts=self._facts(),
        )

    def _blob(self, downloader: Downloader, digest: str, path: Path, limit: int, what: str) -> bytes:
        kept = read_limited(path, limit)
        if kept is not None and sha256_hex(kept) == digest:
            return kept
        data = downloader.small(digest, limit, what)
        write_atomic(path, data, durable=False)
        return data
