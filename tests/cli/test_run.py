"""How a command line ends when it does not end by itself, and what is shown while it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetctl.build.progress import shown as build_shown
from fleetctl.progress import shown
from fleetctl.rollout import source
from fleetctl.terminal import Terminal
from modelfleet_build.progress import Happening, ProgressEvent, Step
from modelfleet_core.clock import ManualClock

from tests.cli.kit import Cli, Stream, rollout


def _terminal(*, tty: bool) -> tuple[Terminal, Stream]:
    err = Stream(tty=tty)
    return Terminal(Stream(), Stream(), err, width=120), err


def test_ctrl_c_is_130(person: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    person.controller.rollouts = [rollout()]

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "is_over", interrupt)
    for tty in (False, True):
        ended = person("rollout", "watch", "ro_01", tty=tty)
        assert ended.code == 130
        assert "Traceback" not in ended.err


def test_a_fault_of_ours_is_not_hidden(person: Cli) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    person.controller.answer = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        person("release", "list")


@pytest.mark.parametrize("command", [["context", "list"], ["context", "list", "-o", "json"]])
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fleetctl", *command],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "PATH": os.defpath},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_build_tells_one_line_per_change() -> None:
    terminal, err = _terminal(tty=False)
    clock = ManualClock()
    with build_shown(terminal, clock, "build x:1") as sink:
        sink(ProgressEvent(Step.CONVERT, Happening.STARTED, 0.1, "a.int8"))
        for number in range(20):
            clock.advance(1)
            sink(ProgressEvent(Step.CONVERT, Happening.GOING_ON, 0.1, "a.int8", f"round {number}"))
        sink(ProgressEvent(Step.CONVERT, Happening.REFUSED, 0.5, "a.int8", "too slow"))
        sink(ProgressEvent(Step.CONVERT, Happening.REFUSED, 0.5, "a.int8", "too slow"))
    lines = err.getvalue().splitlines()
    assert lines[0] == "[ 10 %] convert a.int8: started"
    assert lines[-1] == "[ 50 %] convert a.int8: refused, too slow"
    assert len(lines) == 2 + 4, "what goes on is told every five seconds"


def test_a_build_has_a_bar_on_a_terminal_and_keeps_refusals() -> None:
    terminal, err = _terminal(tty=True)
    with build_shown(terminal, ManualClock(), "build x:1") as sink:
        sink(ProgressEvent(Step.CONVERT, Happening.STARTED, 0.1, "[red]a.int8"))
        sink(ProgressEvent(Step.CONVERT, Happening.REFUSED, 0.5, "a.int8", "too slow"))
    assert "convert a.int8: refused, too slow\n" in err.getvalue()
    assert "50%" in err.getvalue()


def test_a_push_has_a_bar_on_a_terminal() -> None:
    terminal, err = _terminal(tty=True)
    with shown(terminal, "push x:1") as sink:
        sink("model.onnx", 0, 4)
        sink("\x1b[31mevil", 4, 4)
    assert "push x:1" in err.getvalue()
    assert "\x1b[31mevil" not in err.getvalue()
