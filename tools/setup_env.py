"""Make the environment `.venv` from the locked requirements. Standard library only; run by `make setup`.

Says what it is doing: 140 packages and half a gigabyte take minutes, so a line moves on a terminal and one
comes every ten seconds elsewhere. An installation that was interrupted leaves a mark, and the next run starts
the environment anew instead of trusting half-written packages. Two runs at once wait for one another.

Refuses a Python it was not locked for, an environment without `venv`, and packages whose hash is not in the
lock file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / ".modelfleet-setup"  # holds the key of what is installed
UNFINISHED = VENV / ".modelfleet-unfinished"
OLDEST, NEWEST = (3, 11), (3, 14)


def key() -> str:
    """Return what the environment depends on, as one digest: lock, project file, interpreter, place."""
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(f"{sys.version_info[:2]} {ROOT}".encode())
    return digest.hexdigest()


def is_current() -> bool:
    """Tell whether the environment is finished and made from exactly these files."""
    return not UNFINISHED.exists() and STAMP.is_file() and STAMP.read_text() == key() and runs()


def runs() -> bool:
    """Tell whether the environment's interpreter starts (a moved folder or a removed Python breaks it)."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    return (
        subprocess.run(
            [python, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('pip') is None)"],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


class Progress:
    """One line that says how far the installation is."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = 0
        self.what = "starting pip"
        self.begun = time.monotonic()
        self._live = sys.stdout.isatty()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """Take one line of pip's output."""
        if match := re.match(r"\s*(?:Collecting|Requirement already satisfied:) ([\w.-]+)", text):
            self.seen = min(self.seen + 1, self.total)
            self.what = match[1]
        elif match := re.match(r"\s*(?:Downloading|Using cached) (\S+) \(([^)]+)\)", text):
            self.what = f"{match[1].rsplit('/', 1)[-1].split('-')[0]}, {match[2]}"
        elif text.startswith("Installing collected packages"):
            self.what = "unpacking"

    def _tick(self) -> None:
        while not self._done.wait(0.2 if self._live else 10):
            self._show()

    def _show(self) -> None:
        seconds = time.monotonic() - self.begun
        text = f"  {self.seen:3d} of {self.total} packages, {seconds:4.0f} s: {self.what}"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", flush=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        if self._live:
            print("\r\x1b[K", end="", flush=True)


def pip(*arguments: str, progress: Progress | None = None) -> None:
    """Run pip in the environment; on failure show the end of what it said and stop."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line)
            if progress:
                progress.line(line)
    if progress:
        progress.close()
    if process.returncode:
        sys.stdout.writelines(tail)
        raise SystemExit(
            f"make setup: pip stopped with {process.returncode} (its last words are above).\n"
            "Expected: the packages of requirements/dev.txt, from the index that pip is set up to use.\n"
            "Look at the network or at `pip config list`, then run the same command again."
        )


def create() -> None:
    """Make an empty environment, or keep a sound one."""
    if UNFINISHED.exists():
        print("The last set-up was interrupted; starting the environment anew.", flush=True)
        shutil.rmtree(VENV)
    elif VENV.exists() and not runs():
        print("The environment no longer starts; making it anew.", flush=True)
        shutil.rmtree(VENV)
    if VENV.exists():
        return
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SystemExit(
            f"make setup: this Python ({sys.executable}) cannot make a virtual environment:\n"
            f"{(made.stdout + made.stderr).strip()}\n"
            "Expected: the modules venv and ensurepip. On Debian and Ubuntu: apt-get install python3-venv"
        )


def main() -> None:
    """Bring the environment up to date, or do nothing when it is."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        raise SystemExit(
            f"make setup: this is Python {version[0]}.{version[1]} ({sys.executable}).\n"
            f"Expected: {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}.\n"
            "Name another one: make setup PYTHON=python3.12"
        )
    if is_current():
        return
    with (ROOT / ".venv.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if is_current():  # another run did it while we waited
            return
        begun = time.monotonic()
        count = LOCK.read_text().count("==")
        print(f"Setting up .venv: {count} locked packages, about 0.5 GB to fetch the first time.", flush=True)
        create()
        UNFINISHED.touch()
        STAMP.unlink(missing_ok=True)
        # The lock is complete and `pip check` proves it; left to resolve, pip may take a newer release of a
        # package that another one names with an extra, and stop for want of its hash.
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--progress-bar=off"]
        pip("install", *options, "-r", str(LOCK.relative_to(ROOT)), progress=Progress(count))
        pip("install", "--no-deps", "--no-build-isolation", "--no-index", "-e", ".")
        pip("check")
        STAMP.write_text(key())
        UNFINISHED.unlink()
        os.sync()
        print(f"Set up in {time.monotonic() - begun:.0f} s.", flush=True)


if __name__ == "__main__":
    main()
