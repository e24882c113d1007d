"""The command `fleetctl doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fleetctl.app import app_of
from fleetctl.output import Block, Format, OutputOption, Table, emit, styled

if TYPE_CHECKING:
    from fleetctl.doctor.checks import DoctorView


def doctor(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """Check this installation, the chosen controller, token and trust. Exit code 1 when something fails.

    \b
    Example:
      fleetctl doctor
    """
    from fleetctl.doctor.checks import examine

    app = app_of(ctx)
    view = examine(app)
    emit(app.terminal, view, output, _shown)
    if not view.ok:
        raise typer.Exit(1)


def _shown(view: DoctorView) -> list[Block]:
    rows = [(c.name, styled(c.state), c.detail, c.todo) for c in view.checks]
    return [Table(("CHECK", "STATE", "FOUND", "TO DO"), rows)]
