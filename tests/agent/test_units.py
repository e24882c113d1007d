"""The systemd units: they start programs that exist with settings that exist, and give them no more than
they need.
"""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from modelfleet_agent.main import _parser
from modelfleet_agent.settings import KNOWN, variable

UNITS = Path(__file__).parents[2] / "agent" / "systemd"
NAMES = ["modelfleet-agent.service", "modelfleet-serve.service"]
BOTH = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
    "User": "modelfleet",
    "Restart": "always",
}


def lines(name: str) -> list[tuple[str, str]]:
    found = []
    for line in (UNITS / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.append((key, value))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_whole_and_hardened(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    assert parser.sections() == ["Unit", "Service", "Install"]
    values = dict(lines(name))
    assert {key: values.get(key) for key in BOTH} == BOTH
    assert "@system-service" in [value for key, value in lines(name) if key == "SystemCallFilter"]


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_a_command_that_exists_with_settings_that_exist(name: str) -> None:
    words = shlex.split(dict(lines(name))["ExecStart"])
    assert words[0] == "/opt/modelfleet/bin/modelfleet-agent"
    arguments = _parser().parse_args(words[1:])
    assert str(arguments.config) == "/etc/modelfleet/agent.toml"
    known = {variable(setting) for setting in KNOWN}
    environment = [value.partition("=")[0] for key, value in lines(name) if key == "Environment"]
    assert environment
    assert set(environment) <= known


def test_serve_needs_no_supervisor_and_the_supervisor_starts_no_second_serve() -> None:
    serve, agent = dict(lines(NAMES[1])), lines(NAMES[0])
    assert not {"Requires", "BindsTo", "PartOf"} & set(serve)
    assert "modelfleet-agent" not in serve.get("After", "")
    assert ("Environment", "MODELFLEET_AGENT_SERVE_MANAGED=true") in agent
    assert ("IPAddressDeny", "any") in lines(NAMES[1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_the_unit_and_finds_it_little_exposed(name: str, tmp_path: Path) -> None:
    text = (UNITS / name).read_text().replace("/opt/modelfleet/bin/modelfleet-agent", "/bin/true")
    (tmp_path / name).write_text(text.replace("Wants=modelfleet-serve.service", "Wants="))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-600:] + done.stderr
    assert "Unknown key" not in done.stderr
