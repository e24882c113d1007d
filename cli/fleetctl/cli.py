"""The tree of commands. Each group is imported when it is used, so that `fleetctl --help` stays fast."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from fleetctl.app import Choice, app_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A command or group: module, name in it, and the line in `fleetctl --help`."""

    module: str
    name: str
    help: str


ENTRIES: Final[dict[str, Entry]] = {
    "demo": Entry("fleetctl.demo.command", "demo", "Show the whole story on this machine."),
    "server": Entry("fleetctl.server.command", "app", "Run a controller on this machine."),
    "login": Entry("fleetctl.login.command", "login", "Log in to a controller."),
    "context": Entry("fleetctl.login.command", "contexts", "Choose among controllers."),
    "build": Entry("fleetctl.build.command", "build", "Build variants of a model, and read build reports."),
    "release": Entry("fleetctl.release.command", "app", "Sign, verify, push and list releases."),
    "trust": Entry("fleetctl.trust.command", "app", "Say whose releases devices accept."),
    "class": Entry("fleetctl.device_class.command", "app", "Device classes."),
    "device": Entry("fleetctl.device.command", "app", "Devices of the fleet."),
    "token": Entry("fleetctl.token.command", "app", "Tokens for enrolment and for the API."),
    "rollout": Entry("fleetctl.rollout.command", "app", "Plan, start, watch and steer rollouts."),
    "audit": Entry("fleetctl.audit.command", "app", "The log of decisions."),
    "doctor": Entry("fleetctl.doctor.command", "doctor", "Check this installation and the controller."),
}
BESIDE_BUILD: Final[dict[str, Entry]] = {
    "build report": Entry("fleetctl.build.command", "report", "Read a build report."),
    "build prune": Entry("fleetctl.build.prune", "prune", "Make a model smaller with a training hook."),
    "build env": Entry("fleetctl.build.env", "app", "Isolated environments of tools."),
    "build list": Entry("fleetctl.build.builds", "list_", "List builds of a controller."),
    "build show": Entry("fleetctl.build.builds", "show", "Show a build of a controller."),
    "build fetch": Entry("fleetctl.build.builds", "fetch", "Fetch the release folder of a build."),
    "build cancel": Entry("fleetctl.build.builds", "cancel", "End a build of a controller."),
    "build explain": Entry("fleetctl.build.explain", "explain", "Find the layer that breaks a variant."),
}
"""Commands beside `build MODEL.onnx`, which itself is no group."""


class LazyGroup(TyperGroup):
    """The root: knows its commands by name and imports each when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of a newcomer's way through them."""
        return [*ENTRIES, *BESIDE_BUILD]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now."""
        entry = BESIDE_BUILD.get(cmd_name) or ENTRIES.get(cmd_name)
        if entry is None:
            return None
        found = getattr(importlib.import_module(entry.module), entry.name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """`build report` and `build explain` are commands of their own beside `build MODEL.onnx`."""
        name = " ".join(args[:2])
        if name in BESIDE_BUILD:
            return name, self.get_command(ctx, name), args[2:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `--help`, from `ENTRIES` alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in ENTRIES.items()])


def _version(wanted: bool) -> None:
    if wanted:
        try:
            found = version("modelfleet")
        except PackageNotFoundError:
            found = "unknown"
        typer.echo(f"fleetctl {found}")
        raise typer.Exit


root = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@root.callback()
def options(
    ctx: typer.Context,
    context: Annotated[
        str | None, typer.Option("--context", help="Talk to this context (MODELFLEET_CONTEXT).")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Talk to this address (MODELFLEET_URL).")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Read the token from this file (MODELFLEET_TOKEN_FILE)."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what led to an error.")] = False,
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take one trained model to a fleet of unlike edge devices, and back when it is worse.

    \b
    Example:
      fleetctl demo                      the whole story on this machine
      fleetctl server start              a controller on this machine
      fleetctl login http://127.0.0.1:8080
      fleetctl rollout create digits:1.1 --to site=north

    Environment: MODELFLEET_URL, MODELFLEET_TOKEN, MODELFLEET_TOKEN_FILE, MODELFLEET_CONTEXT,
    MODELFLEET_KEY_PASSPHRASE, NO_COLOR, XDG_CONFIG_HOME.
    """
    choice = Choice(url=url, token_file=token_file, context=context, verbose=verbose)
    ctx.obj = replace(app_of(ctx), choice=choice)


def group(help: str) -> typer.Typer:
    """A group of commands, also where it holds a single one."""
    made = typer.Typer(help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    made.callback()(_nothing)
    return made


def _nothing() -> None:
    pass


def command() -> Any:
    """The whole command line."""
    return typer.main.get_command(root)
