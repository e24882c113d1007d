"""One view model, three renderings: table for people, JSON and YAML for machines.

JSON and YAML show exactly the typed view (snake_case keys, stable); column titles are for eyes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import typer
from rich.table import Table as RichTable
from rich.text import Text

from fleetctl.terminal import Terminal, clean
from modelfleet_core.wire import codec

V = TypeVar("V")


class Format(StrEnum):
    """How a result is shown."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to show the result.")]

Cell = str | tuple[str, str]
"""Text, or text and a rich style."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under titles; `empty` is said instead of a table without rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    empty: str = "nothing"
    right: tuple[str, ...] = ()


Block = Table | str


def emit(terminal: Terminal, view: V, form: Format, blocks: Callable[[V], Sequence[Block]]) -> None:
    """Shows a view; `blocks` says how people see it."""
    if form is Format.JSON:
        terminal.raw(codec.pretty(view).decode())
    elif form is Format.YAML:
        import msgspec
        import yaml

        plain = msgspec.to_builtins(view)
        terminal.raw(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=False))
    else:
        show(terminal, blocks(view))


def show(terminal: Terminal, blocks: Sequence[Block]) -> None:
    """Prints texts and tables."""
    for block in blocks:
        if isinstance(block, str):
            terminal.line(block)
        elif not block.rows:
            terminal.line(block.empty)
        elif terminal.watched:
            terminal.out.print(rich_table(block))
        else:
            for line in plain_table(block):
                terminal.raw(line + "\n")


def rich_table(table: Table) -> RichTable:
    """The table for a terminal: no frame, titles in bold, long cells folded."""
    made = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in table.columns:
        made.add_column(title, justify="right" if title in table.right else "left", overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(text, style=style) for text, style in map(_cell, row)))
    return made


def plain_table(table: Table) -> list[str]:
    """The table for a pipe: aligned, never broken, no trailing spaces."""
    rows = [list(table.columns), *([_cell(c)[0].replace("\n", " ") for c in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if title in table.right else text.ljust(width)
            for text, width, title in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _cell(cell: Cell) -> tuple[str, str]:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return clean(text), style


STYLES = {
    "completed": "green",
    "committed": "green",
    "fine": "green",
    "ok": "green",
    "running": "cyan",
    "paused": "yellow",
    "held": "yellow",
    "warn": "yellow",
    "undecided": "yellow",
    "partial": "yellow",
    "rolled_back": "red",
    "worse": "red",
    "failed": "red",
    "fail": "red",
    "refused": "red",
    "aborted": "red",
    "revoked": "red",
}


def styled(word: str) -> tuple[str, str]:
    """A state, verdict or outcome in its colour."""
    return (word, STYLES.get(word, ""))


def age(then: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that fits: `42s`, `7m`, `3h`, `12d`; `-` for never."""
    if then is None:
        return "-"
    seconds = int((now - then).total_seconds())
    if seconds < 0:
        return "now"
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def size(count: float) -> str:
    """Bytes in a unit that people read: `512 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError  # the loop always returns


def number(value: float | None, digits: int = 3) -> str:
    """A number with some digits; `-` for none."""
    return "-" if value is None else f"{value:.{digits}g}"


def labels(mapping: dict[str, str]) -> str:
    """Labels as a selector: `k=v,k2=v2`; `-` for none."""
    return ",".join(f"{k}={v}" for k, v in sorted(mapping.items())) or "-"
