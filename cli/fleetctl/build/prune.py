"""`fleetctl build prune`: structured pruning and distillation by a training hook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of, need_extra
from fleetctl.build.command import Objective
from fleetctl.output import Block, Cell, Format, OutputOption, Table, emit, size

if TYPE_CHECKING:
    from modelfleet_build.training.report import ModelReport, PruneReport, SearchReport, TryReport

TITLES = (
    "MODEL",
    "SEED",
    "MACS",
    "PARAMETERS",
    "SIZE",
    "TOP1",
    "95 %",
    "AGAINST PARENT",
    "LATENCY",
    "SPREAD",
)
TRY_TITLES = (
    "TRY",
    "KNOBS",
    "VARIANT",
    "METRIC",
    "CHANGE",
    "SIZE",
    "LATENCY",
    "SPREAD",
    "A/A",
    "COST",
    "WITHIN",
)
_RATIO = 0.3


def prune(
    ctx: typer.Context,
    hook: Annotated[
        Path, typer.Option("--hook", help="Your training: load, example_input, finetune.", metavar="F.py")
    ],
    validation: Annotated[
        Path, typer.Option("--validation", help="Held-out `images` and `labels`.", metavar="F.npz")
    ],
    folder: Annotated[Path, typer.Option("-O", "--to", help="Folder to write.", metavar="DIR")],
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Share of the channels to prune; 0 = only fine-tune. Default: 0.3."),
    ] = None,
    round_to: Annotated[
        int, typer.Option("--round-to", help="What is left is a multiple of this many channels.")
    ] = 8,
    epochs: Annotated[int, typer.Option("--epochs", help="Given to the hook.")] = 10,
    distil: Annotated[
        bool, typer.Option("--distil/--no-distil", help="Give the parent to the hook as teacher.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option("--control/--no-control", help="Train the unpruned parent alike, to compare with."),
    ] = True,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs; more than one tells what chance does.")] = 1,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="For all training.")] = 24.0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of the training.")] = 1,
    nice: Annotated[int, typer.Option("--nice", min=0, max=19, help="Leave the processor to others.")] = 0,
    search: Annotated[
        int,
        typer.Option(
            "--search", min=0, help="Let a search try so many ratios, and what SPACE of the hook names."
        ),
    ] = 0,
    device_class: Annotated[
        str | None,
        typer.Option(
            "--class", help="Search: the shipped class to measure for. Default: ONNX Runtime, fp32."
        ),
    ] = None,
    objective: Annotated[
        Objective | None,
        typer.Option(
            "--objective",
            help="Search: what the best one is. Default: what the class says, or latency.",
        ),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option("--max-drop", help="Search: largest loss against the float parent. Default: 1pt."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Search: `images` for int8 of the class.", metavar="F.npz"),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Prune whole channels of a model, train it on with your own function, and say what that brought. Writes
    model.onnx and model.pt2 for `fleetctl build`. Your code runs in an isolated environment with torch.

    With --search optuna finds the ratio, and the knobs that SPACE of the hook names, by training and
    measuring each once; the best within --max-drop is trained again and reported.

    \b
    Example:
      fleetctl build prune --hook hook.py --ratio 0.3 --epochs 20 --seeds 3 --validation validation.npz -O
      pruned fleetctl build pruned/model.onnx --companion pruned/model.pt2 --name digits --version 1.2 \\
        --calibration calibration.npz --validation validation.npz -O build/digits-1.2
    """
    made = app_of(ctx)
    if search and ratio is not None:
        raise typer.BadParameter("--ratio does not go with --search, which finds it")
    if not search and (device_class, objective, max_drop, calibration) != (None,) * 4:
        raise typer.BadParameter("--class, --objective, --max-drop and --calibration need --search")
    need_extra("build", "numpy", "onnx", "onnxruntime")

    from fleetctl.build.env import ENVIRONMENTS
    from fleetctl.build.progress import shown
    from modelfleet_build.request import Objective as Kinds
    from modelfleet_build.training.request import HookSearch, PruneRequest
    from modelfleet_build.training.run import prune as run

    wanted = HookSearch(
        tries=search,
        device_class=device_class or "",
        objective=Kinds(objective.value) if objective is not None else None,
        max_drop_points=_points(max_drop or "1pt"),
        calibration=calibration,
    )
    request = PruneRequest(
        hook=hook,
        validation=validation,
        output=folder,
        environments=made.settings.cache_dir / ENVIRONMENTS,
        ratio=_RATIO if ratio is None else ratio,
        round_to=round_to,
        epochs=epochs,
        distil=distil,
        control=control,
        seeds=seeds,
        train_s=3600 * hours,
        threads=threads,
        nice=nice,
        search=wanted if search else None,
    )
    with shown(made.terminal, made.clock, f"prune with {hook.name}") as sink:
        report = run(request, sink, made.clock)
    emit(made.terminal, report, output, lambda view: blocks(view, folder))


def blocks(view: PruneReport, folder: Path) -> list[Block]:
    """How people see the report."""
    teacher = ", the parent as teacher" if view.distil else ""
    knobs = "".join(f", {name} {_shown(value)}" for name, value in view.knobs.items())
    return [
        *(_searched(view.search) if view.search is not None else ()),
        f"pruned {100 * view.ratio:g} % of the channels (multiples of {view.round_to}){knobs}, "
        f"{view.epochs} epochs{teacher}; {view.samples} validation samples; {view.seconds:.0f} s",
        Table(TITLES, [_row(item) for item in view.models], right=TITLES[2:6]),
        view.conclusion,
        f"against the control, trained alike and not pruned: {view.against_control.value}"
        if view.against_control is not None
        else "no control was trained",
        "",
        f"the result of seed {view.seed} is {folder / 'model.onnx'}; for ExecuTorch, {folder / 'model.pt2'}",
    ]


def _searched(view: SearchReport) -> list[Block]:
    rows = [_try("parent", view.parent)]
    rows += [
        _try(f"{number}{' *' if number - 1 == view.chosen else ''}", item)
        for number, item in enumerate(view.tries, 1)
    ]
    reasons = [f"{number}: {item.reason}" for number, item in enumerate(view.tries, 1) if item.reason]
    return [Table(TRY_TITLES, rows, right=TRY_TITLES[3:6]), *reasons, view.conclusion, ""]


def _try(name: str, item: TryReport) -> list[Cell]:
    found, within = item.measurements, "yes" if item.within else "no"
    knobs = " ".join(f"{name}={_shown(value)}" for name, value in item.knobs.items()) or "-"
    cost = "-" if item.cost is None else f"{item.cost:.4g}"
    if found is None:
        return [name, knobs, item.variant or "-", *("-",) * 6, cost, within]
    timed = found.latency_ratio is not None
    return [
        name,
        knobs,
        item.variant,
        f"{100 * found.value:.2f} %",
        f"{0.0 - found.drop_points:+.2f}pt",
        size(found.size_bytes),
        f"x{found.latency_ratio:.2f}" if timed else "-",
        f"{found.latency_ratio_low:.2f}-{found.latency_ratio_high:.2f}" if timed else "-",
        f"{found.control_ratio:.2f}" if found.control_ratio is not None else "-",
        cost,
        within,
    ]


def _shown(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _points(text: str) -> float:
    """Points (0 to 100) of `1pt`."""
    from modelfleet_core.files.units import UnitError, parse_points

    try:
        return round(100 * parse_points(text), 9)
    except UnitError as error:
        raise typer.BadParameter(f"--max-drop: {error}") from error


def _row(item: ModelReport) -> list[Cell]:
    change: Cell = "-"
    if item.against_parent is not None:
        d = item.against_parent
        change = f"{d.points:+.2f}pt [{d.interval.low:+.2f} to {d.interval.high:+.2f}], {d.verdict.value}"
    timed = item.latency_ratio is not None
    return [
        item.name,
        "-" if item.seed is None else str(item.seed),
        f"{item.macs:,}",
        f"{item.parameters:,}",
        size(item.size_bytes),
        f"{100 * item.value:.2f} %",
        f"{100 * item.interval.low:.1f}-{100 * item.interval.high:.1f}",
        change,
        f"x{item.latency_ratio:.2f}" if timed else "-",
        f"{item.latency_ratio_low:.2f}-{item.latency_ratio_high:.2f}" if timed else "-",
    ]
