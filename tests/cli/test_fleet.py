"""Devices, classes, tokens, the decision log, doctor."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire.operator import DecisionView

from tests.cli.kit import NOW, URL, Cli, device
from tests.cli.test_trust import MINE

# devices


def test_devices_come_page_by_page(person: Cli) -> None:
    person.controller.devices = [device(n) for n in range(5)]
    lines = person("device", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "ID", "CLASS", "RUNS", "STATE", "SEEN", "LABELS"]
    assert lines[1] == "cam-0  dev_0  x86-onnxruntime  digits:1.0  idle   42s   site=north"
    assert len(lines) == 6
    assert len(person.controller.bodies("GET", "/devices")) == 3
    assert person("device", "list", "-l", "site=south").out.startswith("no devices;")
    assert person.controller.sent[-1].query["selector"] == "site=south"
    person("device", "list", "--class", "arm-litert")
    assert person.controller.sent[-1].query["class"] == "arm-litert"


def test_a_device_is_found_by_name_or_id(person: Cli) -> None:
    person.controller.devices = [device(1), device(2), device(3, name="cam-2")]
    out = person("device", "show", "cam-1").out
    assert "device        dev_1" in out
    assert "processors    4 (overridden)" in out
    assert "not in class  x86-openvino: runtime openvino is not offered" in out
    assert person("device", "show", "dev_2").code == 0
    ended = person("device", "show", "cam-2")
    assert (ended.code, "MF-6013" in ended.err, "dev_2, dev_3" in ended.err) == (1, True, True)
    assert "MF-1602" in person("device", "show", "cam-9").err
    assert "MF-1602" in person("device", "show", "dev_9").err


def test_labels_are_set_and_removed_one_by_one(person: Cli) -> None:
    person.controller.devices = [device(1, labels={"site": "north", "lane": "2"})]
    assert person("device", "label", "cam-1", "lane-", "room=a1").code == 0
    assert json.loads(person.controller.bodies("PUT")[0].body) == {"site": "north", "room": "a1"}
    for bad in ("room", "=x", "-", "Room=x", "room=a b", "room=a,b"):
        ended = person("device", "label", "cam-1", "--", bad)
        assert (ended.code, "MF-6011" in ended.err) == (1, True), bad
    assert len(person.controller.bodies("PUT")) == 1


def test_revoking_asks_first(person: Cli) -> None:
    person.controller.devices = [device(1)]
    ended = person("device", "revoke", "cam-1")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "  to do: Rerun with --yes"
    for answer in ("n\n", "\n", ""):
        assert person("device", "revoke", "cam-1", tty=True, stdin=answer).code == 1
    assert not person.controller.bodies("POST")
    assert person("device", "revoke", "cam-1", tty=True, stdin="y\n").code == 0
    assert person("device", "revoke", "dev_1", "--yes").code == 0
    assert [s.path for s in person.controller.bodies("POST")] == ["/v1/devices/dev_1/revoke"] * 2


# classes

JETSON = """
apiVersion: modelfleet.dev/v1alpha1
kind: DeviceClass
metadata: {name: jetson}
spec: {architectures: [aarch64], runtime: onnxruntime, priority: 3, minMemory: 2GB}
"""


def test_classes(person: Cli, tmp_path: Path) -> None:
    assert [line.split()[0] for line in person("class", "list").out.splitlines()[1:]] == [
        c.name for c in SHIPPED
    ]
    assert "expected" in person("class", "show", "arm-litert").out
    ended = person("class", "show", "jetson")
    assert (ended.code, "MF-1641" in ended.err) == (1, True)
    file = tmp_path / "jetson.yaml"
    file.write_text(JETSON)
    assert person("class", "apply", "-f", file).code == 0
    assert person.controller.bodies("PUT")[0].path == "/v1/classes/jetson"
    assert json.loads(person("class", "show", "jetson", "-o", "json").out)["min_memory_bytes"] == 2 * 10**9


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "MF-1001"),
        ("- a", "MF-1001"),
        ("a: [", "MF-1001"),
        ("a: !!python/object/apply:os.system [id]", "MF-1001"),
        (JETSON + "---\n" + JETSON, "MF-1001"),
        (JETSON.replace("DeviceClass", "FleetRollout"), "MF-1001"),
        (JETSON.replace("priority", "prio"), "MF-1002"),
        (JETSON.replace("priority: 3", "priority: 3, priority: 9"), "MF-1001"),
        (JETSON.replace("2GB", "much"), "MF-1003"),
        ("x" * 300_000, "MF-6004"),
    ],
)
def test_bad_resource_files(person: Cli, tmp_path: Path, text: str, code: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    ended = person("class", "apply", "-f", file)
    assert (ended.code, code in ended.err) == (1, True), ended.err
    assert person.controller.sent == []


def test_a_missing_file(person: Cli, tmp_path: Path) -> None:
    ended = person("class", "apply", "-f", tmp_path / "missing.yaml")
    assert (ended.code, "MF-6004" in ended.err) == (1, True)


# tokens


def test_a_token_is_shown_once(person: Cli) -> None:
    ended = person(
        "token", "create", "--name", "north", "--max-uses", "3", "--label", "site=north", "--ttl", "2h"
    )
    assert ended.out.splitlines() == [
        "token    mfe_only-once",
        "id       tok_0 (enrolment, 3 devices)",
        "expires  2026-03-01 14:00 UTC; the token is not shown again",
    ]
    assert json.loads(person.controller.sent[-1].body) == {
        "kind": "enrolment",
        "name": "north",
        "ttl_s": 7200.0,
        "scope": None,
        "max_uses": 3,
        "labels": {"site": "north"},
        "allow_override": False,
    }
    listed = person("token", "list").out
    assert "mfe_only-once" not in listed
    assert listed.splitlines()[1].split() == [
        "tok_0",
        "enrolment",
        "north",
        "-",
        "0/3",
        "2026-03-01",
        "14:00",
        "valid",
    ]
    assert person("token", "revoke", "tok_0").code == 1
    assert person("token", "revoke", "tok_0", "--yes").out == "token tok_0 is revoked\n"
    assert person("token", "list").out == "no tokens\n"
    assert "MF-1602" in person("token", "revoke", "tok_0", "-y").err


def test_api_tokens_have_a_scope(person: Cli) -> None:
    assert "scope releaser" in person("token", "create", "--kind", "api", "--scope", "releaser").out
    assert json.loads(person.controller.sent[-1].body)["scope"] == "releaser"


@pytest.mark.parametrize("ttl", ["soon", "", "-1h", "5", "0s"])
def test_a_token_needs_a_real_life(person: Cli, ttl: str) -> None:
    ended = person("token", "create", "--ttl", ttl)
    assert ended.code == 1
    assert "MF-6011" in ended.err
    assert person.controller.sent == []


def test_a_token_s_name_has_a_limit(person: Cli) -> None:
    ended = person("token", "create", "--name", "n" * 129)
    assert (ended.code, "MF-6011" in ended.err, person.controller.sent) == (1, True, [])


def test_a_list_of_tokens_says_which_still_let_in(person: Cli) -> None:
    for name, ttl in (("good", "2h"), ("spent", "2h"), ("old", "1h"), ("ended", "1h")):
        assert person("token", "create", "--name", name, "--ttl", ttl).code == 0
    good, spent, old, ended = person.controller.tokens
    person.controller.tokens = [good, replace(spent, uses=1), old, replace(ended, revoked=True)]
    person.clock.advance(3600.0)
    lines = person("token", "list").out.splitlines()[1:]
    assert [line.rsplit("  ", 1)[1] for line in lines] == ["valid", "used up", "expired", "revoked"]


# the decision log


def _chain(count: int) -> list[DecisionView]:
    links: list[DecisionView] = []
    previous = "0" * 64
    for n in range(1, count + 1):
        body = f'{{"sequence":{n}}}'
        digest = hashlib.sha256(f"{previous}|{body}".encode()).hexdigest()
        links.append(
            DecisionView(
                n, NOW, f"ro_{n % 2}", "x86", "promote", "controller", f"because {n}", body, previous, digest
            )
        )
        previous = digest
    return links


def test_audit_list_and_verify(person: Cli) -> None:
    assert "0 decisions" in person("audit", "verify").out
    person.controller.decisions = _chain(4)
    assert len(person("audit", "list").out.splitlines()) == 5
    assert len(person("audit", "list", "--rollout", "ro_1").out.splitlines()) == 3
    ended = person("audit", "verify")
    assert (ended.code, ended.out.split(";")[0]) == (0, "4 decisions, the chain is whole")


def test_a_rewritten_link_is_found_by_the_next(person: Cli) -> None:
    links = _chain(4)
    body = '{"sequence":2,"sentence":"nothing happened"}'
    digest = hashlib.sha256(f"{links[1].previous}|{body}".encode()).hexdigest()
    links[1] = replace(links[1], body=body, hash=digest)
    person.controller.decisions = links
    view = json.loads(person("audit", "verify", "-o", "json").out)
    assert (view["ok"], view["broken_at"]) == (False, 3)


def test_a_long_log_comes_page_by_page(person: Cli) -> None:
    person.controller.decisions = _chain(2500)
    assert json.loads(person("audit", "verify", "-o", "json").out)["decisions"] == 2500
    assert [s.query.get("after") for s in person.controller.sent] == [None, "1000", "2000"]


@pytest.mark.parametrize("where", range(4))
@pytest.mark.parametrize("change", ["body", "previous", "hash", "missing", "twice"])
def test_a_changed_log_is_found(person: Cli, where: int, change: str) -> None:
    links = _chain(4)
    if change == "missing":
        # a log cut at its very end is whole; its head, kept elsewhere, tells
        del links[min(where, 2)]
    elif change == "twice":
        links.insert(where, links[where])
    elif change == "body":
        links[where] = replace(links[where], body=links[where].body + " ")
    elif change == "previous":
        links[where] = replace(links[where], previous="1" * 64)
    else:
        links[where] = replace(links[where], hash="1" * 64)
    person.controller.decisions = links
    ended = person("audit", "verify", "-o", "json")
    view = json.loads(ended.out)
    assert (ended.code, view["ok"]) == (1, False)
    assert view["broken_at"] in (min(where, 2) + 1, where + 1, where + 2)


# doctor


def _states(out: str) -> dict[str, str]:
    return {c["name"]: c["state"] for c in json.loads(out)["checks"]}


def test_doctor_on_a_fresh_machine(cli: Cli) -> None:
    ended = cli("doctor", "-o", "json")
    assert ended.code == 0
    states = _states(ended.out)
    assert states["context"] == "warn"
    assert "controller" not in states
    assert states["modelfleet-controller"] == "ok"


def test_doctor_when_all_is_well(person: Cli, tmp_path: Path) -> None:
    key = tmp_path / "k.pub"
    key.write_text(MINE.public().to_pem())
    assert person("trust", "init", "--release-key", key).code == 0
    ended = person("doctor", "-o", "json")
    assert ended.code == 0
    assert set(_states(ended.out).values()) == {"ok"}
    assert "controller             ok" in person("doctor").out


def test_doctor_finds_what_is_wrong(person: Cli) -> None:
    os.chmod(person.config, 0o644)
    states = _states(person("doctor", "-o", "json").out)
    assert (states["configuration"], states["trust"]) == ("fail", "warn")
    os.chmod(person.config, 0o600)
    person.controller.token = "other"
    ended = person("doctor", "-o", "json")
    assert (ended.code, _states(ended.out)["token"]) == (1, "fail")
    person.controller.reachable = False
    ended = person("doctor", "-o", "json")
    states = _states(ended.out)
    assert (ended.code, states["controller"], "token" in states) == (1, "fail", False)
    assert URL in person("doctor").out


def test_old_devices_show_their_age(person: Cli) -> None:
    person.controller.devices = [device(1, last_seen=NOW - timedelta(days=3)), device(2, last_seen=None)]
    lines = person("device", "list").out.splitlines()
    assert "  3d  " in lines[1]
    assert "  -  " in lines[2]
