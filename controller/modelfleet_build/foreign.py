"""What programs that are not ours get from us, and what is read of what they leave: little, and bounded."""

from __future__ import annotations

import os
from pathlib import Path

_LOG_TAIL = 4000
_MAX_LAST = 300


def bare_environment(folder: Path, threads: int = 1) -> dict[str, str]:
    """Environment of a program: nothing of the caller's (tokens, proxies), and nothing of ours.

    Args:
        folder: Home and temporary folder.
        threads: Of the numeric libraries.
    """
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        # The order of a file's parts may depend on it.
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
    }


def last_line(log: Path) -> str:
    """`; its last line was: ...` of a log of any size, or nothing."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
        said = file.read(_LOG_TAIL).decode("utf-8", "replace").strip().splitlines()
    return f"; its last line was: {said[-1][:_MAX_LAST]}" if said else ""


def read_bounded(path: Path, limit: int) -> bytes:
    """At most one byte more than `limit` of a file: enough for its reader to refuse what is too long."""
    with path.open("rb") as file:
        return file.read(limit + 1)
