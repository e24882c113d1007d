"""The attacker of scene 7: forged releases, and the ways around the controller's own checks.

The attacker owns the controller's machine (files, database, an admin token) and not the release key. Every
forgery is made from a release of the demo, so that nothing but the forgery is wrong with it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

from modelfleet_core.ids import Digest, sha256_hex
from modelfleet_core.release.manifest import BUNDLE_SUFFIX, MANIFEST_NAME, Artifact, Manifest
from modelfleet_core.wire import codec


def derive(source: Path, target: Path, version: str, *, only_class: str) -> Manifest:
    """A release folder with the variants of one class under another version; model files are new files.

    Each ONNX file gets another `doc_string` (field 6 of ModelProto, appended: the last one counts), so its
    digest is one that no device has ever fetched, and it still is a valid model.
    """
    manifest = codec.decode((source / MANIFEST_NAME).read_bytes(), Manifest, what=MANIFEST_NAME)
    variants = []
    for variant in manifest.variants:
        if variant.device_class != only_class:
            continue
        folder = target / "variants" / variant.name
        shutil.copytree(source / "variants" / variant.name, folder)
        note = f"digits:{version}".encode()
        entry = folder / variant.entry
        entry.write_bytes(entry.read_bytes() + b"\x32" + bytes([len(note)]) + note)
        files = tuple(_artifact(folder / file.path) for file in variant.files)
        variants.append(replace(variant, files=files))
    derived = replace(manifest, version=version, variants=tuple(variants), refusals=())
    data = codec.pretty(derived)
    (target / MANIFEST_NAME).write_bytes(data)
    for variant in variants:
        (target / "variants" / variant.name / MANIFEST_NAME).write_bytes(data)
    return derived


def _artifact(path: Path) -> Artifact:
    data = path.read_bytes()
    return Artifact(path=path.name, sha256=sha256_hex(data), size=len(data))


def model_digests(manifest: Manifest) -> list[Digest]:
    """The digests of the model files (entry of each variant)."""
    return [Digest(f.sha256) for v in manifest.variants for f in v.files if f.path == v.entry]


def tamper(blobs: Path, digest: Digest) -> None:
    """Flips one bit in the middle of a blob where the controller keeps it."""
    path = next(path for path in blobs.rglob(f"*{digest[4:]}*") if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.chmod(0o600)
    path.write_bytes(data)


def strip_signature(bundle: bytes) -> bytes:
    """The same bundle without its signature."""
    body = json.loads(bundle)
    body["dsseEnvelope"]["signatures"] = []
    return json.dumps(body).encode()


def bundles_of(folder: Path) -> dict[str, bytes]:
    """Variant name -> bundle bytes of a signed release folder."""
    return {
        path.name.removesuffix(BUNDLE_SUFFIX): path.read_bytes()
        for path in sorted((folder / "variants").glob(f"*{BUNDLE_SUFFIX}"))
    }


def replace_bundles(database: Path, release_id: str, bundles: dict[str, str]) -> None:
    """Writes other bundle digests into the release's row, past every check of the controller."""
    with sqlite3.connect(database, timeout=10.0) as connection:
        changed = connection.execute(
            "UPDATE release SET bundles = ? WHERE id = ?", (json.dumps(bundles), release_id)
        ).rowcount
    connection.close()
    if changed != 1:
        raise LookupError(f"{changed} rows of release {release_id} in {database}")
