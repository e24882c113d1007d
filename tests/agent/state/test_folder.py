"""The state directory: one agent, one version, files whole or absent."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelfleet_agent.state.files import read_limited, write_atomic
from modelfleet_agent.state.folder import SCHEMA, Lock, holder, prepare
from modelfleet_core.errors import CallerError, WorldError


def test_a_new_state_directory_is_private_and_has_a_version(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "deep" / "state")
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    assert folder.version.read_text() == f"{SCHEMA}\n"
    for path in (
        folder.journal,
        folder.store,
        folder.outbox,
        folder.serve,
        folder.requests,
        folder.key.parent,
    ):
        assert path.is_dir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert prepare(folder.root) == folder


def test_a_state_directory_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "version").write_text(f"{SCHEMA + 1}\n")
    with pytest.raises(CallerError, match="MF-3002") as refused:
        prepare(tmp_path)
    assert f"layout {SCHEMA + 1}" in refused.value.happened
    assert "newer agent" in refused.value.todo
    assert [path.name for path in tmp_path.iterdir()] == ["version"]


@pytest.mark.parametrize("text", ["", "one", "-1", "1.0", "9" * 100])
def test_a_version_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "version").write_text(text)
    with pytest.raises(WorldError, match="MF-3004"):
        prepare(tmp_path)


def test_two_agents_on_one_state_directory_are_refused(tmp_path: Path) -> None:
    path = prepare(tmp_path).lock
    assert holder(path) is None
    with Lock.acquire(path):
        assert holder(path) == os.getpid()
        with pytest.raises(CallerError, match="MF-3003") as refused:
            Lock.acquire(path)
        assert str(os.getpid()) in refused.value.happened
    assert holder(path) is None
    Lock.acquire(path).release()


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = prepare(tmp_path).lock
    code = (
        "import pathlib, sys; from modelfleet_agent.state.folder import Lock;"
        "lock = Lock.acquire(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        assert child.stdout.readline() == b"held\n"
        assert holder(path) == child.pid
        with pytest.raises(CallerError, match="MF-3003"):
            Lock.acquire(path)
        child.kill()
        child.wait(10)
    Lock.acquire(path).release()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"old")
    write_atomic(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WorldError, match="MF-5001"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_trouble_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="MF-3004"):
        write_atomic(tmp_path / "none" / "a", b"x")


def test_reading_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert read_limited(path, 3) is None
    path.write_bytes(b"abc")
    assert read_limited(path, 3) == b"abc"
    with pytest.raises(WorldError, match="MF-3004"):
        read_limited(path, 2)
    with pytest.raises(WorldError, match="MF-3004"):
        read_limited(tmp_path, 2)
