"""What a build tells while it runs. The sink decides how to show it (bar, plain lines, nothing)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """Parts of a build."""

    INTAKE = "intake"
    DATA = "data"
    PARENT = "parent"
    CONVERT = "convert"
    MEASURE = "measure"
    TUNE = "tune"
    WRITE = "write"


class Happening(StrEnum):
    """What became of a step."""

    STARTED = "started"
    GOING_ON = "going on"
    DONE = "done"
    CACHED = "cached"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One line of progress.

    Attributes:
        step: Which part.
        happening: What became of it.
        fraction: Share of the whole build that is done, 0 to 1, never smaller than before.
        subject: Variant or file it is about, may be empty.
        detail: One plain sentence or empty.
    """

    step: Step
    happening: Happening
    fraction: float
    subject: str = ""
    detail: str = ""


ProgressSink = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """The sink that shows nothing."""


def text(event: ProgressEvent) -> str:
    """`measure x86-onnxruntime.int8: going on, round 3 of 20`."""
    subject = f" {event.subject}" if event.subject else ""
    detail = f", {event.detail}" if event.detail else ""
    return f"{event.step.value}{subject}: {event.happening.value}{detail}"


class Meter:
    """Counts finished steps and passes events on, one at a time: classes are built at once."""

    def __init__(self, sink: ProgressSink) -> None:
        self._lock = threading.Lock()
        self._sink = sink
        self._total = 1
        self._done = 0

    def plan(self, steps: int) -> None:
        """Say how many steps there will be, before the first."""
        self._total = max(1, steps)

    def started(self, step: Step, subject: str = "", detail: str = "") -> None:
        """A step begins."""
        self._tell(step, Happening.STARTED, subject, detail)

    def going_on(self, step: Step, subject: str, detail: str) -> None:
        """A step reports from within."""
        self._tell(step, Happening.GOING_ON, subject, detail)

    def finished(
        self, step: Step, subject: str = "", detail: str = "", how: Happening = Happening.DONE, steps: int = 1
    ) -> None:
        """A step ended; `steps` counts the ones after it that fall away."""
        with self._lock:
            self._done = min(self._total, self._done + steps)
        self._tell(step, how, subject, detail)

    def _tell(self, step: Step, happening: Happening, subject: str, detail: str) -> None:
        with self._lock:
            self._sink(ProgressEvent(step, happening, self._done / self._total, subject, detail))
