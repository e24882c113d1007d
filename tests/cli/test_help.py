"""Every command explains itself with an example, and help imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fleetctl.cli import ENTRIES

from tests.cli.kit import Cli

COMMANDS = [
    "server start",
    "login",
    "context list",
    "context use",
    "build",
    "build report",
    "build explain",
    "release keygen",
    "release sign",
    "release verify",
    "release push",
    "release export-header",
    "release list",
    "release show",
    "trust init",
    "trust status",
    "trust export",
    "class list",
    "class show",
    "class apply",
    "device list",
    "device show",
    "device label",
    "device revoke",
    "token create",
    "token list",
    "token revoke",
    "rollout plan",
    "rollout create",
    "rollout list",
    "rollout status",
    "rollout watch",
    "rollout pause",
    "rollout resume",
    "rollout promote",
    "rollout abort",
    "rollout retry",
    "rollout undo",
    "rollout explain",
    "audit list",
    "audit verify",
    "doctor",
    "demo",
]
QUIET = {"token revoke", "demo"}  # the first only confirms, the second has --report FILE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, command: str) -> None:
    ended = cli(*command.split(), "--help")
    assert ended.code == 0
    assert f"Usage: fleetctl {command}" in ended.out
    assert "Example:" in ended.out
    assert f"fleetctl {command}" in ended.out.split("Example:")[1]
    if command not in QUIET:
        assert "--output" in ended.out


GROUPS = sorted({c.split()[0] for c in COMMANDS if " " in c} - {"build"})


@pytest.mark.parametrize("group", GROUPS)
def test_groups_list_exactly_the_commands_tested_here(cli: Cli, group: str) -> None:
    out = cli(group, "--help").out.split("Commands:")[1]
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2] != " "}
    assert listed == {c.split()[1] for c in COMMANDS if c.startswith(f"{group} ")}


def test_root_help_lists_every_entry(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.code == 0
    assert all(f"  {name} " in ended.out for name in ENTRIES)
    assert {c.split()[0] for c in COMMANDS} == set(ENTRIES)


def test_without_arguments_it_shows_help_and_fails_as_usage(cli: Cli) -> None:
    ended = cli()
    assert ended.code == 2
    assert "Usage: fleetctl" in ended.out + ended.err


def test_version(cli: Cli) -> None:
    ended = cli("--version")
    assert (ended.code, ended.out.split()[0]) == (0, "fleetctl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["rollout", "nonsense"],
        ["rollout", "status"],
        ["rollout", "list", "-o", "xml"],
        ["release", "sign", "x"],
        ["token", "create", "--max-uses", "0"],
        ["rollout", "status", "x", "--watch", "--wait"],
        ["rollout", "status", "x", "--timeout", "1s"],
        ["rollout", "create"],
        ["rollout", "create", "digits:1.0"],
        ["rollout", "create", "digits:1.0", "-f", "x.yaml"],
        ["rollout", "create", "-f", "x.yaml", "--to", "all"],
        ["rollout", "create", "digits:1.0", "--to", "all", "--no-gates"],
        ["rollout", "promote", "x", "--full"],
        ["release", "verify", "x"],
        ["token", "create", "--kind", "api", "--label", "a=b"],
        ["build", "m.onnx"],
    ],
)
def test_wrong_usage_is_2(person: Cli, arguments: list[str]) -> None:
    ended = person(*arguments)
    assert ended.code == 2, ended
    assert ended.out == ""
    assert person.controller.sent == []


HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "ai_edge_litert",
    "modelfleet_build",
    "modelfleet_runtimes",
    "httpx",
    "cryptography",
    "yaml",
)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["rollout", "--help"], ["context", "list"], ["release", "--help"]]
)
def test_nothing_heavy_is_imported(arguments: list[str], tmp_path: object) -> None:
    code = (
        "import sys; sys.argv = ['fleetctl', *sys.argv[1:]]\n"
        "from fleetctl.main import main\n"
        "code = main()\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
