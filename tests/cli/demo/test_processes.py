"""Whatever the demo started ends, detached children included."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleetctl.demo.processes import Processes, children
from modelfleet_core.clock import SystemClock
from modelfleet_core.errors import WorldError

from e2e.support import eventually

# starts a child in a session of its own, as an agent starts serve, and names the work folder in its arguments
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1] + "/serve"],
                         start_new_session=True)
print('{"ready": {"child": %d}}' % child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_detached_children_are_found_and_ended(work: Path) -> None:
    processes = Processes(work / "logs", work, SystemClock())
    program = processes.start("parent", [sys.executable, "-c", PARENT, work])
    child = program.ready(30)["child"]
    eventually(lambda: child in processes.left(), what="the child is seen")
    assert children(program.pid) == [child]
    processes.kill(program.pid)
    processes.stop_all(5)
    assert processes.left() == []
    assert processes.running() == []


def test_a_program_that_dies_tells_its_last_words(work: Path) -> None:
    processes = Processes(work / "logs", work, SystemClock())
    program = processes.start("short", [sys.executable, "-c", "raise SystemExit('no luck today')"])
    with pytest.raises(WorldError, match="no luck today"):
        program.ready(30)
    processes.stop_all(5)


def test_a_program_that_does_not_exist_is_an_error_of_the_world(work: Path) -> None:
    with pytest.raises(WorldError, match="MF-6052"):
        Processes(work / "logs", work, SystemClock()).start("none", [work / "no-such-program"])


def test_kept_processes_are_left_alone(work: Path) -> None:
    processes = Processes(work / "logs", work, SystemClock())
    program = processes.start("parent", [sys.executable, "-c", PARENT, work])
    program.ready(30)
    others = Processes(work / "logs", work, SystemClock())
    processes.forget()
    processes.stop_all(1)
    assert program.running
    others.stop_all(5)
    program.popen.wait(10)
    assert others.left() == []


def test_secrets_in_the_readiness_line_are_not_kept(work: Path) -> None:
    processes = Processes(work / "logs", work, SystemClock())
    code = 'print(\'{"ready": {"admin_token": "mf_secret"}}\'); print(\'hello\')'
    program = processes.start("talker", [sys.executable, "-c", code])
    assert program.ready(30) == {"admin_token": "mf_secret"}
    eventually(lambda: "hello" in (work / "logs" / "talker.out").read_text(), what="the rest is kept")
    assert "mf_secret" not in (work / "logs" / "talker.out").read_text()
    processes.stop_all(5)
