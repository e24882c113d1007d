"""What the Makefile runs: locks without addresses, an environment that knows when it is stale."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT
from tools import relock, setup_env
from tools.check import PARTS


def test_common_restrictions_leave_the_lock_and_special_ones_stay() -> None:
    systems = "(sys_platform == 'darwin' or sys_platform == 'linux')"
    python = "implementation_name == 'cpython' and platform_python_implementation == 'CPython'"
    text = (
        f"h11==0.16.0 ; python_full_version < '3.15' and {python} and {systems} \\\n"
        "    --hash=sha256:aa\n"
        f"scipy==1.17.1 ; python_full_version < '3.12' and {python} and {systems} \\\n"
        "    --hash=sha256:bb\n"
    )
    assert relock.tidy(text) == (
        "h11==0.16.0 \\\n    --hash=sha256:aa\n"
        "scipy==1.17.1 ; python_full_version < '3.12' \\\n    --hash=sha256:bb\n"
    )


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("--index-url x", True),
        ("h11 @ https://host/h11.whl", True),
        ("-e .", True),
        ("h11==0.16.0 \\", False),
        ("    --hash=sha256:aa", False),
    ],
)
def test_addresses_and_options_are_seen(line: str, bad: bool) -> None:
    assert bool(relock.FOREIGN.search(f"a==1\n{line}\n")) is bad


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a lock, a project file and an environment that starts."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("h11==0.16.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv").mkdir()
    for name, path in {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "LOCK": tmp_path / "requirements" / "dev.txt",
        "STAMP": tmp_path / ".venv" / "stamp",
        "UNFINISHED": tmp_path / ".venv" / "unfinished",
    }.items():
        monkeypatch.setattr(setup_env, name, path)
    monkeypatch.setattr(setup_env, "runs", lambda: True)
    setup_env.STAMP.write_text(setup_env.key())
    return tmp_path


def test_a_finished_environment_is_left_alone(place: Path) -> None:
    assert setup_env.is_current()


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_a_changed_lock_or_project_file_is_noticed(place: Path, changed: str) -> None:
    (place / changed).write_text("other\n")
    assert not setup_env.is_current()


def test_an_interrupted_set_up_is_noticed(place: Path) -> None:
    setup_env.UNFINISHED.touch()
    assert not setup_env.is_current()


def test_a_moved_checkout_is_noticed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env, "ROOT", place / "requirements" / "..")
    assert not setup_env.is_current()


def test_progress_counts_what_pip_says() -> None:
    progress = setup_env.Progress(3)
    try:
        progress.line("Collecting h11==0.16.0 (from -r requirements/dev.txt (line 1))")
        progress.line("  Downloading openvino-2026.4.1-cp311-manylinux.whl (59.1 MB)")
        assert (progress.seen, progress.what) == (1, "openvino, 59.1 MB")
        progress.line("Requirement already satisfied: numpy==2.4.6 in ./x")
        progress.line("Installing collected packages: a, b")
        assert (progress.seen, progress.what) == (2, "unpacking")
    finally:
        progress.close()


def check(folder: Path, failing: str = "") -> subprocess.CompletedProcess[str]:
    """Run `tools/check.py` beside a Makefile whose targets only say their names."""
    rules = [f"{part}:\n\t@echo this is {part}{'; false' if part == failing else ''}" for part in PARTS]
    (folder / "Makefile").write_text("\n".join(rules) + "\n")
    command = [sys.executable, str(ROOT / "tools" / "check.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_check_ends_with_the_tests_and_tells_every_time(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "this is test"
    assert re.search(
        r"all passed in \d+ s: setup \d+ s, lint \d+ s, types \d+ s, docs \d+ s, test", done.stderr
    )


@pytest.mark.parametrize("part", PARTS)
def test_check_stops_where_a_part_fails(tmp_path: Path, part: str) -> None:
    done = check(tmp_path, failing=part)
    assert done.returncode != 0
    assert f"make {part} failed" in done.stdout
    assert [word for word in PARTS if f"this is {word}" in done.stdout] == list(
        PARTS[: PARTS.index(part) + 1]
    )


def test_an_isolated_lock_keeps_whole_requirements_and_no_other() -> None:
    text = (
        "torch==2.13.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "torchvision==1.0 \\\n    --hash=sha256:cc\n"
        "nvidia-cublas==13.1 ; sys_platform == 'linux' \\\n    --hash=sha256:dd\n"
    )
    assert relock.kept(text, ["torch", "nvidia-*"]) == (
        "torch==2.13.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "nvidia-cublas==13.1 ; sys_platform == 'linux' \\\n    --hash=sha256:dd\n"
    )
