from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfleet_core.trust.keys import generate_ecdsa_p256, generate_ed25519
from modelfleet_core.trust.policy import policy_of, read_trust_file

from tests.cli.kit import DIRECTOR, NOW, Cli

MINE, THEIRS = generate_ecdsa_p256(), generate_ecdsa_p256()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pub"
    path.write_text(MINE.public().to_pem())
    return path


@pytest.fixture
def trusting(person: Cli, key: Path) -> Cli:
    ended = person("trust", "init", "--release-key", key)
    assert ended.code == 0, ended.err
    return person


def test_init_registers_and_remembers(trusting: Cli) -> None:
    assert trusting.controller.release_keys == [MINE.public().to_pem()]
    ended = trusting("trust", "status")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "controller mfc-test at http://127.0.0.1:8080",
        "KEY       FINGERPRINT       HERE  CONTROLLER",
        f"release   {MINE.key_hint[:16]}  yes   yes",
        f"director  {DIRECTOR.key_hint[:16]}  yes   yes",
    ]


def test_init_may_be_repeated_and_adds(trusting: Cli, key: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.pub"
    more.write_text(THEIRS.public().to_pem())
    assert trusting("trust", "init", "--release-key", key, "--release-key", more).code == 0
    keys = json.loads(trusting("trust", "status", "-o", "json").out)["keys"]
    assert [(k["kind"], k["fingerprint"]) for k in keys] == [
        ("release", MINE.key_hint),
        ("release", THEIRS.key_hint),
        ("director", DIRECTOR.key_hint),
    ]


def test_export_is_what_a_device_pins(trusting: Cli, tmp_path: Path) -> None:
    path, ca = tmp_path / "trust.json", tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    ended = trusting("trust", "export", "-o", path, "--ca", ca, "--output", "json")
    assert ended.code == 0, ended.err
    trust = read_trust_file(path.read_bytes())
    assert (trust.audience, trust.issued_at, trust.controller_ca) == ("mfc-test", NOW, ca.read_text())
    policy = policy_of(trust)
    assert set(policy.release) == {MINE.key_hint}
    assert set(policy.director) == {DIRECTOR.key_hint}
    assert json.loads(ended.out)["release_keys"] == [MINE.key_hint]


def test_a_key_that_only_the_controller_knows_is_not_exported(trusting: Cli, tmp_path: Path) -> None:
    trusting.controller.release_keys.append(THEIRS.public().to_pem())
    path = tmp_path / "trust.json"
    assert trusting("trust", "export", "-o", path).code == 0
    assert set(policy_of(read_trust_file(path.read_bytes())).release) == {MINE.key_hint}
    ended = trusting("trust", "status")
    assert ended.code == 1
    assert f"warning: the controller accepts release key {THEIRS.key_hint[:16]}" in ended.out
    # to believe the controller is possible, and only on purpose
    assert trusting("trust", "export", "-o", path, "--from-controller").code == 0
    assert set(policy_of(read_trust_file(path.read_bytes())).release) == {MINE.key_hint, THEIRS.key_hint}


def test_another_director_key_is_refused(trusting: Cli, key: Path, tmp_path: Path) -> None:
    trusting.controller.director = generate_ed25519().public().to_pem()
    path = tmp_path / "trust.json"
    for command in (["export", "-o", path], ["init", "--release-key", key]):
        ended = trusting("trust", *command)
        assert ended.code == 1
        assert "MF-6010" in ended.err
    assert not path.exists()
    assert trusting.controller.bodies("POST")[1:] == [], "nothing was registered at it"
    ended = trusting("trust", "status")
    assert ended.code == 1
    assert ended.out.count("is not the same on both sides") == 2


def test_a_machine_that_remembers_nothing_does_not_export(person: Cli, tmp_path: Path) -> None:
    person.controller.release_keys.append(THEIRS.public().to_pem())
    ended = person("trust", "export", "-o", tmp_path / "trust.json")
    assert ended.code == 1
    assert "MF-6009" in ended.err
    assert person("trust", "status").code == 1
    assert person("trust", "export", "-o", tmp_path / "trust.json", "--from-controller").code == 0


def test_a_key_that_the_controller_forgot_is_told(trusting: Cli) -> None:
    trusting.controller.release_keys.clear()
    ended = trusting("trust", "status")
    assert ended.code == 1
    assert "the controller does not know it" in ended.out


def test_two_controllers_are_kept_apart(trusting: Cli, tmp_path: Path) -> None:
    trusting.controller.audience = "mfc-other"
    assert "MF-6009" in trusting("trust", "export", "-o", tmp_path / "t.json").err


@pytest.mark.parametrize("text", ["", "no key", MINE.to_pem(), generate_ed25519().public().to_pem()])
def test_only_public_release_keys_are_registered(person: Cli, tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    ended = person("trust", "init", "--release-key", path)
    assert ended.code == 1
    assert "MF-200" in ended.err
    assert person.controller.sent == []


def test_a_broken_memory_is_told(trusting: Cli, tmp_path: Path) -> None:
    memory = trusting.config.parent / "trust" / "controller-mfc-test.json"
    assert memory.exists()
    memory.write_text("{}")
    ended = trusting("trust", "export", "-o", tmp_path / "t.json")
    assert (ended.code, "MF-2050" in ended.err) == (1, True)


def test_without_an_output_file_it_is_wrong_usage(trusting: Cli) -> None:
    assert trusting("trust", "export").code == 2
    assert trusting("trust", "init").code == 2
