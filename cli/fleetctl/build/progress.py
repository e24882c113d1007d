"""Shows a build while it runs: one bar on a terminal, one line per change anywhere else. Always on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fleetctl.terminal import Terminal, clean
from modelfleet_build.progress import Happening, ProgressEvent, ProgressSink, text
from modelfleet_core.clock import Clock

QUIET_S: Final = 5.0
"""Least time between two plain lines of a step that goes on."""


@contextmanager
def shown(terminal: Terminal, clock: Clock, title: str) -> Iterator[ProgressSink]:
    """A sink for the builder's events."""
    if terminal.progress_watched:
        with _bar(terminal, title) as sink:
            yield sink
    else:
        yield _plain(terminal, clock)


def _plain(terminal: Terminal, clock: Clock) -> ProgressSink:
    last = ""
    told_at = clock.monotonic()

    def sink(event: ProgressEvent) -> None:
        nonlocal last, told_at
        line, now = text(event), clock.monotonic()
        if line == last or (event.happening is Happening.GOING_ON and now - told_at < QUIET_S):
            return
        last, told_at = line, now
        terminal.note(f"[{100 * event.fraction:3.0f} %] {line}")

    return sink


@contextmanager
def _bar(terminal: Terminal, title: str) -> Iterator[ProgressSink]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    what = TextColumn("{task.fields[what]}", markup=False)
    columns = (
        TextColumn(title, markup=False),
        BarColumn(30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        what,
    )
    with Progress(*columns, console=terminal.err, transient=True) as bar:
        task = bar.add_task("", total=1.0, what="")

        def sink(event: ProgressEvent) -> None:
            if event.happening is Happening.REFUSED:
                bar.console.print(clean(text(event)), soft_wrap=True)
            bar.update(task, completed=event.fraction, what=clean(text(event)))

        yield sink
