"""What people read: status, doctor, rollback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelfleet_agent.commands import doctor
from modelfleet_agent.commands.doctor import Finding, Level
from modelfleet_agent.commands.status import render, render_json
from modelfleet_agent.main import main
from modelfleet_agent.supervisor.status import read_status
from modelfleet_core.errors import CallerError
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.director import Mode

from tests.agent.device import Device
from tests.agent.fakes import FakeController
from tests.agent.releases import release


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path, FakeController(poll_s=1.0))
    one = release("1.0", device.controller.release_key).put(device.controller)
    device.controller.assign(one.assignment("op-1", Mode.LIVE))
    device.until(lambda: device.holds()[0] is not None)
    device.settle()
    return device


def test_status_for_people(device: Device) -> None:
    two = release("1.1", device.controller.release_key).put(device.controller)
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.clock.advance(1)
    device.agent.tick()
    view = device.agent.status()
    text = render(view, running=True)
    incumbent = device.record.chain.incumbent
    assert incumbent is not None
    assert f"running as process {os.getpid()}" in text
    assert "slot        digits: shadowing" in text
    assert f"  incumbent digits:1.0 (x86-onnxruntime.fp32, {incumbent.release[:12]})  <- answers\n" in text
    assert f"  candidate digits:1.1 (x86-onnxruntime.fp32, {two.id[:12]})\n" in text
    assert "NOT RUNNING" in render(view, running=False)


def test_status_says_what_is_wrong(device: Device) -> None:
    device.controller.reachable = False
    device.serve.running = device.launcher.works = False
    device.round(5)
    text = render(device.agent.status(), running=True)
    assert "last error  MF-5010: no route to the controller" in text
    assert "serve       does not answer (MF-4035" in text


def test_status_as_json_is_the_file_and_whether_it_runs(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.round()
    assert main(["status", "-o", "json", "--state-dir", str(device.settings.state_dir)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown.pop("running") is True
    view = read_status(device.agent.folder.status)
    assert view is not None
    assert shown == json.loads((device.agent.folder.status).read_text())
    assert json.loads(render_json(view, running=False))["running"] is False
    assert shown["slots"][0]["state"] == "idle"


def test_a_rollback_of_something_that_is_no_name_is_refused(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "../x", "--state-dir", str(device.settings.state_dir)]) == 1
    assert capsys.readouterr().err.startswith("MF-3037")


def test_bad_settings_are_three_lines_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("state_dirr = '/tmp'")
    assert main(["status", "--config", str(config)]) == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("MF-1002: ")
    assert second == "expected: perhaps state_dir"
    assert third.startswith("to do: ")


# The doctor.


def findings(device: Device) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in doctor.examine(device.settings):
        found.setdefault(finding.check, []).append(finding)
    return found


@pytest.fixture
def reached(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """The doctor reaches the controller and serve in memory."""
    monkeypatch.setattr(doctor, "HttpTransport", lambda url, ca: device.controller)
    monkeypatch.setattr(doctor, "ServeClient", lambda path: device.serve)
    monkeypatch.setattr(doctor, "SystemClock", lambda: device.clock)
    return device


def test_a_healthy_device_has_nothing_to_do(reached: Device) -> None:
    found = findings(reached)
    assert {f.level for group in found.values() for f in group} == {Level.OK}, found
    assert set(found) == {
        "state",
        "identity",
        "trust",
        "disk",
        "runtimes",
        "journal",
        "agent",
        "serve",
        "controller",
        "clock",
        "releases",
    }


def test_the_doctor_finds_what_is_wrong(reached: Device) -> None:
    root = reached.agent.folder
    root.key.chmod(0o644)
    with (root.journal / "journal.log").open("ab") as file:
        file.write(b'{"damaged":1}\n')
    found = findings(reached)
    assert found["identity"][0].level is Level.FAILED
    assert any(f.level is Level.FAILED and "chmod" in f.todo for f in found["state"])
    assert found["journal"][0].level is Level.WARNING
    root.key.chmod(0o600)
    incumbent = reached.record.chain.incumbent
    assert incumbent is not None
    (root.store / f"{incumbent.release}.{incumbent.variant}" / "model.onnx").write_bytes(b"rotten")
    reached.controller.revoked.add(reached.agent.enrolled.identity.device)
    reached.serve.running = False
    found = findings(reached)
    assert (found["releases"][0].level, found["releases"][0].detail[:7]) == (Level.FAILED, "MF-2040")
    assert found["controller"][-1].detail.startswith("MF-1611")
    assert found["serve"][0].detail.startswith("MF-4035")


def test_the_doctor_sees_a_wrong_clock(reached: Device) -> None:
    from datetime import timedelta

    reached.clock.instant += timedelta(hours=1)
    found = findings(reached)
    assert found["clock"][0].level is Level.WARNING
    assert "3600 s off" in found["clock"][0].detail


def test_the_doctor_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state-dir", str(tmp_path / "none")]) == 1
    assert "does not exist" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_the_agent_refuses_a_second_one_in_process_too(device: Device) -> None:
    with pytest.raises(CallerError, match="MF-3003"):
        device.start()
