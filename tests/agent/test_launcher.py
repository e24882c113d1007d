"""Serve is started once, detached, and left alone where one runs."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from modelfleet_agent.supervisor.launcher import LOCK, LOG, MAX_LOG, SAID, DetachedServe
from modelfleet_core.clock import ManualClock

from e2e.support import eventually

PROGRAM = """
import fcntl, json, os, sys
lock = open(sys.argv[1] + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
open(sys.argv[1] + "/starts", "a").write("x")
print(json.dumps({"ready": {"http": "http://127.0.0.1:8500"}}), flush=True)
print("a word on stderr", file=sys.stderr)
if sys.argv[2] == "stays":
    open(sys.argv[1] + "/pid", "w").write(f"{os.getpid()} {os.getsid(0)}")
    import signal; signal.pause()
"""


def launcher(folder: Path, clock: ManualClock, what: str, *, managed: bool = False) -> DetachedServe:
    command = (sys.executable, "-c", PROGRAM, str(folder), what)
    return DetachedServe(folder, command, clock, managed=managed)


def starts(folder: Path) -> int:
    path = folder / "starts"
    return len(path.read_text()) if path.exists() else 0


def test_serve_is_started_detached_and_only_once(tmp_path: Path) -> None:
    one = launcher(tmp_path, ManualClock(), "stays")
    one.ensure()
    text = eventually(lambda: (tmp_path / "pid").read_text(), ignoring=(FileNotFoundError,))
    pid, session = (int(word) for word in text.split())
    try:
        assert session == pid  # a session of its own: no signal of ours reaches it
        assert one.address() == "http://127.0.0.1:8500"
        one.ensure()
        launcher(tmp_path, ManualClock(), "stays").ensure()  # a later supervisor
        assert starts(tmp_path) == 1
        assert "a word on stderr" in (tmp_path / LOG).read_text()
    finally:
        os.kill(pid, 9)
        assert one._child is not None
        one._child.wait(10)


def test_a_serve_that_ends_at_once_is_not_started_in_a_loop(tmp_path: Path) -> None:
    clock = ManualClock()
    one = launcher(tmp_path, clock, "ends")
    early = 0
    for round_ in range(40):
        one.ensure()
        if one._child is not None:
            one._child.wait(10)
        clock.advance(0.5)
        if round_ == 20:
            early = starts(tmp_path)
    assert 3 <= early <= 5  # after 1, 2, 4 ... seconds
    assert starts(tmp_path) <= early + 2


def test_a_managed_serve_is_only_waited_for(tmp_path: Path) -> None:
    launcher(tmp_path, ManualClock(), "stays", managed=True).ensure()
    assert not (tmp_path / SAID).exists()


def test_one_that_is_starting_counts(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        launcher(tmp_path, ManualClock(), "stays").ensure()
    assert starts(tmp_path) == 0


def test_a_program_that_does_not_exist_raises_nothing(tmp_path: Path) -> None:
    one = DetachedServe(tmp_path, ("/does/not/exist",), ManualClock())
    one.ensure()
    assert one.address() is None


def test_the_log_is_turned_over(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b"x" * (MAX_LOG + 1))
    one = launcher(tmp_path, ManualClock(), "ends")
    one.ensure()
    assert one._child is not None
    one._child.wait(10)
    assert (tmp_path / LOG).stat().st_size < 1000
    assert (tmp_path / "serve.old").stat().st_size == MAX_LOG + 1
