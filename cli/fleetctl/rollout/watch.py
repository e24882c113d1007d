"""Shows a rollout while it goes on: a live screen on a terminal, one line per change anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from fleetctl.output import Format, show
from fleetctl.rollout import render
from fleetctl.rollout.changes import changes
from fleetctl.rollout.source import Look
from fleetctl.terminal import Terminal, clean
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import RolloutView


def watch(
    looks: Iterable[Look], terminal: Terminal, now: Callable[[], datetime], form: Format
) -> RolloutView | None:
    """Shows every look; returns the last rollout seen.

    On a terminal the last state stays in the scrollback. With `-o json` every change is one line of JSON.
    """
    if form is not Format.TABLE:
        return _documents(looks, terminal, form)
    if terminal.watched:
        return _live(looks, terminal, now)
    return _lines(looks, terminal, now)


def _lines(looks: Iterable[Look], terminal: Terminal, now: Callable[[], datetime]) -> RolloutView | None:
    last: RolloutView | None = None
    problem: str | None = None
    for look in looks:
        stamp = f"{now():%H:%M:%S}"
        if look.problem is not None and look.problem != problem:
            terminal.note(f"{stamp} {look.problem}; trying again")
        problem = look.problem
        if look.view is not None:
            for line in changes(last, look.view):
                terminal.line(f"{stamp} {line}")
            last = look.view
        if look.timed_out:
            terminal.line(f"{stamp} the time is over; the rollout goes on")
    return last


def _documents(looks: Iterable[Look], terminal: Terminal, form: Format) -> RolloutView | None:
    last: RolloutView | None = None
    for look in looks:
        if look.view is not None and look.view != last:
            last = look.view
            if form is Format.JSON:
                terminal.raw(codec.encode(last).decode() + "\n")
            else:
                import msgspec
                import yaml

                terminal.raw("---\n" + yaml.safe_dump(msgspec.to_builtins(last), sort_keys=False))
    return last


def _live(looks: Iterable[Look], terminal: Terminal, now: Callable[[], datetime]) -> RolloutView | None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from fleetctl.output import Table, rich_table

    last: RolloutView | None = None
    note = ""

    def screen() -> Group:
        blocks = render.status(last, now()) if last is not None else []
        parts = [rich_table(b) if isinstance(b, Table) else Text(clean(b)) for b in blocks]
        return Group(*parts, *([Text(clean(note), style="yellow")] if note else []))

    # Redrawn only when looked (at most every 200 ms, source.LEAST_INTERVAL_S); not the alternate screen, so
    # that the last state stays in the scrollback.
    with Live(console=terminal.out, auto_refresh=False, transient=False, vertical_overflow="visible") as live:
        for look in looks:
            last = look.view or last
            note = f"{look.problem}; trying again" if look.problem else ""
            if look.timed_out:
                note = "the time is over; the rollout goes on"
            live.update(screen(), refresh=True)
    return last


def finish(view: RolloutView, terminal: Terminal, now: datetime) -> None:
    """The last state, for `--wait` without a live screen."""
    show(terminal, render.status(view, now))
