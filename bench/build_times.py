"""How long releases take to build, what memory that takes, and what an unchanged second run costs.

Goals on two cores: digits for all default classes within 90 s, an unchanged second run within 3 s, a
resnet50 for onnxruntime, OpenVINO and LiteRT int8 within 12 minutes and 6 GB. `python -m bench.build_times
digits` or `... resnet50` runs one of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from modelfleet_build.child.runner import group_rss
from modelfleet_build.pipeline import build
from modelfleet_build.progress import silent
from modelfleet_build.report import BuildReport
from modelfleet_build.request import MIB, BuildRequest, Limits
from modelfleet_core.clock import SystemClock
from modelfleet_core.release.shipped_classes import SHIPPED

from bench._light_models import light_model

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
BIG_CLASSES = ("x86-onnxruntime", "x86-openvino", "arm-litert")
_LOOK_EVERY_S = 0.1


@dataclass(slots=True)
class Memory:
    """Peak resident bytes of all child processes together, and of this process with them."""

    children: int = 0
    all: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        own = os.getpid()
        while not self._ended.wait(_LOOK_EVERY_S):
            together = group_rss(own)
            alone = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.all = max(self.all, together)
            self.children = max(self.children, together - alone)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def watched() -> Iterator[Memory]:
    memory = Memory()
    thread = threading.Thread(target=memory.watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.end()
        thread.join()


def timed(title: str, request: BuildRequest, goal_s: float, goal_bytes: int | None = None) -> BuildReport:
    """Build, print one line, and one for each class."""
    with watched() as memory:
        report = build(request, silent, SystemClock()).report
    told = f"goal {goal_s:.0f} s: {'met' if report.seconds <= goal_s else 'MISSED'}"
    if goal_bytes is not None:
        told += f", goal {goal_bytes / 1e9:.0f} GB: {'met' if memory.all <= goal_bytes else 'MISSED'}"
    variants = [variant for item in report.classes for variant in item.variants]
    slowest = max(variants, key=lambda v: v.convert_s + v.measure_s)
    print(
        f"{title:28}{report.seconds:7.1f} s  children {memory.children / MIB:6.0f} MiB  "
        f"all {memory.all / MIB:6.0f} MiB  ({told})"
    )
    print(
        f"{'':28}convert {sum(v.convert_s for v in variants):.1f} s, "
        f"measure {sum(v.measure_s for v in variants):.1f} s, "
        f"slowest {slowest.name} {slowest.convert_s + slowest.measure_s:.1f} s"
    )
    for item in report.classes:
        for v in item.variants:
            m = v.measurements
            ratio = "" if m is None or m.latency_ratio is None else f"x{m.latency_ratio:.2f}"
            state = "accepted" if v.accepted else f"refused {v.code}"
            size = "" if m is None else f"{m.size_bytes / 1e6:.1f} MB"
            print(f"  {v.name:30}{v.convert_s:8.1f} s{v.measure_s:8.1f} s {size:>10} {ratio:>7}  {state}")
        if not item.variants:
            print(f"  {item.name:30}{item.code}: {item.why[:100]}")
    return report


def digits(folder: Path) -> None:
    """The example model for every default class, then the same again."""
    request = BuildRequest(
        model=DIGITS / "digits-1.1.onnx",
        name="digits",
        version="1.1",
        classes=tuple(item.name for item in SHIPPED),
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        output=folder / "digits",
        cache=folder / "cache",
    )
    timed("digits, all classes", request, 90)
    again = replace(request, output=folder / "digits-again")
    timed("digits, nothing changed", again, 3)


def resnet50(folder: Path) -> None:
    """A network of real size with random weights and labels: for time and memory alone."""
    model = folder / "resnet50.onnx"
    onnx.save(light_model("resnet50"), str(model))
    random = np.random.default_rng(7)
    paths = {}
    for name, count in (("validation", 24), ("calibration", 16), ("golden", 8)):
        images = random.integers(0, 256, (count, 3, 224, 224)).astype(np.uint8)
        labels = np.zeros(count, np.int64)
        paths[name] = folder / f"{name}.npz"
        np.savez(paths[name], images=images, labels=labels)
    request = BuildRequest(
        model=model,
        name="resnet50",
        version="1.0",
        classes=BIG_CLASSES,
        validation=paths["validation"],
        calibration=paths["calibration"],
        golden=paths["golden"],
        output=folder / "resnet50",
        # Random weights have no accuracy to lose.
        max_drop_points=100.0,
        limits=Limits(memory_bytes=6000 * MIB),
    )
    timed("resnet50, three classes", request, 720, 6_000_000_000)


PARTS = {"digits": digits, "resnet50": resnet50}


def main(wanted: tuple[str, ...] = tuple(PARTS)) -> None:
    """Run the named parts."""
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or tuple(PARTS))
