"""Ctrl-C leaves nothing of the demo running; `--keep` leaves everything, and says how to end it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from e2e.support import Process, eventually


def running_in(work: Path) -> list[int]:
    """Processes whose command line names the work folder; the demo itself, which names it too, excepted."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        inside = any(word.startswith(os.fsencode(work) + b"/") for word in words)
        if inside and b"demo" not in words and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(folder: Path, number: signal.Signals) -> None:
    with Process(["fleetctl", "demo", "--scenes", "1,2", "--work", folder / "w"], folder) as demo:
        eventually(lambda: "six cameras wait" in demo.stdout(), 90, what="the fleet is up")
        assert len(running_in(folder / "w")) > 12
        demo.signal(number)
        assert demo.wait(60) == 130
        assert "interrupted" in demo.stdout()
    assert running_in(folder / "w") == []


def test_a_kept_demo_goes_on_and_says_how_to_end_it(folder: Path) -> None:
    with Process(["fleetctl", "demo", "--scenes", "1", "--keep", "--work", folder / "w"], folder) as demo:
        assert demo.wait(90) == 0
        shown = demo.stdout()
    try:
        (url,) = set(re.findall(r"controller (http://\S+),", shown))
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        assert len(re.findall(r"http://127\.0\.0\.1:\d+, socket", shown)) == 6
    finally:
        (told,) = re.findall(r"end it: kill ([\d ]+)", shown)
        assert set(map(int, told.split())) >= set(running_in(folder / "w"))
        for pid in running_in(folder / "w"):
            os.kill(pid, signal.SIGTERM)
    eventually(lambda: running_in(folder / "w") == [], 30, what="all have ended")
