"""Runs one command line and says how it ended: 0 good, 2 usage, 1 other errors, or the command's own code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Final

import typer

from fleetctl.app import App
from fleetctl.cli import command
from fleetctl.terminal import Terminal
from modelfleet_core.errors import ModelfleetError

FAILED: Final = 1
INTERRUPTED: Final = 130


class Terminated(BaseException):
    """A signal that ends the process arrived. No Exception, so that nothing on the way takes it for a failure
    that it may handle.

    Attributes:
        exit_code: As a shell says it: 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def run(arguments: Sequence[str], app: App) -> int:
    """The exit code of `fleetctl ARGUMENTS`."""
    try:
        ended = command().main(args=list(arguments), prog_name="fleetctl", standalone_mode=False, obj=app)
    except ModelfleetError as error:
        tell(error, app.terminal, verbose=_verbose(arguments))
        return FAILED
    except Terminated as ended_by:
        return ended_by.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), app.terminal.stdout.fileno())
        return FAILED
    except Exception as error:
        # Wrong usage: typer's own errors show themselves; their classes are private to it.
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or not isinstance(code, int):
            raise
        show()
        return code
    return ended if isinstance(ended, int) else 0


def tell(error: ModelfleetError, terminal: Terminal, *, verbose: bool) -> None:
    """Three lines: what happened (with the code), what was expected, what to do."""
    first, expected, todo = error.diagnostics().lines()
    terminal.note(f"error {first}", style="bold red")
    terminal.note(f"  {expected}")
    terminal.note(f"  {todo}")
    if verbose:
        terminal.note("".join(traceback.format_exception(error)).rstrip(), style="dim")
    elif error.__cause__ is not None:
        terminal.note("  (`fleetctl --verbose ...` shows what led to this)", style="dim")


def _verbose(arguments: Sequence[str]) -> bool:
    return "--verbose" in arguments or "-v" in arguments
