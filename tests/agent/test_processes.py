"""`modelfleet-agent` as a program: what it prints, what it refuses, and that serve outlives it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelfleet_core.clock import SystemClock

from e2e.support import Process, eventually
from tests.agent.fakes import FakeController
from tests.agent.http_fake import served

pytestmark = pytest.mark.server


class Machine:
    """One machine with a state directory and a controller."""

    def __init__(self, root: Path, url: str, controller: FakeController) -> None:
        self.root = root
        self.state = root / "s"
        self.url = url
        self.controller = controller
        self.trust = root / "trust.json"
        self.trust.write_bytes(controller.trust_bytes())
        self.config = root / "agent.toml"
        self.config.write_text(
            f'state_dir = "{self.state}"\nname = "press 7"\npoll_floor_s = 0.1\nmin_free_bytes = 0\n'
            '[serve]\nlisten = "127.0.0.1:0"\n'
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "modelfleet_agent", *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def enroll(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.call("enroll", self.url, "--token", "mfe_token", *more)

    def supervisor(self) -> Process:
        command = [sys.executable, "-P", "-m", "modelfleet_agent", "run", "--config", str(self.config)]
        return Process(command, self.root / "logs", name="agent")

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.call("status", "-o", "json").stdout)
        return found

    def serve_pid(self) -> int | None:
        with suppress(OSError, ValueError):
            pid = json.loads((self.state / "status.json").read_text())["serve"]["pid"]
            return pid if isinstance(pid, int) else None
        return None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    clock = SystemClock()
    controller = FakeController(clock=clock, poll_s=0.2)  # type: ignore[arg-type]
    with served(controller) as url:
        machine = Machine(tmp_path, url, controller)
        yield machine
        pid = machine.serve_pid()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_enrolment_without_a_trust_file_is_refused(machine: Machine) -> None:
    refused = machine.enroll()
    assert refused.returncode == 1
    first, second, third = refused.stderr.splitlines()
    assert first == "MF-3007: no trust file is given"
    assert second.startswith("expected: --trust FILE")
    assert "fleetctl trust export" in third
    assert not machine.state.exists()
    assert machine.controller.requests == []


def test_enrolment_that_reaches_nobody_says_what_to_do(machine: Machine) -> None:
    refused = machine.call("enroll", "http://127.0.0.1:9", "--token", "t", "--trust", str(machine.trust))
    assert refused.returncode == 1
    first, _, third = refused.stderr.splitlines()
    assert first.startswith("MF-5010: http://127.0.0.1:9 cannot be reached")
    assert "enrol again" in third
    assert machine.enroll("--trust", str(machine.trust)).returncode == 0


def test_trust_on_first_use_prints_the_fingerprint_and_what_it_means(machine: Machine) -> None:
    done = machine.enroll("--trust-on-first-use")
    assert done.returncode == 0, done.stderr
    assert "trust fingerprint: " in done.stdout
    assert "believed from now on" in done.stderr
    assert machine.enroll("--trust", str(machine.trust)).stderr.startswith("MF-3006")


def test_a_state_directory_of_a_newer_version_is_refused(machine: Machine) -> None:
    machine.state.mkdir()
    (machine.state / "version").write_text("999\n")
    refused = machine.enroll("--trust", str(machine.trust))
    assert refused.returncode == 1
    assert refused.stderr.startswith("MF-3002: the state directory")
    assert machine.call("run").stderr.startswith("MF-3002")


def test_what_is_not_enrolled_does_not_run(machine: Machine) -> None:
    refused = machine.call("run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("MF-3005")
    assert machine.call("status").stderr.startswith("MF-3012")
    assert machine.call("nonsense").returncode == 2


def test_a_life(machine: Machine) -> None:
    """Start, a second agent refused, kill -9, adoption, status, doctor, SIGTERM: one serve all along."""
    assert machine.enroll("--trust", str(machine.trust), "--label", "site=north").returncode == 0
    assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
    with machine.supervisor() as first:
        ready = first.ready()
        assert ready.text("state_dir") == str(machine.state)
        assert ready.text("device").startswith("dev_")
        serve = eventually(machine.serve_pid, what="serve answers")
        assert serve is not None
        refused = machine.call("run")
        assert refused.returncode == 1
        assert refused.stderr.startswith("MF-3003")
        assert str(first.pid) in refused.stderr
        first.kill_alone()
        assert alive(serve)
    with machine.supervisor() as second:
        second.ready()
        eventually(lambda: machine.status()["pid"] == second.pid, what="the second agent's status")
        assert eventually(machine.serve_pid) == serve
        assert '"event":"serve.adopted"' in second.stderr()
        status = machine.status()
        assert status["running"] is True
        assert str(status["serve"]["http"]).startswith("http://127.0.0.1:")  # type: ignore[index]
        assert "press 7" in machine.call("status").stdout
        doctor = json.loads(machine.call("doctor", "-o", "json").stdout)
        levels = {finding["check"]: finding["level"] for finding in doctor}
        assert levels["controller"] == levels["identity"] == levels["serve"] == levels["clock"] == "ok"
        assert machine.call("rollback", "digits").stderr.startswith("MF-3037")
        assert second.terminate() == 0
        assert alive(serve)
    assert machine.status()["running"] is False
    assert len(machine.controller.checkins) > 1
