"""Commands of `fleetctl rollout`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import App, app_of
from fleetctl.cli import group
from fleetctl.output import Format, OutputOption, emit
from fleetctl.rollout import verbs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.rollout.request import Asked
    from fleetctl.rollout.source import Look
    from modelfleet_core.wire.operator import RolloutCreate

app = group("Plan, start, watch and steer rollouts.")
verbs.register(app)

Rollout = Annotated[str, typer.Argument(help="Id or name of the rollout.", metavar="ROLLOUT")]
Release = Annotated[str | None, typer.Argument(help="NAME:VERSION (short form)", metavar="[N:V]")]
File = Annotated[Path | None, typer.Option("--file", "-f", help="FleetRollout resource (YAML); `-` = stdin.")]
To = Annotated[str | None, typer.Option("--to", help="Labels of the devices, e.g. site=north, or `all`.")]
Stages = Annotated[str | None, typer.Option("--stages", help="Live stages, e.g. 1%,10%,50%,100%.")]
Shadow = Annotated[
    str | None, typer.Option("--shadow", help="Bake time in shadow before, e.g. 30m; 0s = none.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the rollout; default: from the release.")]
NoGates = Annotated[bool, typer.Option("--no-gates", help="Judge nothing; needs --reason.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the decision log.")]
Interval = Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", help="Give up watching after, e.g. 2h (exit code 13).")
]


@app.command()
def plan(
    ctx: typer.Context,
    release: Release = None,
    file: File = None,
    to: To = None,
    stages: Stages = None,
    shadow: Shadow = None,
    no_gates: NoGates = False,
    reason: Reason = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show who would get what, in which stages, and how many bytes; changes nothing.

    \b
    Example:
      fleetctl rollout plan -f rollout.yaml
      fleetctl rollout plan digits:1.1 --to site=north
    """
    from fleetctl.rollout import render

    made = app_of(ctx)
    create_ = _creation(made, _asked(release, file, to, stages, shadow, None, no_gates, reason, False))
    emit(made.terminal, made.api().plan_rollout(create_), output, render.plan)


@app.command()
def create(
    ctx: typer.Context,
    release: Release = None,
    file: File = None,
    to: To = None,
    stages: Stages = None,
    shadow: Shadow = None,
    name: Name = None,
    no_gates: NoGates = False,
    reason: Reason = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="End an older active rollout of the same slot and devices.")
    ] = False,
    watch_: Annotated[bool, typer.Option("--watch", "-w", help="Go on watching it.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Start a rollout: in shadow first, then stage by stage, on evidence.

    \b
    Example:
      fleetctl rollout create -f rollout.yaml
      fleetctl rollout create digits:1.1 --to site=north --stages 1%,10%,100% --shadow 30m
    """
    from fleetctl.rollout import render

    made = app_of(ctx)
    create_ = _creation(made, _asked(release, file, to, stages, shadow, name, no_gates, reason, supersede))
    view = made.api().create_rollout(create_)
    if watch_:
        raise typer.Exit(_watch(made, view.id, 1.0, None, output))
    now = made.clock.now()
    emit(made.terminal, view, output, lambda v: render.status(v, now))


@app.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List rollouts, newest first.

    \b
    Example:
      fleetctl rollout list -o json
    """
    from fleetctl.rollout import render

    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().rollouts(), output, lambda v: render.rollouts(v, now))


@app.command()
def status(
    ctx: typer.Context,
    rollout: Rollout,
    watch_: Annotated[
        bool, typer.Option("--watch", "-w", help="Show every change until it is over.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Say nothing until it is over.")] = False,
    timeout: Timeout = None,
    interval: Interval = 1.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show where a rollout stands. With --watch or --wait the exit code tells how it ended: 0 completed,
    10 rolled back, 11 held, 12 aborted, 13 time-out, 14 partial, 15 superseded.

    \b
    Example:
      fleetctl rollout status digits-1-1
      fleetctl rollout status digits-1-1 --wait --timeout 2h
    """
    from fleetctl.rollout import render

    made = app_of(ctx)
    if watch_ and wait:
        raise typer.BadParameter("--watch shows every change, --wait none: choose one")
    if watch_:
        raise typer.Exit(_watch(made, rollout, interval, timeout, output))
    if wait:
        raise typer.Exit(_wait(made, rollout, interval, timeout, output))
    if timeout is not None:
        raise typer.BadParameter("--timeout needs --watch or --wait")
    now = made.clock.now()
    emit(made.terminal, made.api().rollout(rollout), output, lambda v: render.status(v, now))


@app.command()
def watch(
    ctx: typer.Context,
    rollout: Rollout,
    timeout: Timeout = None,
    interval: Interval = 1.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Watch a rollout until it is over; a live screen on a terminal, one line per change otherwise. Exit
    codes as of `status --watch`.

    \b
    Example:
      fleetctl rollout watch digits-1-1
    """
    raise typer.Exit(_watch(app_of(ctx), rollout, interval, timeout, output))


@app.command()
def explain(ctx: typer.Context, rollout: Rollout, output: OutputOption = Format.TABLE) -> None:
    """Explain a rollout: effect, tolerance, evidence and verdict of every gate, and every decision.

    \b
    Example:
      fleetctl rollout explain digits-1-4
    """
    from fleetctl.rollout import render

    made = app_of(ctx)
    api = made.api()
    found = api.rollout(rollout)
    view = render.ExplainView(found, api.decisions(found.id).items)
    emit(made.terminal, view, output, render.explain)


def _asked(
    release: str | None,
    file: Path | None,
    to: str | None,
    stages: str | None,
    shadow: str | None,
    name: str | None,
    no_gates: bool,
    reason: str | None,
    supersede: bool,
) -> Asked:
    from fleetctl.rollout.request import Asked

    return Asked(release, file, to, stages, shadow, name, no_gates, reason, supersede)


def _creation(app: App, asked: Asked) -> RolloutCreate:
    from fleetctl.rollout.request import creation

    return creation(asked, app.key("op"))


def _watch(app: App, rollout: str, interval: float, timeout: str | None, form: Format) -> int:
    from fleetctl.rollout.outcome import TIMED_OUT, exit_code
    from fleetctl.rollout.watch import watch as watching

    last = watching(_looks(app, rollout, interval, timeout), app.terminal, app.clock.now, form)
    return TIMED_OUT if last is None else exit_code(last)


def _wait(app: App, rollout: str, interval: float, timeout: str | None, form: Format) -> int:
    from fleetctl.rollout import render
    from fleetctl.rollout.outcome import TIMED_OUT, exit_code

    last = None
    for look in _looks(app, rollout, interval, timeout):
        last = look.view or last
    if last is None:
        return TIMED_OUT
    now = app.clock.now()
    emit(app.terminal, last, form, lambda v: render.status(v, now))
    return exit_code(last)


def _looks(app: App, rollout: str, interval: float, timeout: str | None) -> Iterator[Look]:
    from fleetctl.arguments import read_duration
    from fleetctl.rollout.source import follow

    limit = read_duration(timeout, "--timeout") if timeout else None
    api = app.api()
    return follow(lambda: api.rollout(rollout), app.clock, interval_s=interval, timeout_s=limit)
