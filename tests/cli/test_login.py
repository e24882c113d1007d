from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.kit import TOKEN, URL, Cli


def _code(err: str) -> str:
    """The code in the first of the three lines."""
    first, expected, todo = err.splitlines()[-3:] if "verbose" not in err else err.splitlines()[-4:-1]
    assert expected.startswith("  expected: ")
    assert todo.startswith("  to do: ")
    return first.split()[1].rstrip(":")


def test_a_login_is_remembered_by_its_owner_alone(cli: Cli) -> None:
    ended = cli("login", URL + "/", "--token-stdin", stdin=f"{TOKEN}\nnot this\n")
    assert ended.code == 0
    assert ended.out == "logged in to http://127.0.0.1:8080 (controller mfc-test); context 127.0.0.1:8080\n"
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.config.parent.stat().st_mode) == 0o700
    assert cli("release", "list").code == 0
    assert [p.name for p in cli.config.parent.iterdir()] == ["config.json"]


def test_the_token_is_typed_without_echo(cli: Cli) -> None:
    cli.typed = [TOKEN]
    ended = cli("login", URL, tty=True)
    assert ended.code == 0
    assert TOKEN not in ended.out + ended.err


def test_the_token_comes_from_the_environment_or_a_file(cli: Cli, tmp_path: Path) -> None:
    cli.env = {"MODELFLEET_TOKEN": TOKEN}
    assert cli("login", URL).code == 0
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    cli.env = {}
    assert cli("--token-file", file, "login", URL, "--name", "second").code == 0
    cli.env = {"MODELFLEET_TOKEN_FILE": str(file)}
    assert cli("login", URL, "--name", "third").code == 0
    assert json.loads(cli("context", "list", "-o", "json").out)["items"] == [
        {"name": n, "url": URL, "audience": "mfc-test", "current": n == "third"}
        for n in ("127.0.0.1:8080", "second", "third")
    ]


@pytest.mark.parametrize("stdin", ["", "\n", "  \n", "to\x00ken\n", "t\u00f6ken\n"])
def test_without_a_usable_token_nothing_is_written(cli: Cli, stdin: str) -> None:
    ended = cli("login", URL, "--token-stdin", stdin=stdin)
    assert (ended.code, _code(ended.err)) == (1, "MF-6014")
    assert not cli.config.exists()


def test_without_a_terminal_nobody_is_asked(cli: Cli) -> None:
    ended = cli("login", URL)
    assert (ended.code, _code(ended.err)) == (1, "MF-6014")


def test_a_wrong_token_is_not_remembered(cli: Cli) -> None:
    ended = cli("login", URL, "--token-stdin", stdin="wrong\n")
    assert (ended.code, _code(ended.err)) == (1, "MF-1603")
    assert "wrong" not in ended.err
    assert not cli.config.exists()


@pytest.mark.parametrize("url", ["", "fleet", "ftp://x", "http://", "https://u:p@host", "https://host?x=1"])
def test_no_address(cli: Cli, url: str) -> None:
    ended = cli("login", url, "--token-stdin", stdin=TOKEN)
    assert (ended.code, _code(ended.err)) == (1, "MF-6011")


def test_a_token_is_not_sent_in_the_clear(cli: Cli) -> None:
    ended = cli("login", "http://fleet.example.com", "--token-stdin", stdin=TOKEN)
    assert (ended.code, _code(ended.err)) == (1, "MF-6012")
    assert cli.controller.sent == []
    assert cli("login", "http://fleet.example.com", "--insecure", "--token-stdin", stdin=TOKEN).code == 0
    assert cli("release", "list").code == 0
    for url in ("http://localhost:1", "http://127.9.9.9:1", "http://[::1]:1", "https://fleet.example.com"):
        assert cli("login", url, "--token-stdin", stdin=TOKEN).code == 0


def test_contexts_are_chosen(cli: Cli) -> None:
    for name in ("one", "two"):
        assert cli("login", URL, "--name", name, "--token-stdin", stdin=TOKEN).code == 0
    assert cli("context", "list").out.splitlines() == [
        "   NAME  URL                    CONTROLLER",
        "   one   http://127.0.0.1:8080  mfc-test",
        "*  two   http://127.0.0.1:8080  mfc-test",
    ]
    assert cli("context", "use", "one").out == "now using one (http://127.0.0.1:8080)\n"
    assert cli("context", "list").out.splitlines()[1].startswith("*  one")
    ended = cli("context", "use", "three")
    assert (ended.code, _code(ended.err)) == (1, "MF-6001")
    assert "one, two" in ended.err
    ended = cli("--context", "three", "release", "list")
    assert (ended.code, _code(ended.err)) == (1, "MF-6001")
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600


def test_no_token_is_ever_shown(person: Cli) -> None:
    for form in ("table", "json", "yaml"):
        for command in (["context", "list"], ["doctor"], ["context", "use", "127.0.0.1:8080"]):
            ended = person(*command, "-o", form)
            assert TOKEN not in ended.out + ended.err


def test_flags_win_over_the_environment_and_that_over_the_context(person: Cli) -> None:
    person.env = {"MODELFLEET_URL": "http://127.0.0.1:1", "MODELFLEET_TOKEN": "other"}
    assert _code(person("release", "list").err) == "MF-1603"
    assert person("--url", URL, "release", "list").code == 1
    person.env = {"MODELFLEET_URL": "http://127.0.0.1:1"}
    assert _code(person("release", "list").err) == "MF-6014"
    assert person("--url", URL, "release", "list").code == 0, "the token of the login at that address"
    assert person("--context", "127.0.0.1:8080", "release", "list").code == 0
    person.env = {"MODELFLEET_CONTEXT": "gone"}
    assert _code(person("release", "list").err) == "MF-6001"


def test_no_controller_is_chosen(cli: Cli) -> None:
    ended = cli("rollout", "list")
    assert (ended.code, _code(ended.err)) == (1, "MF-6001")
    assert "fleetctl login URL" in ended.err


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"contexts": [{"name": 1}]}', '{"schema": 2, "contexts": []}']
)
def test_a_broken_configuration_is_told(cli: Cli, text: str) -> None:
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(text)
    ended = cli("context", "list")
    assert (ended.code, _code(ended.err)) == (1, "MF-6002")
    assert str(cli.config) in ended.err


def test_xdg_config_home(cli: Cli, tmp_path: Path) -> None:
    cli.env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert cli("login", URL, "--token-stdin", stdin=TOKEN).code == 0
    assert (tmp_path / "xdg" / "fleetctl" / "config.json").exists()
    cli.env = {"XDG_CONFIG_HOME": "relative"}
    assert cli("login", URL, "--token-stdin", stdin=TOKEN).code == 0
    assert cli.config.exists()


def test_certificates_must_be_certificates(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    for path in (file, tmp_path / "missing"):
        ended = cli("login", "https://fleet.example.com", "--ca", path, "--token-stdin", stdin=TOKEN)
        assert (ended.code, _code(ended.err)) == (1, "MF-6004")
