"""Progress of long work: a bar where somebody watches, one line per change otherwise. Always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetctl.terminal import Terminal, clean

Progress = Callable[[str, int, int], None]
"""Told (what, done, all) while something long goes on."""


@contextmanager
def shown(terminal: Terminal, title: str) -> Iterator[Progress]:
    """A sink for (what, done, all)."""
    if not terminal.progress_watched:

        def plain(what: str, done: int, everything: int) -> None:
            terminal.note(f"{title} {done + 1 if done < everything else everything}/{everything}: {what}")

        yield plain
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Bar(*columns, console=terminal.err, transient=True) as bar:
        task = bar.add_task(title, what="")

        def moving(what: str, done: int, everything: int) -> None:
            bar.update(task, completed=done, total=everything, what=clean(what))

        yield moving
