"""Commands of `fleetctl device`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Format, OutputOption, emit

if TYPE_CHECKING:
    from fleetctl.client.api import Api
    from modelfleet_core.wire.operator import DeviceView

app = group("Devices of the fleet.")

Device = Annotated[str, typer.Argument(help="Id, or display name where it is unique.", metavar="DEVICE")]


@app.command("list")
def list_(
    ctx: typer.Context,
    selector: Annotated[
        str, typer.Option("--selector", "-l", help="Only devices with these labels: k=v,k2=v2.")
    ] = "",
    device_class: Annotated[str, typer.Option("--class", help="Only devices of this class.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List devices with what they run.

    \b
    Example:
      fleetctl device list --selector site=north
    """
    from fleetctl.device import render

    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().devices(selector, device_class), output, lambda v: render.devices(v, now))


@app.command()
def show(ctx: typer.Context, device: Device, output: OutputOption = Format.TABLE) -> None:
    """Show one device: facts, class and why, labels, slots.

    \b
    Example:
      fleetctl device show kitchen-1
    """
    from fleetctl.device import render

    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, find(made.api(), device), output, lambda v: render.device(v, now))


@app.command()
def label(
    ctx: typer.Context,
    device: Device,
    changes: Annotated[
        list[str], typer.Argument(help="KEY=VALUE sets, KEY- removes.", metavar="KEY=VALUE|KEY-...")
    ],
    output: OutputOption = Format.TABLE,
) -> None:
    """Change a device's labels; the others stay.

    \b
    Example:
      fleetctl device label kitchen-1 site=north lane-
    """
    from fleetctl.arguments import changed_labels
    from fleetctl.device import render

    made = app_of(ctx)
    now = made.clock.now()
    api = made.api()
    found = find(api, device)
    view = api.label_device(found.id, changed_labels(found.labels, changes))
    emit(made.terminal, view, output, lambda v: render.device(v, now))


@app.command()
def revoke(
    ctx: typer.Context,
    device: Device,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Refuse every further request of a device. What it runs goes on running; it has to be enrolled anew.

    \b
    Example:
      fleetctl device revoke kitchen-1 --yes
    """
    from fleetctl.device import render

    made = app_of(ctx)
    now = made.clock.now()
    api = made.api()
    found = find(api, device)
    made.terminal.confirm(f"Revoke {found.name or found.id} ({found.id})?", yes=yes)
    emit(made.terminal, api.revoke_device(found.id), output, lambda v: render.device(v, now))


def find(api: Api, device: str) -> DeviceView:
    """The device of that id or display name.

    Raises:
        CallerError: MF-1602 there is none, MF-6013 several have the name.
    """
    from modelfleet_core.error_codes import Code
    from modelfleet_core.errors import CallerError

    if device.startswith("dev_"):
        return api.device(device)
    named = [d for d in api.devices().items if d.name == device]
    if len(named) == 1:
        return named[0]
    if not named:
        raise CallerError(
            Code.NOT_FOUND,
            f"there is no device named {device!r}",
            expected="an id or a display name",
            todo="`fleetctl device list` shows them",
        )
    raise CallerError(
        Code.CLI_AMBIGUOUS,
        f"{len(named)} devices are named {device!r}",
        expected=f"one of the ids {', '.join(d.id for d in named[:5])}",
        todo="use the id",
    )
