"""The OpenSSF Model Signing command line checks our bundles, and we check its."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.trust.bundle import sign_bundle, verify_bundle
from modelfleet_core.trust.statement import build_statement, check_files

from tests.core.trust.support import CONTENT, RELEASE_KEY, VARIANT, Trusted, refused

SOURCE = Path(__file__).parents[3] / "examples" / "digits" / "digits-1.0.onnx"


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def _peer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # the peer is a program of its own
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A variant folder with a real model in it."""
    made = tmp_path / VARIANT
    made.mkdir()
    for name, data in CONTENT.items():
        (made / name).write_bytes(SOURCE.read_bytes() if name == "model.onnx" else data)
    (tmp_path / "key.pub").write_text(RELEASE_KEY.public().to_pem())
    return made


def test_the_peer_accepts_our_bundle_and_refuses_a_changed_folder(folder: Path) -> None:
    digests = _digests(folder)
    bundle = folder.parent / f"{VARIANT}.sigstore.json"
    bundle.write_bytes(sign_bundle(build_statement(VARIANT, digests, digests["release.json"]), RELEASE_KEY))
    key = folder.parent / "key.pub"

    good = _peer("verify", "key", folder, "--signature", bundle, "--public_key", key)
    assert good.returncode == 0, good.stdout + good.stderr

    model = folder / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    bad = _peer("verify", "key", folder, "--signature", bundle, "--public_key", key)
    assert bad.returncode != 0
    assert "model.onnx" in bad.stdout + bad.stderr


def test_we_accept_the_peer_s_bundle_and_refuse_a_changed_folder(folder: Path, trusted: Trusted) -> None:
    key = folder.parent / "private.pem"
    key.touch(mode=0o600)
    key.write_text(RELEASE_KEY.to_pem())
    bundle = folder.parent / "peer.json"
    made = _peer("sign", "key", folder, "--signature", bundle, "--private_key", key)
    assert made.returncode == 0, made.stdout + made.stderr

    verified = verify_bundle(bundle.read_bytes(), trusted.policy)
    assert verified.statement.variant == VARIANT
    assert verified.key_hint == RELEASE_KEY.key_hint
    check_files(verified.statement, _digests(folder))

    os.truncate(folder / "golden.npz", 1)
    refused(Code.FILE_DIGEST, lambda: check_files(verified.statement, _digests(folder)))
