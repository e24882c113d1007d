"""The attacker's tools: forgeries that differ from a good release in nothing but the forgery."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from fleetctl.demo import forge
from modelfleet_core.ids import sha256_hex


def test_one_bit_is_flipped(tmp_path: Path) -> None:
    data = b"a model" * 100
    digest = sha256_hex(data)
    blob = tmp_path / "sha256" / digest[:2] / digest
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    forge.tamper(tmp_path, digest)
    changed = blob.read_bytes()
    assert len(changed) == len(data)
    assert sum(a != b for a, b in zip(data, changed, strict=True)) == 1


def test_a_bundle_loses_its_signature_and_nothing_else() -> None:
    bundle = {"mediaType": "m", "dsseEnvelope": {"payload": "p", "signatures": [{"sig": "s"}]}}
    stripped = json.loads(forge.strip_signature(json.dumps(bundle).encode()))
    assert stripped["dsseEnvelope"].pop("signatures") == []
    bundle["dsseEnvelope"].pop("signatures")  # type: ignore[attr-defined] # it is the inner dict
    assert stripped == bundle


def test_the_database_row_is_changed(tmp_path: Path) -> None:
    database = tmp_path / "modelfleet.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE release (id TEXT, bundles TEXT)")
    connection.execute("INSERT INTO release VALUES ('r1', '{}')")
    connection.commit()
    forge.replace_bundles(database, "r1", {"v": "d"})
    assert connection.execute("SELECT bundles FROM release").fetchall() == [('{"v": "d"}',)]
    connection.close()
    with pytest.raises(LookupError):
        forge.replace_bundles(database, "r2", {})
