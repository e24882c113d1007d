"""Calls into an isolated environment, with the interpreter at hand as the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfleet_build.isolated.call import call
from modelfleet_build.isolated.tools import SCRIPTS
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError

from e2e.support import eventually


@dataclass(frozen=True, slots=True)
class Answer:
    doubled: int
    words: tuple[str, ...] = ()


Run = Callable[[str], Answer]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, said: list[str]) -> Run:
    def made(code: str) -> Answer:
        script = tmp_path / "script.py"
        script.write_text(f"import os, sys\nfrom start import Refused\n\n\ndef run(job, tell):\n    {code}\n")
        folder = tmp_path / "folder"
        return call(Path(sys.executable), str(script), {"number": 21}, folder, Answer, said.append, threads=3)

    return made


def test_a_job_goes_in_and_a_result_comes_out(
    run: Run, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFLEET_TOKEN", "secret")
    answer = run("tell('at it'); return {'doubled': 2 * job['number'], 'words': sorted(os.environ)}")
    assert answer.doubled == 42
    assert said == ["at it"]
    assert not {"MODELFLEET_TOKEN", "PYTHONPATH"} & set(answer.words)
    assert {"HOME", "OMP_NUM_THREADS", "TMPDIR"} <= set(answer.words)


@pytest.mark.parametrize(
    ("code", "kind", "error", "reason"),
    [
        ("raise Refused('companion', 'a', 'b', 'c')", CallerError, Code.COMPANION_INVALID, "a"),
        ("raise Refused('hook', 'a', 'b', 'c')", CallerError, Code.HOOK_INVALID, "a"),
        ("raise ValueError('the moon')", WorldError, Code.CONVERSION_FAILED, "ValueError: the moon"),
        ("import nowhere", WorldError, Code.CONVERSION_FAILED, "No module named 'nowhere'"),
        ("print('bye', flush=True); os._exit(3)", WorldError, Code.CONVERSION_DIED, "its last line was: bye"),
        ("return {'doubled': 'x'}", WorldError, Code.CONVERSION_FAILED, "a result of another form"),
    ],
)
def test_what_goes_wrong_is_told(
    run: Run, code: str, kind: type[ModelfleetError], error: Code, reason: str
) -> None:
    with pytest.raises(kind) as caught:
        run(code)
    assert caught.value.code is error
    assert reason in caught.value.happened


def test_the_leash_kills_what_its_parent_leaves_behind(tmp_path: Path) -> None:
    """The parent is killed; what it started through the leash goes with it."""
    parent = (
        "import os, subprocess, sys\n"
        f"leash = [sys.executable, '-I', {str(SCRIPTS / 'leash.py')!r}, str(os.getpid())]\n"
        "forever = 'import signal; print(1, flush=True); signal.pause()'\n"
        "child = subprocess.Popen([*leash, sys.executable, '-c', forever], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(child, 0)
        process.send_signal(signal.SIGKILL)
    eventually(lambda: _gone(child), timeout=10, what="the child ends with its parent")


def test_the_leash_refuses_a_parent_that_is_gone_already() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPTS / "leash.py"), "1", "/bin/echo", "alive"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
