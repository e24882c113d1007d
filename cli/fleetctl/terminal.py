"""The screen: where text goes, whether somebody watches, and how to ask.

No colour without a terminal or with NO_COLOR; nothing is asked where nobody can answer. Text of others
(names, reasons) is never read as markup, and control characters in it are made visible.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TextIO

from rich.console import Console

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

WIDE: Final = 10_000
"""Columns of a pipe: lines are never broken there."""


def clean(text: str) -> str:
    """The text with control characters made visible: a device's name must not move the cursor."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


@dataclass(slots=True)
class Terminal:
    """Standard streams with what is known about them."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    color: bool = True
    width: int | None = None
    _out: Console = field(init=False)
    _err: Console = field(init=False)

    def __post_init__(self) -> None:
        """Makes one console per stream."""
        self._out = self._console(self.stdout)
        self._err = self._console(self.stderr)

    def _console(self, stream: TextIO) -> Console:
        tty = stream.isatty()
        return Console(
            file=stream,
            force_terminal=tty,
            no_color=not self.color or not tty,
            color_system="auto" if self.color and tty else None,
            width=self.width or (None if tty else WIDE),
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=False,
        )

    @property
    def out(self) -> Console:
        """For results."""
        return self._out

    @property
    def err(self) -> Console:
        """For progress, warnings and errors."""
        return self._err

    @property
    def watched(self) -> bool:
        """Whether results go to a terminal."""
        return self.stdout.isatty()

    @property
    def progress_watched(self) -> bool:
        """Whether progress goes to a terminal."""
        return self.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether somebody can answer."""
        return self.stdin.isatty() and self.stderr.isatty()

    def line(self, text: str, style: str | None = None) -> None:
        """One line of a result."""
        self._out.print(clean(text), style=style, soft_wrap=True)

    def note(self, text: str, style: str | None = None) -> None:
        """One line beside the results."""
        self._err.print(clean(text), style=style, soft_wrap=True)

    def raw(self, text: str) -> None:
        """Text exactly as it is (JSON, YAML)."""
        self.stdout.write(text)
        self.stdout.flush()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Goes on only with a yes.

        Raises:
            CallerError: MF-6006, the answer was no, or nobody can answer and --yes is missing.
        """
        if yes:
            return
        if not self.can_ask:
            raise CallerError(
                Code.CLI_CONFIRM,
                f"this needs a confirmation, and there is no terminal to ask on: {question}",
                expected="--yes, or a terminal",
                todo="Rerun with --yes",
            )
        self.stderr.write(f"{clean(question)} [y/N] ")
        self.stderr.flush()
        if self.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CallerError(
                Code.CLI_CONFIRM, "not confirmed; nothing was changed", expected="y", todo="run it again"
            )

    def secret(self, question: str, hidden: Callable[[str], str]) -> str | None:
        """A secret typed without echo, or None where nobody can answer."""
        return hidden(f"{question}: ") if self.can_ask else None

    def read_line(self, limit: int = 4096) -> str:
        """One line of standard input, for `--token-stdin`."""
        return self.stdin.readline(limit).strip()


def system_terminal(*, color: bool) -> Terminal:
    """The process's own streams."""
    return Terminal(sys.stdin, sys.stdout, sys.stderr, color=color)
