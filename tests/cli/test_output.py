"""One model, three renderings; colour only for eyes."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import msgspec
import pytest
import yaml

from fleetctl.output import Table, age, number, plain_table, size
from fleetctl.terminal import clean
from modelfleet_core.wire.operator import Devices, DeviceView, Rollouts, RolloutView, TokenView

from tests.cli.kit import NOW, ROLLED_BACK, Cli, device


@pytest.fixture
def full(person: Cli) -> Cli:
    person.controller.devices = [device(1), device(2, slots=(), last_seen=None, revoked=True)]
    person.controller.rollouts = [ROLLED_BACK]
    return person


@pytest.mark.parametrize(
    "command",
    [
        ["device", "list"],
        ["device", "show", "dev_1"],
        ["rollout", "list"],
        ["rollout", "status", "ro_01"],
        ["rollout", "explain", "ro_01"],
        ["class", "list"],
        ["release", "list"],
        ["trust", "status"],
        ["token", "list"],
        ["doctor"],
        ["audit", "verify"],
        ["context", "list"],
    ],
)
def test_json_and_yaml_tell_the_same(full: Cli, command: list[str]) -> None:
    as_json, as_yaml = full(*command, "-o", "json"), full(*command, "--output", "yaml")
    body = json.loads(as_json.out)
    assert isinstance(body, dict)
    assert msgspec.to_builtins(yaml.safe_load(as_yaml.out)) == body
    assert all(key == key.lower() and " " not in key for key in body)
    table = full(*command)
    assert table.code == as_json.code == as_yaml.code
    assert "\x1b" not in table.out + as_json.out + as_yaml.out


def test_json_is_the_wire_type(full: Cli) -> None:
    listed = msgspec.json.decode(full("device", "list", "-o", "json").out, type=Devices)
    assert listed.items == tuple(full.controller.devices)
    shown = json.loads(full("rollout", "status", "ro_01", "-o", "json").out)
    assert set(shown) == {f.name for f in dataclasses.fields(RolloutView)}
    assert msgspec.json.decode(full("rollout", "list", "-o", "json").out, type=Rollouts).items == (
        ROLLED_BACK,
    )
    made = json.loads(full("token", "create", "-o", "json").out)
    assert set(made) == {f.name for f in dataclasses.fields(TokenView)}
    assert set(json.loads(full("device", "show", "dev_1", "-o", "json").out)) == {
        f.name for f in dataclasses.fields(DeviceView)
    }


def test_colour_only_on_a_terminal_that_wants_it(full: Cli) -> None:
    full.width = 200
    assert "\x1b[" not in full("device", "list").out
    full.env["NO_COLOR"] = "1"
    plain = full("device", "list", tty=True).out
    assert "\x1b[3" not in plain, "no colours (bold titles may stay)"
    full.env = {"TERM": "xterm-256color"}
    assert "\x1b[31m" in full("device", "list", tty=True).out, "revoked is red"


def test_json_has_no_colour_even_on_a_terminal(full: Cli) -> None:
    out = full("device", "list", "-o", "json", tty=True).out
    assert json.loads(out)
    assert "\x1b" not in out


def test_a_pipe_gets_whole_lines(full: Cli) -> None:
    long = "x" * 500
    full.controller.devices = [device(1, labels={"k": long})]
    lines = full("device", "list").out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(f"k={long}")


def test_names_of_others_are_only_text(full: Cli) -> None:
    full.controller.devices = [device(1, name="\x1b[31m[bold]evil\nline")]
    out = full("device", "list").out
    assert "\x1b" not in out
    assert "\\x1b[31m[bold]evil line" in out
    assert len(out.splitlines()) == 2
    full.width = 200
    assert "[bold]evil" in full("device", "list", tty=True).out


def test_plain_tables() -> None:
    table = Table(("A", "NUMBER"), [("x", "1"), (("long word", "red"), "22")], right=("NUMBER",))
    assert plain_table(table) == ["A          NUMBER", "x               1", "long word      22"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200_000, "2d"), (-5, "now")],
)
def test_age(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_small_words() -> None:
    assert age(None, NOW) == "-"
    assert [size(n) for n in (0, 999, 1000, 1_500_000, 3e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "3000.0 GB",
    ]
    assert [number(n) for n in (None, 1.0, 0.12345, 1234.5)] == ["-", "1", "0.123", "1.23e+03"]
    assert clean("a\x07b\tc\u202ed") == "a\\x07b\\tc\\u202ed"
