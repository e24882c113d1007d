"""`fleetctl build env`: the isolated environments of tools that cannot share ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fleetctl.app import App, app_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit, size
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

if TYPE_CHECKING:
    from modelfleet_build.isolated.environments import Environments, Found
    from modelfleet_build.isolated.tools import IsolatedTool

ENVIRONMENTS: Final = "isolated"
"""Folder of the environments, in the cache."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What `list` shows."""

    items: tuple[Found, ...]
    schema: int = 1


app = group("Isolated environments of tools that cannot share ours: made on demand, locked, removable.")
Name = Annotated[str, typer.Argument(help="Of the tool, as `list` shows it.", metavar="NAME")]


@app.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List the tools, what is there of their environments, and what that takes on disk.

    \b
    Example:
      fleetctl build env list
    """
    made = app_of(ctx)
    emit(made.terminal, Listing(_environments(made).listing(_tools())), output, _listed)


@app.command()
def make(ctx: typer.Context, name: Name) -> None:
    """Make an environment now, so that the next build need not. It takes minutes and gigabytes.

    \b
    Example:
      fleetctl build env make torch
    """
    made = app_of(ctx)
    python = _environments(made).make(_tool(name), made.terminal.note)
    made.terminal.line(f"ready: {python}")


@app.command()
def remove(
    ctx: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove every environment of a tool, outdated ones too. The next build that needs it makes it anew.

    \b
    Example:
      fleetctl build env remove torch --yes
    """
    made = app_of(ctx)
    environments = _environments(made)
    known = {item.tool for item in environments.listing(_tools())}
    if name not in known:
        _tool(name)
    made.terminal.confirm(f"Remove the isolated environments of {name}?", yes=yes)
    freed = environments.remove(name, made.terminal.note)
    made.terminal.line(f"{size(freed)} are free again" if freed else f"there was no environment of {name}")


def _environments(made: App) -> Environments:
    from modelfleet_build.isolated.environments import Environments

    return Environments(made.settings.cache_dir / ENVIRONMENTS, made.clock)


def _tools() -> tuple[IsolatedTool, ...]:
    from modelfleet_build import registry

    return registry.isolated_tools()


def _tool(name: str) -> IsolatedTool:
    tools = _tools()
    found = next((tool for tool in tools if tool.name == name), None)
    if found is None:
        raise CallerError(
            Code.ISOLATED_UNKNOWN,
            f"there is no isolated tool {name!r}",
            expected=f"one of {', '.join(tool.name for tool in tools)}",
            todo="correct the name, or install the distribution that brings it",
        )
    return found


def _listed(view: Listing) -> list[Block]:
    rows = [
        (
            item.tool,
            item.state.value,
            size(item.size_bytes) if item.folder else "-",
            item.about or "-",
            item.folder,
        )
        for item in view.items
    ]
    return [Table(("TOOL", "STATE", "SIZE", "FOR", "FOLDER"), rows, "no isolated tools", ("SIZE",))]
