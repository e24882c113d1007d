"""A real program under test: started, awaited, shown when it fails, and always ended.

The convention (docs/adr/0005): a program that serves takes port 0, and when it is ready it prints one line
of JSON `{"ready": {...}}` on stdout with the addresses it got. Everything else it has to say goes to stderr,
which is kept in a file and shown when something goes wrong.

Ends only what it started: the program leads a process group of its own, and signals go to that pid or group.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_SHOWN = 8_000  # characters of stderr in a message


class ProcessDied(AssertionError):
    """The program ended, or stayed silent, where it should have got ready; holds its exit code and stderr."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The body of the readiness line: what the program says about itself, e.g. its `url` and `pid`."""

    fields: Mapping[str, object]

    def text(self, key: str) -> str:
        """Return the string under `key`; a missing or differently typed one is the program's fault."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise AssertionError(f"readiness line holds no text {key!r}: {dict(self.fields)}")
        return value

    def number(self, key: str) -> int:
        """Return the integer under `key`."""
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise AssertionError(f"readiness line holds no integer {key!r}: {dict(self.fields)}")
        return value


class Process:
    """One program. Use it as a context manager, or call `terminate` or `kill` yourself.

    Args:
        command: the program and its arguments; never a shell string. A first word without a slash that lies
            beside the running Python (`fleetctl`, `modelfleet-agent`) is taken from there.
        folder: where `NAME.stdout` and `NAME.stderr` are kept; appended to when the same name starts again.
        name: for messages and file names; the program's name if left out.
        env: added to this process's environment.
        cwd: its working directory.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        folder: Path,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        words = [os.fspath(word) for word in command]
        if not words:
            raise ValueError("the command is empty")
        beside = Path(sys.executable).parent / words[0]
        if "/" not in words[0] and beside.exists():
            words[0] = str(beside)
        self.name = name or Path(words[0]).name
        self.command = tuple(words)
        folder.mkdir(parents=True, exist_ok=True)
        self.stdout_path = folder / f"{self.name}.stdout"
        self.stderr_path = folder / f"{self.name}.stderr"
        self._stdout_from = self.stdout_path.stat().st_size if self.stdout_path.exists() else 0
        self._stderr_from = self.stderr_path.stat().st_size if self.stderr_path.exists() else 0
        self._has_line = threading.Event()
        self._line: str | None = None
        with self.stderr_path.open("ab") as stderr:
            self._popen = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                start_new_session=True,
            )
        assert self._popen.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._popen.stdout,), name=f"stdout of {self.name}", daemon=True
        )
        self._reader.start()

    def _read(self, stdout: IO[bytes]) -> None:
        """Keep stdout in its file and hand over the first line that looks like the readiness line."""
        with stdout, self.stdout_path.open("ab", buffering=0) as kept:
            for line in stdout:
                kept.write(line)
                if not self._has_line.is_set() and line.lstrip().startswith(b'{"ready"'):
                    self._line = line.decode("utf-8", "replace")
                    self._has_line.set()
        self._has_line.set()

    @property
    def pid(self) -> int:
        """Process id of the program, which is also its process group's id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Tell whether the program has not ended yet."""
        return self.returncode is None

    def ready(self, timeout: float = 60.0) -> Ready:
        """Wait for the readiness line and return its body.

        Raises:
            ProcessDied: the program ended first, the line did not come within `timeout` seconds, or it was
                not `{"ready": {...}}`. The message ends with the program's stderr.
        """
        if not self._has_line.wait(timeout):
            raise ProcessDied(self._describe(f"printed no readiness line within {timeout:g} s"))
        if self._line is None:
            raise ProcessDied(self._describe(f"ended with {self._popen.wait(10)} before it was ready"))
        try:
            body = json.loads(self._line)["ready"]
        except (ValueError, KeyError) as error:
            raise ProcessDied(self._describe(f"printed a broken readiness line: {self._line!r}")) from error
        if not isinstance(body, dict):
            raise ProcessDied(self._describe(f"printed a readiness line without an object: {self._line!r}"))
        return Ready(body)

    def stdout(self) -> str:
        """Return what this run has printed on stdout so far."""
        return self._since(self.stdout_path, self._stdout_from)

    def stderr(self) -> str:
        """Return what this run has printed on stderr so far."""
        return self._since(self.stderr_path, self._stderr_from)

    @staticmethod
    def _since(path: Path, offset: int) -> str:
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the program ends by itself and return its exit code.

        Raises:
            ProcessDied: it still runs after `timeout` seconds (it goes on running).
        """
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessDied(self._describe(f"still runs after {timeout:g} s")) from None
        self._reader.join(timeout=5)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children; nothing happens if it has ended."""
        self._popen.send_signal(number)

    def terminate(self, timeout: float = 20.0) -> int:
        """Ask the program to end (SIGTERM), wait, and return its exit code; then end the rest of its group.

        Raises:
            ProcessDied: it did not end within `timeout` seconds; it has been killed by then.
        """
        self._popen.terminate()
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessDied(self._describe(f"ignored SIGTERM for {timeout:g} s and was killed")) from None
        self._end_group()
        self._reader.join(timeout=5)
        return code

    def kill(self) -> int:
        """Kill the program and what is left of its process group (SIGKILL); return its exit code."""
        self._end_group()
        code = self._popen.wait(10)
        self._reader.join(timeout=5)
        return code

    def kill_alone(self) -> int:
        """Kill only the program (SIGKILL) and leave its children running, as a crash would."""
        self._popen.kill()
        return self._popen.wait(10)

    def _end_group(self) -> None:
        # Until the group is empty its id cannot be taken by another, even after the leader has been reaped.
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _describe(self, happened: str) -> str:
        said = self.stderr()
        cut = f"... {len(said) - _SHOWN} characters before\n" if len(said) > _SHOWN else ""
        return (
            f"{self.name} (pid {self.pid}) {happened}\n"
            f"command: {' '.join(self.command)}\n"
            f"stderr ({self.stderr_path}):\n{cut}{said[-_SHOWN:] or '(nothing)'}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and error is not None:
            error.add_note(
                self._describe("was running" if self.running else f"had ended with {self.returncode}")
            )
        if self.running:
            self.kill()
        else:
            self._end_group()
            self._reader.join(timeout=5)
