"""Commands of `fleetctl server`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fleetctl.app import app_of, need_extra
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, emit

if TYPE_CHECKING:
    from fleetctl.server.child import ServerView

app = group("Run a controller on this machine.")

SIGNALLED: Final = 128


@app.command()
def start(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder for database, blobs and director key.")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")
    ] = "127.0.0.1:8080",
    poll: Annotated[
        float | None, typer.Option("--poll-s", help="Seconds between a device's check-ins.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen without TLS on more than this machine.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a controller until it is stopped (Ctrl-C). The first start prints the admin token, once. Its log
    goes to standard error.

    \b
    Example:
      fleetctl server start --data /var/lib/modelfleet --listen 127.0.0.1:8080
    """
    from fleetctl.server import programs
    from fleetctl.server.child import serve

    made = app_of(ctx)
    program = programs.need(programs.CONTROLLER)
    need_extra("controller", *programs.CONTROLLER_MODULES)
    folder = (data or made.settings.data_dir / "controller").absolute()
    command = [str(program), "serve", "--data", str(folder), "--listen", listen]
    if poll is not None:
        command += ["--poll-s", f"{poll:g}"]
    if insecure:
        command.append("--insecure")
    code = serve(command, str(folder), lambda view: emit(made.terminal, view, output, _ready))
    if code > SIGNALLED:
        made.terminal.note(
            f"the controller was ended by signal {code - SIGNALLED}; start it again, nothing is lost"
        )
    raise typer.Exit(code)


def _ready(view: ServerView) -> list[Block]:
    lines = [f"controller at {view.url} (data in {view.data}, pid {view.pid})"]
    if view.admin_token:
        lines += [
            f"admin token: {view.admin_token}",
            "the token is not shown again",
        ]
    lines.append(f"next: fleetctl login {view.url}")
    return ["\n".join(lines)]
