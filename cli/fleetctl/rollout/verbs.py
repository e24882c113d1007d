"""Verbs on a rollout (semantics section 3): pause, resume, promote, abort, retry, undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fleetctl.app import App, app_of
from fleetctl.arguments import understood
from fleetctl.output import Block, Format, OutputOption, emit
from modelfleet_core.wire.operator import Operation, OperationAnswer, Verb

Rollout = Annotated[str, typer.Argument(help="Id or name of the rollout.", metavar="ROLLOUT")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the decision log.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Only this class; may stand several times.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class _Wish:
    reason: str = ""
    classes: tuple[str, ...] = ()
    full: bool = False
    leave: bool = False


def register(app: typer.Typer) -> None:
    """Adds the verbs to the group."""
    for verb in (pause, resume, promote, abort, retry, undo):
        app.command()(verb)


def pause(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Add no more devices; gates and rollbacks go on.

    \b
    Example:
      fleetctl rollout pause digits-1-1 --reason "maintenance"
    """
    _operate(app_of(ctx), rollout, Verb.PAUSE, _Wish(reason, tuple(device_class or ())), output)


def resume(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Go on as it was before the pause.

    \b
    Example:
      fleetctl rollout resume digits-1-1
    """
    _operate(app_of(ctx), rollout, Verb.RESUME, _Wish(reason, tuple(device_class or ())), output)


def promote(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    full: Annotated[
        bool, typer.Option("--full", help="Skip the remaining stages; needs --reason and admin.")
    ] = False,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """End the bake or the hold of the current stage. Never overrides a gate that says worse.

    \b
    Example:
      fleetctl rollout promote digits-1-1 --reason "evidence is enough for four devices"
    """
    made = app_of(ctx)
    if full:
        if not reason:
            raise typer.BadParameter("--full needs --reason")
        made.terminal.confirm(f"Skip the remaining stages of {rollout}?", yes=yes)
    _operate(made, rollout, Verb.PROMOTE, _Wish(reason, tuple(device_class or ()), full=full), output)


def abort(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    leave: Annotated[bool, typer.Option("--leave", help="Switched devices keep the release.")] = False,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop: switched devices go back to what they had.

    \b
    Example:
      fleetctl rollout abort digits-1-1 --reason "wrong release" --yes
    """
    made = app_of(ctx)
    what = "keep it" if leave else "go back"
    made.terminal.confirm(f"Abort {rollout}? Devices that switched {what}.", yes=yes)
    _operate(made, rollout, Verb.ABORT, _Wish(reason, tuple(device_class or ()), leave=leave), output)


def retry(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Try a rolled-back, aborted or held rollout once more: other devices first, evidence from zero.

    \b
    Example:
      fleetctl rollout retry digits-1-1 --reason "the camera was dirty"
    """
    _operate(app_of(ctx), rollout, Verb.RETRY, _Wish(reason, tuple(device_class or ())), output)


def undo(
    ctx: typer.Context,
    rollout: Rollout,
    reason: Reason = "",
    device_class: Classes = None,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Roll out again what the devices had before this rollout, with the same checks.

    \b
    Example:
      fleetctl rollout undo digits-1-1 --yes
    """
    made = app_of(ctx)
    made.terminal.confirm(f"Undo {rollout}: roll out what was there before?", yes=yes)
    _operate(made, rollout, Verb.UNDO, _Wish(reason, tuple(device_class or ())), output)


def _operate(app: App, rollout: str, verb: Verb, wish: _Wish, form: Format) -> None:
    with understood():
        operation = Operation(
            verb=verb,
            idempotency_key=app.key("op"),
            reason=wish.reason,
            full=wish.full,
            leave=wish.leave,
            classes=wish.classes,
        )
    emit(app.terminal, app.api().operate(rollout, operation), form, _done)


def _done(view: OperationAnswer) -> list[Block]:
    return [f"{view.rollout}: {view.done}"]
