"""`fleetctl build explain DIR VARIANT`: where a variant leaves its float parent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fleetctl.app import app_of, need_extra
from fleetctl.output import Block, Cell, Format, OutputOption, Table, emit

if TYPE_CHECKING:
    from modelfleet_build.layers.explain import Explanation
    from modelfleet_build.layers.report import Layer

TITLES: Final = ("LAYER", "OPERATORS", "OWN ERROR", "", "TOTAL", "CLIPPED", "STEP", "EFFECT")
RIGHT: Final = ("OWN ERROR", "TOTAL", "CLIPPED", "STEP", "EFFECT")
BAR: Final = 16
DIVERGED: Final = 3
"""Exit code where a layer diverges."""


def explain(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="The release folder that `fleetctl build` wrote.", metavar="DIR")
    ],
    variant: Annotated[str, typer.Argument(help="Name of the variant.", metavar="VARIANT")],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="The model that the release was built from. Default: where it lay then.",
            metavar="M.onnx",
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="`images` to compare on. Default: the golden set.", metavar="F.npz"),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=1024, help="Samples at most.")] = 32,
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare a variant with its float parent layer by layer, and name the first layer that diverges. Exit
    code: 0 no layer diverges, 3 one does.

    \b
    Example:
      fleetctl build explain build/digits-1.1 arm-litert.int8
    """
    made = app_of(ctx)
    need_extra("build", "numpy", "onnx", "onnxruntime")

    from modelfleet_build.layers.explain import ExplainRequest
    from modelfleet_build.layers.explain import explain as compare

    request = ExplainRequest(folder, variant, model, inputs, samples)
    view = compare(request, made.clock, made.terminal.note)
    emit(made.terminal, view, output, blocks)
    raise typer.Exit(DIVERGED if view.layers.divergence is not None else 0)


def blocks(view: Explanation) -> list[Block]:
    """The table of layers in the order of the graph, then what it means."""
    found = view.layers
    guilty = found.divergence.value if found.divergence is not None else None
    # Later layers may be off by far more: the bars are about the one that is named.
    named = [layer.own_error for layer in found.layers if guilty in (None, layer.value)]
    top = max(named, default=0.0)
    made: list[Block] = [
        f"{view.release} {view.variant} against {view.model}, {found.samples} samples",
        "",
        Table(TITLES, [_row(layer, top, guilty) for layer in found.layers], right=RIGHT),
        "",
    ]
    made += [
        f"output {item.name}: {_share(item.total_error)} off the float model" + _runtime(item.runtime_error)
        for item in found.outputs
    ]
    made += [f"note: {note}" for note in found.notes]
    if found.skipped:
        made.append(
            f"{len(found.skipped)} values of the float model are not in the file: they were fused away"
        )
    made += ["", found.verdict]
    if found.divergence is not None:
        made.append(f"to do: {found.divergence.todo}")
        values = [layer.value for layer in found.layers if layer.suspect]
        if values[-1] != guilty:
            made.append("later layers marked ? may stand out because of it: their ranges fit healthy inputs")
    return made


def _runtime(error: float | None) -> str:
    return "" if error is None else f"; its own runtime answers {_share(error)} otherwise than layer by layer"


def _row(layer: Layer, top: float, guilty: str | None) -> list[Cell]:
    style = "bold red" if layer.value == guilty else "yellow" if layer.suspect else ""
    mark = "> " if layer.value == guilty else "? " if layer.suspect else "  "
    filled = min(BAR, round(BAR * layer.own_error / top)) if top > 0 else 0
    cells = [
        mark + _short(layer.node),
        "+".join(layer.operators[-3:]),
        _share(layer.own_error),
        "█" * filled + "·" * (BAR - filled),
        _share(layer.total_error),
        "-" if layer.beyond is None else _share(layer.beyond),
        "-" if layer.step is None else f"{layer.step:.2g}",
        "-" if layer.effect is None else _share(layer.effect),
    ]
    return [(cell, style) for cell in cells]


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else "..." + name[-(most - 3) :]


def _share(value: float) -> str:
    """`0.35 %`, `12 %`, `340 %`."""
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
