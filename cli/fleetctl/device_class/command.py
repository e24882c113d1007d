"""Commands of `fleetctl class`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit, labels, size
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

if TYPE_CHECKING:
    from modelfleet_core.release.device_class import DeviceClass, VariantLimits
    from modelfleet_core.wire.operator import Classes

app = group("Device classes: kinds of device that run the same variants.")


@app.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List the device classes.

    \b
    Example:
      fleetctl class list
    """
    made = app_of(ctx)
    emit(made.terminal, made.api().classes(), output, lambda view: [_table(view.items)])


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the class.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Show one class.

    \b
    Example:
      fleetctl class show x86-openvino -o yaml
    """
    made = app_of(ctx)
    emit(made.terminal, _find(made.api().classes(), name), output, _one)


@app.command()
def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="DeviceClass resource (YAML).")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Create a class, or replace it.

    \b
    Example:
      fleetctl class apply -f jetson.yaml
    """
    from fleetctl.arguments import read_resource
    from modelfleet_core.files.resource import read_device_class

    made = app_of(ctx)
    wanted = read_device_class(read_resource(file))
    emit(made.terminal, made.api().apply_class(wanted), output, _one)


def _find(view: Classes, name: str) -> DeviceClass:
    found = next((c for c in view.items if c.name == name), None)
    if found is None:
        raise CallerError(
            Code.CLASS_UNKNOWN,
            f"there is no class {name!r}",
            expected=f"one of {', '.join(c.name for c in view.items)}",
            todo="`fleetctl class apply -f FILE` adds one",
        )
    return found


def _table(classes: Sequence[DeviceClass]) -> Table:
    rows = [
        (
            c.name,
            ",".join(c.architectures),
            f"{c.runtime} >={c.runtime_minimum}" + (f" <{c.runtime_below}" if c.runtime_below else ""),
            size(c.min_memory_bytes),
            ",".join(c.recipes),
            str(c.priority),
        )
        for c in classes
    ]
    titles = ("NAME", "ARCHITECTURES", "RUNTIME", "MEMORY", "RECIPES", "PRIORITY")
    return Table(titles, rows, "no classes", ("MEMORY", "PRIORITY"))


def _one(view: DeviceClass) -> list[Block]:
    return [
        _table((view,)),
        f"accelerators  {', '.join(view.accelerators) or 'none needed'}\n"
        f"offline       {'expected: silence is no evidence' if view.expected_offline else 'not expected'}\n"
        f"optimizer     {view.optimizer or view.runtime}\n"
        f"options       {labels(view.options)}\n"
        f"limits        {_limits(view.limits)}\n"
        f"objective     {view.objective or 'of the build, else latency'}\n"
        f"labels        {labels(view.labels)}",
    ]


def _limits(limits: VariantLimits) -> str:
    told = (
        ("size", limits.size_bytes, size),
        ("arena", limits.arena_bytes, size),
        ("latency", limits.latency_s, lambda value: f"{1000 * value:g} ms"),
        ("operators on the accelerator", limits.min_coverage, lambda value: f"at least {100 * value:g} %"),
        ("MACs on the accelerator", limits.min_mac_coverage, lambda value: f"at least {100 * value:g} %"),
    )
    return ", ".join(f"{name} {show(value)}" for name, value, show in told if value is not None) or "none"
