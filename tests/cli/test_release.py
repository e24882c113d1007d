from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfleet_core.ids import sha256_hex
from modelfleet_core.trust.keys import (
    EcdsaP256Private,
    generate_ed25519,
    load_private_key,
    load_public_key,
)

from tests.cli.kit import Cli
from tests.cli.releases import NAMES, make_release


@pytest.fixture
def key(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "release.key"
    assert cli("release", "keygen", "--key", path).code == 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_release(tmp_path / "digits-1.1")


@pytest.fixture
def signed(cli: Cli, key: Path, folder: Path) -> Path:
    assert cli("release", "sign", folder, "--key", key).code == 0
    return folder


def _bundle(folder: Path, name: str = NAMES[0]) -> Path:
    return folder / "variants" / f"{name}.sigstore.json"


def _public(key: Path) -> Path:
    return key.with_name("release.key.pub")


# keys


def test_keygen(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    ended = cli("release", "keygen", "--key", path, "-o", "json")
    made = json.loads(ended.out)
    private = load_private_key(path.read_text())
    assert isinstance(private, EcdsaP256Private)
    assert made == {
        "private_key": str(path),
        "public_key": f"{path}.pub",
        "fingerprint": private.key_hint,
        "encrypted": False,
        "schema": 1,
    }
    assert load_public_key(Path(f"{path}.pub").read_text()).key_hint == private.key_hint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in ended.out + ended.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "release.key", "release.key.pub"]


@pytest.mark.parametrize("there", ["release.key", "release.key.pub"])
def test_a_key_is_never_overwritten(cli: Cli, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    ended = cli("release", "keygen", "--key", tmp_path / "release.key")
    assert ended.code == 1
    assert "MF-6005" in ended.err
    assert (tmp_path / there).read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", there]


def test_a_key_may_have_a_passphrase(cli: Cli, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "release.key"
    cli.typed = ["correct horse", "battery staple"]
    assert "MF-2003" in cli("release", "keygen", "--key", path, "--encrypt", tty=True).err
    cli.typed = ["short", "short"]
    assert "MF-2003" in cli("release", "keygen", "--key", path, "--encrypt", tty=True).err
    assert "MF-6014" in cli("release", "keygen", "--key", path, "--encrypt").err
    assert not path.exists()
    cli.typed = ["correct horse", "correct horse"]
    assert cli("release", "keygen", "--key", path, "--encrypt", tty=True).code == 0
    assert "ENCRYPTED" in path.read_text()

    sign = ["release", "sign", folder, "--key", path]
    assert "MF-6014" in cli(*sign).err, "nobody to ask"
    cli.typed = ["wrong"]
    assert "MF-2003" in cli(*sign, tty=True).err
    assert not _bundle(folder).exists()
    cli.typed = ["correct horse"]
    assert cli(*sign, tty=True).code == 0
    cli.env["MODELFLEET_KEY_PASSPHRASE"] = "correct horse"
    assert cli(*sign).code == 0


def test_keys_that_sign_no_release(cli: Cli, tmp_path: Path, folder: Path) -> None:
    ed = tmp_path / "ed.key"
    ed.write_text(generate_ed25519().to_pem())
    assert "MF-2002" in cli("release", "sign", folder, "--key", ed).err
    ed.write_text("no key")
    assert "MF-2001" in cli("release", "sign", folder, "--key", ed).err
    assert "MF-6004" in cli("release", "sign", folder, "--key", tmp_path / "missing").err
    assert not _bundle(folder).exists()


# sign and verify


def test_sign_then_verify(cli: Cli, signed: Path, key: Path) -> None:
    ended = cli("release", "verify", signed, "--public-key", _public(key), "-o", "json")
    view = json.loads(ended.out)
    hint = load_private_key(key.read_text()).key_hint
    assert (ended.code, view["ok"], view["release"]) == (0, True, "digits:1.1")
    assert view["id"] == sha256_hex((signed / "release.json").read_bytes())
    assert [(v["variant"], v["ok"], v["files"], v["signed_by"]) for v in view["variants"]] == [
        (name, True, 4, hint) for name in NAMES
    ]


def test_signing_writes_bundles_and_nothing_else(cli: Cli, key: Path, folder: Path) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert cli("release", "sign", folder, "--key", key).code == 0
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert set(after) - set(before) == {_bundle(folder, n) for n in NAMES}
    assert {p: after[p] for p in before} == before


def test_signing_again_replaces_the_bundles(cli: Cli, signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    assert cli("release", "keygen", "--key", other).code == 0
    assert cli("release", "sign", signed, "--key", other).code == 0
    assert cli("release", "verify", signed, "--public-key", f"{other}.pub").code == 0


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda f: (f / "variants" / NAMES[2] / "model.onnx").write_bytes(b"other"), "MF-2036"),
        (lambda f: (f / "variants" / NAMES[2] / "extra").write_bytes(b"x"), "MF-2036"),
        (lambda f: (f / "variants" / NAMES[2] / "golden.npz").unlink(), "MF-2036"),
        (lambda f: (f / "variants" / NAMES[2] / "release.json").unlink(), "MF-2034"),
        (lambda f: (f / "variants" / NAMES[2] / "release.json").write_bytes(b"{}"), "MF-2035"),
        (lambda f: (f / "variants" / NAMES[2] / "sub").mkdir(), "MF-6004"),
        (lambda f: os.symlink("/etc/passwd", f / "variants" / NAMES[2] / "link"), "MF-6004"),
        (lambda f: shutil.rmtree(f / "variants" / NAMES[2]), "MF-2036"),
        (lambda f: (f / "variants" / "unknown.int8").mkdir(), "MF-2036"),
        (lambda f: (f / "release.json").write_bytes(b"{"), "MF-1601"),
        (lambda f: (f / "release.json").unlink(), "MF-6004"),
    ],
)
def test_a_folder_that_is_not_what_was_built_is_not_signed(
    cli: Cli, key: Path, folder: Path, damage: Damage, code: str
) -> None:
    damage(folder)
    ended = cli("release", "sign", folder, "--key", key)
    assert ended.code == 1
    assert code in ended.err
    assert not list(folder.rglob("*.sigstore.json*")), "all or none"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda f: (f / "variants" / NAMES[0] / "model.onnx").write_bytes(b"other"), "MF-2040"),
        (lambda f: (f / "variants" / NAMES[0] / "extra").write_bytes(b"x"), "MF-2041"),
        (lambda f: (f / "variants" / NAMES[0] / "golden.npz").unlink(), "MF-2042"),
        (lambda f: _bundle(f).unlink(), "MF-2023"),
        (lambda f: _bundle(f).write_bytes(b"{}"), "MF-2020"),
        (lambda f: _bundle(f).write_bytes(_bundle(f, NAMES[1]).read_bytes()), "MF-2040"),
    ],
)
def test_verify_names_the_variant_and_the_code(
    cli: Cli, key: Path, signed: Path, damage: Damage, code: str
) -> None:
    damage(signed)
    ended = cli("release", "verify", signed, "--public-key", _public(key), "-o", "json")
    view = json.loads(ended.out)
    assert (ended.code, view["ok"]) == (1, False)
    assert [(v["ok"], v["code"]) for v in view["variants"]] == [(False, code), (True, None), (True, None)]
    table = cli("release", "verify", signed, "--public-key", _public(key))
    assert table.code == 1
    assert f"{NAMES[0]}  refused" in table.out
    assert code in table.out


def test_a_stranger_s_signature_is_refused(cli: Cli, signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    assert cli("release", "keygen", "--key", other).code == 0
    ended = cli("release", "verify", signed, "--public-key", f"{other}.pub", "-o", "json")
    assert ended.code == 1
    assert {v["code"] for v in json.loads(ended.out)["variants"]} == {"MF-2014"}


def test_a_bundle_of_another_release_is_refused(cli: Cli, key: Path, signed: Path, tmp_path: Path) -> None:
    other = make_release(tmp_path / "digits-1.2", "1.2")
    assert cli("release", "sign", other, "--key", key).code == 0
    _bundle(signed).write_bytes(_bundle(other).read_bytes())
    ended = cli("release", "verify", signed, "--public-key", _public(key), "-o", "json")
    assert [v["ok"] for v in json.loads(ended.out)["variants"]] == [False, True, True]


def test_variants_of_another_release_are_refused(cli: Cli, key: Path, signed: Path) -> None:
    # every folder is whole and signed, but they are not of the release.json beside them
    top = signed / "release.json"
    top.write_bytes(top.read_bytes().replace(b'"labels": []', b'"labels": ["x"]'))
    ended = cli("release", "verify", signed, "--public-key", _public(key), "-o", "json")
    assert {v["code"] for v in json.loads(ended.out)["variants"]} == {"MF-2036"}


# push, list, show


def _trusting(person: Cli, key: Path) -> Cli:
    assert person("trust", "init", "--release-key", _public(key)).code == 0
    person.controller.sent.clear()
    return person


def test_push_sends_what_is_missing_and_then_the_release(person: Cli, key: Path, signed: Path) -> None:
    person = _trusting(person, key)
    ended = person("release", "push", signed, "-o", "json")
    assert ended.code == 0, ended.err
    view = json.loads(ended.out)
    files = [p for p in signed.rglob("*") if p.is_file() and p.name != "build.json"]
    digests = {str(sha256_hex(p.read_bytes())) for p in files}
    assert set(person.controller.blobs) == digests, "every file once, and not the build report"
    assert (view["blobs_sent"], view["blobs_known"]) == (len(digests), 0)
    assert view["bytes_sent"] == sum(map(len, person.controller.blobs.values()))
    methods = [s.method for s in person.controller.sent]
    assert methods[0] == "GET"
    assert methods[1:-1] == ["HEAD", "PUT"] * len(digests)
    push = json.loads(person.controller.sent[-1].body)
    assert push == {
        "manifest": view["id"],
        "bundles": {n: sha256_hex(_bundle(signed, n).read_bytes()) for n in NAMES},
    }

    person.controller.sent.clear()
    again = json.loads(person("release", "push", signed, "-o", "json").out)
    assert (again["blobs_sent"], again["blobs_known"], again["bytes_sent"]) == (0, len(digests), 0)
    assert not person.controller.bodies("PUT")


def test_push_tells_its_progress_beside_the_result(person: Cli, key: Path, signed: Path) -> None:
    person = _trusting(person, key)
    ended = person("release", "push", signed)
    lines = ended.err.splitlines()
    assert lines[0] == "push digits:1.1 1/13: release.json"
    assert lines[-1] == "push digits:1.1 13/13: release"
    assert ended.out.startswith("digits:1.1  ")
    assert "sent 13 blobs" in ended.out
    person.width = 100
    shown = person("release", "push", signed, tty=True)
    assert "13 were known" in shown.out


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda f: _bundle(f, NAMES[1]).unlink(), "MF-2023"),
        (lambda f: (f / "variants" / NAMES[1] / "model.onnx").write_bytes(b"x"), "MF-2040"),
        (lambda f: _bundle(f, NAMES[1]).write_text("{}"), "MF-2020"),
    ],
)
def test_nothing_is_sent_of_an_unsigned_or_changed_release(
    person: Cli, key: Path, signed: Path, damage: Damage, code: str
) -> None:
    person = _trusting(person, key)
    damage(signed)
    ended = person("release", "push", signed)
    assert ended.code == 1
    assert code in ended.err
    assert {s.method for s in person.controller.sent} == {"GET"}
    assert person.controller.blobs == {}


def test_the_controller_must_accept_the_key(person: Cli, signed: Path, tmp_path: Path) -> None:
    ended = person("release", "push", signed)
    assert (ended.code, "MF-2014" in ended.err, "trust init" in ended.err) == (1, True, True)
    other = tmp_path / "other.key"
    assert person("release", "keygen", "--key", other).code == 0
    assert person("trust", "init", "--release-key", f"{other}.pub").code == 0
    ended = person("release", "push", signed)
    assert (ended.code, "MF-2014" in ended.err) == (1, True)
    assert person.controller.blobs == {}


def test_list_and_show(person: Cli, key: Path, signed: Path) -> None:
    assert person("release", "list").out == "no releases yet; `fleetctl release push DIR` brings one\n"
    person = _trusting(person, key)
    assert person("release", "push", signed).code == 0
    release = sha256_hex((signed / "release.json").read_bytes())
    assert person("release", "list").out.splitlines() == [
        "RELEASE     ID                CLASSES                     VARIANTS  SIGNED BY         PUSHED",
        f"digits:1.1  {release[:16]}  arm-litert,x86-onnxruntime         3  {'f' * 16}  0s",
    ]
    shown = person("release", "show", "digits:1.1").out
    assert release in shown
    assert "x86-onnxruntime  x86-onnxruntime.int8  chosen  1.0 kB  top1 97.00 %  1.00pt" in shown
    assert person("release", "show", "digits:9").code == 1


def test_verify_by_trust_file(person: Cli, key: Path, signed: Path, tmp_path: Path) -> None:
    person = _trusting(person, key)
    trust = tmp_path / "trust.json"
    assert person("trust", "export", "-o", trust).code == 0
    assert person("release", "verify", signed, "--trust", trust).code == 0
    trust.write_text("{}")
    assert "MF-2050" in person("release", "verify", signed, "--trust", trust).err
    assert person("release", "verify", signed, "--trust", trust, "--public-key", _public(key)).code == 2
