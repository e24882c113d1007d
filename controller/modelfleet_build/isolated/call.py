"""Calls a script in an isolated environment: a job file in, a result file out, progress over a pipe.

Runs inside a child process of the builder (`child.runner`), whose limits of time and memory count for it too;
when that child is killed, the kernel kills the script.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modelfleet_build.isolated.tools import SCRIPTS
from modelfleet_build.port import Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.wire import codec

_LEASH, _START = SCRIPTS / "leash.py", SCRIPTS / "start.py"
_MAX_RESULT_BYTES = 4 * 1024 * 1024
_MAX_LINE = 4096
_LOG_TAIL = 4000

R = TypeVar("R")

# What a script may refuse, by the kind that it names.
REFUSALS: dict[str, Code] = {
    "companion": Code.COMPANION_INVALID,
    "operator": Code.OPERATOR_UNSUPPORTED,
    "hook": Code.HOOK_INVALID,
}


@dataclass(frozen=True, slots=True)
class _Line:
    text: str


@dataclass(frozen=True, slots=True)
class _Refused:
    kind: str
    happened: str
    expected: str
    todo: str


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a script ended, without what it did: `start.py` says which of the two."""

    refused: _Refused | None = None
    failed: str | None = None


def call(
    python: Path, script: str, job: object, folder: Path, kind: type[R], tell: Tell, threads: int = 1
) -> R:
    """Run a script of `isolated/scripts` and wait for it.

    Args:
        python: Interpreter of the environment.
        script: File name of the script.
        job: Becomes `job.json`; a dataclass.
        folder: New or empty folder for job, result, log and whatever the script leaves there.
        kind: What the script returns.
        tell: Takes the script's sentences of progress.
        threads: Of the numeric libraries.

    Raises:
        CallerError: The script refused its input (`REFUSALS`).
        WorldError: MF-1432, it failed, or its result is not of that kind; MF-1435, it ended without one.
    """
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_bytes(codec.encode(job))
    log = folder / "log.txt"
    reader, writer = os.pipe()
    # -I would ignore the fixed hash seed, on which the order of a file's parts may depend.
    command = [sys.executable, "-I", str(_LEASH), str(os.getpid())]
    command += [str(python), "-s", "-P", str(_START), str(SCRIPTS / script), str(folder), str(writer)]
    with os.fdopen(reader, "rb") as lines, log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment(folder, threads),
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        try:
            while line := lines.readline(_MAX_LINE):
                with suppress(ModelfleetError):
                    tell(codec.decode(line, _Line, what="progress").text)
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return _result(folder, script, kind, status, log)


def environment(folder: Path, threads: int = 1) -> dict[str, str]:
    """Of a foreign program: nothing of the caller's, and nothing of ours, such as our packages."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
    }


def _result(folder: Path, script: str, kind: type[R], status: int, log: Path) -> R:
    path = folder / "result.json"
    if not path.is_file():
        raise WorldError(
            Code.CONVERSION_DIED,
            f"{script} ended with status {status} in its isolated environment, without a result{last(log)}",
            expected="a result file",
            todo="leave this class or precision out, or report the model",
        )
    data = path.read_bytes()
    ended = codec.decode(data, _Ended, what=path.name, limit=_MAX_RESULT_BYTES)
    if ended.refused is not None:
        told = ended.refused
        code = REFUSALS.get(told.kind, Code.CONVERSION_FAILED)
        raise CallerError(code, told.happened, expected=told.expected, todo=told.todo)
    if ended.failed is not None:
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"{script} failed in its isolated environment: {ended.failed}",
            expected="a conversion without errors",
            todo="leave this class or precision out, or report the model",
        )
    try:
        return codec.decode(data, dict[str, kind], what=path.name, limit=_MAX_RESULT_BYTES)["done"]  # type: ignore[valid-type]  # a type made at run time
    except (CallerError, KeyError) as error:
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"{script} left a result of another form: {str(error)[:300]}",
            expected=f"a {kind.__name__}",
            todo="remove the environment (`fleetctl build env remove`) and try again, or report it",
        ) from error


def last(log: Path) -> str:
    """`; its last line was: ...` of a log, or nothing."""
    said = log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace").strip().splitlines()
    return f"; its last line was: {said[-1][:300]}" if said else ""
