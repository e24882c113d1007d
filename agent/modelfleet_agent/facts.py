"""What the device is: measured, or configured and then named as such. Imports no runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelfleet_core.release.device_class import DeviceFacts

from .settings import Settings

_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_GRANULE: Final = 64 * 1024 * 1024
# Device nodes of NVIDIA's drivers: of PCIe cards, and of the GPU of a Jetson. What the root file system of a
# Jetson holds beside (/etc/nv_tegra_release) is there in a container that sees no GPU too: it proves nothing.
_CUDA_NODES: Final = (
    "dev/nvidia0",
    "dev/nvhost-gpu",
    "dev/nvhost-ctrl-gpu",
    "dev/nvhost-ctrl",
    "dev/nvgpu/igpu0",
)
_CUDA_CARDS: Final = "proc/driver/nvidia/gpus"


def measure(settings: Settings, runtimes: Mapping[str, str], agent_version: str) -> DeviceFacts:
    """The facts of this machine.

    Args:
        settings: which runtimes are offered, and what is configured instead of measured.
        runtimes: installed plug-in name -> version of its library (`modelfleet_runtimes.registry.available`).
        agent_version: version of this program.
    """
    offered = (
        runtimes
        if settings.runtimes is None
        else {n: runtimes[n] for n in settings.runtimes if n in runtimes}
    )
    measured = DeviceFacts(
        architecture=os.uname().machine,
        runtimes=dict(offered),
        memory_bytes=_memory(),
        free_disk_bytes=free_disk(settings.state_dir),
        cpus=len(os.sched_getaffinity(0)),
        accelerators=accelerators(),
        os=os.uname().sysname.lower(),
        agent_version=agent_version,
        overridden=settings.overrides.names(),
    )
    configured = {name: getattr(settings.overrides, name) for name in settings.overrides.names()}
    return replace(measured, **configured)


def accelerators(root: Path = Path("/")) -> tuple[str, ...]:
    """Names of the accelerators that this machine's drivers show, sorted; nothing is loaded or opened.

    An Ethos-U is never among them: `/dev/ethosu0` does not tell its configuration, which a class needs. It is
    configured (`facts.override.accelerators`).

    Args:
        root: `/`, or a folder that stands for it.
    """
    cards = root / _CUDA_CARDS
    cuda = any((root / node).exists() for node in _CUDA_NODES) or (cards.is_dir() and any(cards.iterdir()))
    return ("cuda",) if cuda else ()


def same(one: DeviceFacts, other: DeviceFacts) -> bool:
    """Whether two readings tell the same; free space counts in steps of 64 MiB, because it always changes."""
    return _coarse(one) == _coarse(other)


def free_disk(folder: Path) -> int:
    """Bytes that this user may still write to the file system of `folder`, or of what exists above it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _coarse(facts: DeviceFacts) -> DeviceFacts:
    return replace(facts, free_disk_bytes=facts.free_disk_bytes // _GRANULE)


def _memory() -> int:
    """Memory of the machine, or what its control group allows where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdecimal():
            return min(total, int(text))
    return total
