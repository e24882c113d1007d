"""`fleetctl build env` and the doors of `fleetctl build prune`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.kit import Cli

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_list_shows_what_could_be_made_and_what_is_there(cli: Cli, tmp_path: Path) -> None:
    ended = cli("build", "env", "list")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0].split() == ["TOOL", "STATE", "SIZE", "FOR", "FOLDER"]
    assert ended.out.splitlines()[1].split()[:3] == ["torch", "absent", "-"]
    left = cli.home / ".cache" / "modelfleet" / "isolated" / f".partial-torch-{'0' * 16}"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x" * 100_000)
    found = json.loads(cli("build", "env", "list", "-o", "json").out)
    assert [item["state"] for item in found["items"]] == ["absent", "unfinished"]
    assert cli("build", "env", "remove", "torch").code == 1, "nobody confirmed"
    ended = cli("build", "env", "remove", "torch", "--yes")
    assert (ended.code, ended.out) == (0, "102.4 kB are free again\n")
    assert not left.exists()
    assert cli("build", "env", "remove", "torch", "--yes").out == "there was no environment of torch\n"


@pytest.mark.parametrize("verb", ["make", "remove"])
def test_a_tool_that_there_is_not(cli: Cli, verb: str) -> None:
    ended = cli("build", "env", verb, "torhc")
    assert (ended.code, "MF-1471" in ended.err) == (1, True)
    assert "one of torch" in ended.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--ratio", "1"], "MF-1423"),
        (["--epochs", "0"], "MF-1423"),
        (["--seeds", "11"], "MF-1423"),
        (["--round-to", "0"], "MF-1423"),
        (["--hook", "nowhere.py"], "MF-1477"),
        (["-O", DIGITS], "MF-1422"),
    ],
)
def test_prune_refuses_at_the_door(cli: Cli, tmp_path: Path, options: list[object], code: str) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text("")
    usual = ["--hook", hook, "--validation", DIGITS / "validation.npz", "-O", tmp_path / "out"]
    ended = cli("build", "prune", *usual, *options)
    assert (ended.code, code in ended.err) == (1, True), ended.err
    assert not (cli.home / ".cache").exists()
