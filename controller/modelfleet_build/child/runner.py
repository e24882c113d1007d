"""Starts a child process, watches its time and memory, and leaves nothing of it behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelfleet_build.child.jobs import (
    JOB_FILE,
    MAX_RESULT_BYTES,
    RESULT_FILE,
    Blame,
    ChildError,
    Job,
    Line,
    Result,
)
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError, WorldError
from modelfleet_core.wire import codec

_LOG_FILE = "log.txt"
_LOOK_EVERY_S = 0.1
_MAX_LINE = 4096
_LOG_TAIL = 600
# Above the watched limit, so that the watch and not a failed allocation tells the story.
_HEADROOM_BYTES = 2 * 1024**3
_BLAMES: dict[Blame, type[ModelfleetError]] = {
    Blame.CALLER: CallerError,
    Blame.INTEGRITY: IntegrityError,
    Blame.WORLD: WorldError,
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a child may take: wall-clock seconds, and resident bytes of it and its children together."""

    seconds: float
    memory_bytes: int


def run(
    job: Job,
    allowance: Allowance,
    clock: Clock,
    tell: Callable[[str], None],
    stop: threading.Event | None = None,
) -> Result:
    """Run a job in a child process and wait for it.

    Args:
        job: The job; its `data_limit_bytes` is set here.
        allowance: The child's group is killed beyond it.
        clock: For the deadline.
        tell: Takes the child's sentences of progress.
        stop: The child is killed as soon as it is set.

    Returns:
        The result, never one with an error.

    Raises:
        ModelfleetError: The child's own; or WorldError MF-1433 (time), MF-1434 (memory), MF-1435 (died),
            MF-5012 (stopped).
    """
    folder = Path(job.folder)
    job = replace(job, data_limit_bytes=allowance.memory_bytes + _HEADROOM_BYTES)
    (folder / JOB_FILE).write_bytes(codec.encode(job))
    log = folder / _LOG_FILE
    reader, writer = os.pipe()
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "modelfleet_build.child",
                    str(folder),
                    str(writer),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(folder),
                pass_fds=(writer,),
                start_new_session=True,
            )
        os.close(writer)
        writer = -1
        try:
            _watch(process, reader, allowance, clock, tell, stop or threading.Event())
        finally:
            _end(process)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return _result(folder, process.returncode, log)


def group_rss(leader: int) -> int:
    """Resident bytes of a process and all its descendants; 0 where the system does not tell."""
    total, waiting = 0, [leader]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting.extend(int(item) for item in (task / "children").read_text().split())
    return total * os.sysconf("SC_PAGE_SIZE")


def _watch(
    process: subprocess.Popen[bytes],
    reader: int,
    allowance: Allowance,
    clock: Clock,
    tell: Callable[[str], None],
    stop: threading.Event,
) -> None:
    deadline = clock.monotonic() + allowance.seconds
    pending = b""
    open_pipe = True
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if open_pipe and selector.select(_LOOK_EVERY_S):
                data = os.read(reader, 65536)
                open_pipe = bool(data)
                pending = _forward(pending + data, tell)
            elif not open_pipe:
                # A child that closed its pipe is about to end; a descendant may live on without it.
                clock.wait(_LOOK_EVERY_S / 10)
            if _has_ended(process):
                return
            if stop.is_set():
                raise _killed(
                    Code.CANCELLED,
                    "the process was killed because the build ended",
                    "a build that goes on",
                    "run it again",
                )
            if clock.monotonic() > deadline:
                raise _killed(
                    Code.CONVERSION_TIMEOUT,
                    f"the process was killed after {allowance.seconds:g} s",
                    f"an end within {allowance.seconds:g} s",
                    "raise the time limit of the build, or leave this class or precision out",
                )
            rss = group_rss(process.pid)
            if rss > allowance.memory_bytes:
                raise _killed(
                    Code.CONVERSION_MEMORY,
                    f"the process was killed when it held {rss // 2**20} MiB of memory",
                    f"at most {allowance.memory_bytes // 2**20} MiB",
                    "raise the memory limit of the build, or leave this class or precision out",
                )


def _forward(data: bytes, tell: Callable[[str], None]) -> bytes:
    """Pass complete lines on; returns the rest."""
    *lines, rest = data.split(b"\n")
    for line in lines:
        with suppress(ModelfleetError):
            tell(codec.decode(line, Line, what="progress", limit=_MAX_LINE).text)
    return rest[-_MAX_LINE:]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader ended. It is not reaped yet, so its group id cannot belong to anybody else."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the group, then reap the leader."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """A fresh environment: nothing of the caller's (tokens, proxies) reaches a converter."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


def _result(folder: Path, code: int, log: Path) -> Result:
    path = folder / RESULT_FILE
    if not path.is_file():
        ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        last = log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace").strip().splitlines()
        said = f"; its last line was: {last[-1][:300]}" if last else ""
        raise _killed(
            Code.CONVERSION_DIED,
            f"the process ended {ended} without a result{said}",
            "a conversion that ends by itself",
            "leave this class or precision out, or report the model",
        )
    result = codec.decode(path.read_bytes(), Result, what=RESULT_FILE, limit=MAX_RESULT_BYTES)
    if result.error is not None:
        raise _as_error(result.error)
    return result


def _as_error(error: ChildError) -> ModelfleetError:
    kind = _BLAMES[error.blame]
    return kind(Code(error.code), error.happened, expected=error.expected, todo=error.todo)


def _killed(code: Code, happened: str, expected: str, todo: str) -> WorldError:
    return WorldError(code, happened, expected=expected, todo=todo)
