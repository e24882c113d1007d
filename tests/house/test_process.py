"""`Process`: starts a real program, waits for its readiness line, shows its stderr, ends all it started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from e2e.support import Process, ProcessDied, eventually

READY = 'print(\'{"ready": {"url": "http://127.0.0.1:1", "workers": 2}}\', flush=True)'
FOREVER = "import signal; signal.pause()"


def python(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(lines)]


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and awaits its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_readiness_line_is_found_among_other_output(tmp_path: Path) -> None:
    with Process(python("print('hello')", READY, "print('on')", FOREVER), tmp_path) as process:
        ready = process.ready(20)
        assert ready.text("url") == "http://127.0.0.1:1"
        assert ready.number("workers") == 2
        assert eventually(lambda: "on\n" in process.stdout(), timeout=10)
        assert process.running
    assert not process.running


def test_a_field_of_another_type_is_an_error(tmp_path: Path) -> None:
    with Process(python(READY, FOREVER), tmp_path) as process:
        ready = process.ready(20)
        with pytest.raises(AssertionError, match="no integer 'url'"):
            ready.number("url")
        with pytest.raises(AssertionError, match="no text 'pid'"):
            ready.text("pid")


def test_a_program_that_dies_first_is_shown_with_its_stderr(tmp_path: Path) -> None:
    dies = python("import sys", "print('the port is taken', file=sys.stderr)", "sys.exit(3)")
    with (
        Process(dies, tmp_path, name="server") as process,
        pytest.raises(
            ProcessDied, match=r"(?s)server .* ended with 3 before it was ready.*the port is taken"
        ),
    ):
        process.ready(20)


def test_a_silent_program_is_given_up(tmp_path: Path) -> None:
    with (
        Process(python(FOREVER), tmp_path) as process,
        pytest.raises(ProcessDied, match=r"no readiness line within 0\.2 s"),
    ):
        process.ready(0.2)


@pytest.mark.parametrize("line", ['{"ready"', '{"ready": 3}'])
def test_a_broken_readiness_line_is_refused(tmp_path: Path, line: str) -> None:
    with (
        Process(python(f"print({line!r}, flush=True)", FOREVER), tmp_path) as process,
        pytest.raises(ProcessDied, match="readiness line"),
    ):
        process.ready(20)


def test_terminate_lets_the_program_end_by_itself(tmp_path: Path) -> None:
    ends = python(
        "import signal, sys",
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(7))",
        READY,
        "signal.pause()",
    )
    with Process(ends, tmp_path) as process:
        process.ready(20)
        assert process.terminate() == 7


def test_terminate_kills_what_ignores_it_and_says_so(tmp_path: Path) -> None:
    stubborn = python(
        "import signal", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", READY, "while True: signal.pause()"
    )
    with Process(stubborn, tmp_path) as process:
        process.ready(20)
        with pytest.raises(ProcessDied, match="ignored SIGTERM"):
            process.terminate(timeout=0.2)
        assert process.returncode == -signal.SIGKILL


def test_leaving_ends_the_children_too(tmp_path: Path) -> None:
    parent = python(
        "import subprocess, sys",
        f"child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}])",
        'print(\'{"ready": {"child": %d}}\' % child.pid, flush=True)',
        "child.wait()",
    )
    with Process(parent, tmp_path) as process:
        child = process.ready(20).number("child")
        assert alive(child)
        assert os.getpgid(child) == process.pid != os.getpgid(0)
        assert process.kill_alone() == -signal.SIGKILL
        assert alive(child), "a crash of the parent leaves its children"
    eventually(lambda: not alive(child), timeout=10)


def test_a_failure_carries_what_the_program_said(tmp_path: Path) -> None:
    talks = python("import sys", "print('disk is full', file=sys.stderr, flush=True)", READY, FOREVER)

    def fails() -> None:
        with Process(talks, tmp_path) as process:
            process.ready(20)
            raise KeyError("a test that fails")

    with pytest.raises(KeyError) as caught:
        fails()
    assert "disk is full" in "\n".join(caught.value.__notes__)


def test_each_start_under_one_name_reads_its_own_output(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with Process(python(f"print({word!r})"), tmp_path, name="agent") as process:
            assert process.wait(20) == 0
            assert process.stdout() == f"{word}\n"
    assert (tmp_path / "agent.stdout").read_text() == "first\nsecond\n"


def test_environment_is_added_to(tmp_path: Path) -> None:
    shows = python("import os", "print(os.environ['FLEET'], 'PATH' in os.environ)")
    with Process(shows, tmp_path, env={"FLEET": "north"}) as process:
        assert process.wait(20) == 0
        assert process.stdout() == "north True\n"
