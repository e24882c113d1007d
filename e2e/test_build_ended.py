"""A build that is ended from outside leaves nothing behind: no half folder, no converter that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.support import eventually

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
# A runner started by `nohup`, or behind `&` in a script, hands its ignored signals on to what it starts.
HANDLED = (
    "import os, signal, sys\n"
    "for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):\n"
    "    signal.signal(number, signal.SIG_DFL)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.mark.parametrize("ended_by", CODES, ids=lambda number: str(number.name).lower())
def test_a_build_that_is_ended_leaves_nothing(tmp_path: Path, ended_by: signal.Signals) -> None:
    output = tmp_path / "release"
    command = [
        *(sys.executable, "-c", HANDLED, "-m", "fleetctl", "build", str(DIGITS / "digits-1.1.onnx")),
        *("--name", "digits", "--version", "1.1", "--class", "x86-openvino", "--class", "arm-litert"),
        *("--calibration", str(DIGITS / "calibration.npz"), "--validation", str(DIGITS / "validation.npz")),
        *("-O", str(output)),
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    build = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        # Both classes are at work, each with a child of its own.
        eventually(lambda: len(children(tmp_path)) >= 2, timeout=60)
        build.send_signal(ended_by)
        code = build.wait(timeout=60)
    finally:
        if build.poll() is None:
            build.kill()
        _, told = build.communicate()
    assert code == CODES[ended_by], told.decode()
    assert b"Traceback" not in told
    assert not output.exists()
    assert not list(tmp_path.glob(".release.partial-*"))
    eventually(lambda: not children(tmp_path), timeout=20)


def children(folder: Path) -> list[str]:
    """Command lines of the builder's children that work below a folder."""
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if "modelfleet_build.child" in line and str(folder) in line:
                found.append(line)
    return found
