"""`fleetctl build list | show | fetch | cancel`: the builds of a controller."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fleetctl.app import app_of
from fleetctl.output import Block, Format, OutputOption, Table, age, emit, size, styled
from modelfleet_core.wire.build import BuildOperation, Builds, BuildState, BuildVerb, BuildView

Build = Annotated[str, typer.Argument(help="Id of the build.", metavar="ID")]
TITLES = ("ID", "STATE", "DONE", "RELEASE", "CLASSES", "AGE", "BY")


def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List the newest builds of the controller.

    \b
    Example:
      fleetctl build list
    """
    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().builds(), output, lambda view: listed(view, now))


def show(ctx: typer.Context, build: Build, output: OutputOption = Format.TABLE) -> None:
    """Show how far a build is, what became of it, and its files.

    \b
    Example:
      fleetctl build show bld_0198f2
    """
    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().build(build), output, lambda view: shown(view, now))


def fetch(
    ctx: typer.Context,
    build: Build,
    folder: Annotated[Path, typer.Option("-O", "--to", help="Release folder to write.", metavar="DIR")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Wait for a build, write its release folder here, every file checked, and show its report. Exit code as
    `fleetctl build`.

    \b
    Example:
      fleetctl build fetch bld_0198f2 -O build/digits-1.1
    """
    from fleetctl import safefile
    from fleetctl.build import fetching, remote

    made = app_of(ctx)
    if folder.exists():
        raise safefile.exists(folder)
    api = made.api()
    view = remote.follow(made, api, api.build(build))
    fetching.deliver(made, api, view, folder, output)


def cancel(
    ctx: typer.Context,
    build: Build,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the decision log.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """End a build; one that runs is over within seconds. Nothing of it is kept.

    \b
    Example:
      fleetctl build cancel bld_0198f2 --reason 'wrong data'
    """
    from fleetctl.arguments import understood

    made = app_of(ctx)
    with understood():
        operation = BuildOperation(BuildVerb.CANCEL, reason)
    now = made.clock.now()
    emit(made.terminal, made.api().operate_build(build, operation), output, lambda view: shown(view, now))


def listed(view: Builds, now: datetime) -> list[Block]:
    """One row for each."""
    rows = [
        (
            b.id,
            styled(_state(b)),
            f"{100 * b.progress.fraction:.0f} %",
            f"{b.spec.name}:{b.spec.version}",
            ", ".join(b.spec.classes),
            age(b.created_at, now),
            b.created_by,
        )
        for b in view.items
    ]
    return [Table(TITLES, rows, "no builds", ("DONE",))]


def shown(view: BuildView, now: datetime) -> list[Block]:
    """All about one."""
    spec = view.spec
    blocks: list[Block] = [
        f"{view.id}  {spec.name}:{spec.version}  {_state(view)}  "
        f"ordered {age(view.created_at, now)} ago by {view.created_by}",
        f"classes {', '.join(spec.classes)}; budget {spec.max_drop_points:g}pt",
        *(f"{item.role.value:<12} {item.name}  {item.sha256[:16]}" for item in spec.inputs),
    ]
    if view.progress.line:
        blocks.append(f"[{100 * view.progress.fraction:3.0f} %] {view.progress.line}")
    outcome = view.outcome
    if outcome is not None and outcome.refusal is not None:
        told = outcome.refusal
        blocks += [f"{told.code}: {told.happened}", f"  expected: {told.expected}", f"  to do: {told.todo}"]
    if view.files:
        rows = [(file.path, size(file.size), file.sha256[:16]) for file in view.files]
        blocks += ["", Table(("FILE", "SIZE", "SHA256"), rows, right=("SIZE",))]
    if outcome is not None and outcome.release is not None:
        blocks += [
            "",
            f"release {outcome.release[:16]}, not signed",
            f"next: fleetctl build fetch {view.id} -O DIR",
        ]
    return blocks


def _state(view: BuildView) -> str:
    ending = view.cancelled_by is not None and view.state is BuildState.RUNNING
    return "ending" if ending else view.state.value
