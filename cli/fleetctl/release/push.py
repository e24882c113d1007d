"""Sends a release to the controller: missing blobs by hash, then the release itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetctl.client.api import Api
from fleetctl.progress import Progress
from fleetctl.release.folder import ReleaseFolder, bundle_of, verify_variant
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.manifest import MANIFEST_NAME
from modelfleet_core.trust.dsse import Verifier
from modelfleet_core.trust.policy import release_policy
from modelfleet_core.wire.operator import ReleasePush, ReleaseView


@dataclass(frozen=True, slots=True)
class PushView:
    """View of `release push`."""

    release: str
    id: str
    signed_by: tuple[str, ...]
    blobs_sent: int
    blobs_known: int
    bytes_sent: int
    schema: int = 1


def push(release: ReleaseFolder, api: Api, progress: Progress) -> tuple[PushView, ReleaseView]:
    """Verifies against the keys that the controller accepts, then uploads and registers.

    Raises:
        IntegrityError: MF-2023 a variant is not signed, or a code of `verify_variant`; nothing is sent.
    """
    keys = accepted_keys(api)
    signers = {verify_variant(release, variant, keys).key_hint for variant in release.variants}
    if not signers:
        raise IntegrityError(
            Code.BUNDLE_MISSING,
            f"{release.manifest.reference()} has no variant at all",
            expected="at least one signed variant",
            todo="build it again; the report says why each variant was refused",
        )
    bundles = {v.name: bundle_of(v) for v in release.variants}
    files: dict[str, Path] = {release.id: release.folder / MANIFEST_NAME}
    for variant in release.variants:
        files |= {digest: variant.folder / name for name, digest in variant.files.items()}
    done = sent = sent_bytes = 0
    everything = len(files) + len(bundles)
    for digest, path in files.items():
        progress(path.name, done, everything)
        if api.upload_file(path, digest):
            sent, sent_bytes = sent + 1, sent_bytes + path.stat().st_size
        done += 1
    for name, data in bundles.items():
        progress(f"{name} bundle", done, everything)
        if api.upload_bytes(data, str(sha256_hex(data))):
            sent, sent_bytes = sent + 1, sent_bytes + len(data)
        done += 1
    progress("release", done, everything)
    digests = {name: str(sha256_hex(data)) for name, data in bundles.items()}
    stored = api.push_release(ReleasePush(release.id, digests))
    view = PushView(
        release.manifest.reference(), stored.id, tuple(sorted(signers)), sent, everything - sent, sent_bytes
    )
    return view, stored


def accepted_keys(api: Api) -> Mapping[str, Verifier]:
    """The release keys that the controller accepts.

    Raises:
        IntegrityError: MF-2014, it accepts none yet.
    """
    keys = release_policy(api.trust().release_keys)
    if not keys:
        raise IntegrityError(
            Code.SIGNER_UNKNOWN,
            f"the controller at {api.url} accepts no release key yet",
            expected="the key that signed this release",
            todo="fleetctl trust init --release-key FILE.pub",
        )
    return keys
