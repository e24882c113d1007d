"""The machine that builds: its processors, and what identifies a measurement of time."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> tuple[int, ...]:
    """Processors that this process may use; empty where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return ()


def shares(cores: tuple[int, ...], jobs: int) -> list[tuple[int, ...]]:
    """The processors dealt out to so many jobs, each at least one; fewer jobs where there are fewer cores.

    Args:
        cores: Empty = unknown: every job may use all.
        jobs: At least 1.
    """
    if not cores:
        return [() for _ in range(jobs)]
    count = min(jobs, len(cores))
    return [cores[index::count] for index in range(count)]


def processor() -> str:
    """Architecture, model and number of usable processors: measurements of another one are not comparable."""
    model = ""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    return f"{platform.machine()} {model} x{len(usable_cores()) or os.cpu_count() or 1}"
