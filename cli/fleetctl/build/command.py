"""`fleetctl build MODEL.onnx` and `fleetctl build report DIR`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of, need_extra
from fleetctl.output import Format, OutputOption, emit
from modelfleet_core.release.manifest import Precision, Task

if TYPE_CHECKING:
    from modelfleet_core.release.device_class import DeviceClass
    from modelfleet_core.release.manifest import Decoder, Manifest
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire.build import BuildSpec, InputRole

_NEEDS_COMPANION = "executorch"


class Objective(StrEnum):
    """What the best variant of a class is."""

    LATENCY = "latency"
    SIZE = "size"
    MEMORY = "memory"
    ACCURACY = "accuracy"


def build(
    ctx: typer.Context,
    model: Annotated[Path, typer.Argument(help="The trained model.", metavar="MODEL.onnx")],
    name: Annotated[str, typer.Option("--name", help="Name of the release; also the slot on devices.")],
    version: Annotated[str, typer.Option("--version", help="Version of the release.")],
    validation: Annotated[
        Path, typer.Option("--validation", help="Held-out `images` and their truth.", metavar="F.npz")
    ],
    folder: Annotated[Path, typer.Option("-O", "--to", help="Release folder to write.", metavar="DIR")],
    device_class: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Device class; may stand several times. Default: all, ExecuTorch's only with --companion.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="`images` for int8.", metavar="F.npz")
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option("--golden", help="`images` and their truth that go to the devices.", metavar="F.npz"),
    ] = None,
    task: Annotated[Task, typer.Option("--task", help="What the model does.")] = Task.CLASSIFICATION,
    decoder: Annotated[
        str | None,
        typer.Option(
            "--decoder",
            help="Detection: how outputs become boxes. Default: the only one that fits.",
            metavar="NAME[:key=value,...]",
        ),
    ] = None,
    max_drop: Annotated[
        str, typer.Option("--max-drop", help="Largest loss against the float parent.")
    ] = "1pt",
    precision: Annotated[
        list[Precision] | None, typer.Option("--precision", help="Instead of those of the classes.")
    ] = None,
    objective: Annotated[
        Objective | None,
        typer.Option(
            "--objective", help="What the best variant is. Default: what the class says, or latency."
        ),
    ] = None,
    companion: Annotated[
        Path | None,
        typer.Option(
            "--companion", help="The model as torch.export program, for ExecuTorch.", metavar="M.pt2"
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous", help="An earlier release folder: say what deltas from it would cost.", metavar="DIR"
        ),
    ] = None,
    class_file: Annotated[
        list[Path] | None, typer.Option("--class-file", help="DeviceClass resource (YAML) of your own.")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Use earlier conversions again.")] = True,
    tuning: Annotated[
        str, typer.Option("--tuning", help="Time that accuracy control may take for one variant; 0s = none.")
    ] = "2m",
    search: Annotated[
        int, typer.Option("--search", min=0, help="Let a search try so many further variants for each class.")
    ] = 0,
    jobs: Annotated[
        int, typer.Option("--jobs", min=0, help="Classes to build at once; 0 = one for each processor.")
    ] = 0,
    nice: Annotated[int, typer.Option("--nice", min=0, max=19, help="Leave the processor to others.")] = 0,
    remote: Annotated[
        bool,
        typer.Option("--remote", help="Let the controller build; Ctrl-C leaves it going on."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Build variants of a model for device classes, and measure each in its real runtime against the float
    parent. Exit code: 0 all classes built, 3 some, 4 none.
    See also: fleetctl build report, fleetctl build prune, fleetctl build env.

    With --remote it runs on the controller, which signs nothing: the release folder comes back here, checked
    file by file. See also fleetctl build list, show, fetch and cancel.

    \b
    Example:
      fleetctl build digits.onnx --name digits --version 1.1 --class x86-onnxruntime --class arm-litert \\
        --calibration calibration.npz --validation validation.npz -O build/digits-1.1
    """
    made = app_of(ctx)
    if remote:
        from fleetctl.build import remote as far

        if jobs or nice or previous is not None:
            raise typer.BadParameter("--jobs, --nice and --previous do not go with --remote")
        known = _known(class_file or [])
        files = {
            InputRole.MODEL: model,
            InputRole.VALIDATION: validation,
            InputRole.CALIBRATION: calibration,
            InputRole.GOLDEN: golden,
            InputRole.COMPANION: companion,
        }
        spec = partial(
            BuildSpec,
            name=name,
            version=version,
            task=task,
            classes=tuple(device_class or _every(known, companion)),
            device_classes=tuple(c for c in known if c not in SHIPPED),
            decoder=_decoder(decoder),
            max_drop_points=_points(max_drop),
            objective=objective.value if objective is not None else "",
            precisions=tuple(precision or ()),
            search=search,
            tuning_s=_seconds(tuning),
        )
        given = {role: path for role, path in files.items() if path is not None}
        far.build(made, given, folder, lambda inputs: spec(inputs=inputs), output)
        return
    need_extra("build", "numpy", "onnx", "onnxruntime", "psutil")

    from fleetctl.build import render
    from fleetctl.build.env import ENVIRONMENTS
    from fleetctl.build.progress import shown
    from modelfleet_build import pipeline
    from modelfleet_build.request import BuildRequest, Limits
    from modelfleet_build.request import Objective as Kinds

    known = _known(class_file or [])
    request = BuildRequest(
        model=model,
        name=name,
        version=version,
        classes=tuple(device_class or _every(known, companion)),
        validation=validation,
        output=folder,
        calibration=calibration,
        golden=golden,
        task=task,
        decoder=_decoder(decoder),
        max_drop_points=_points(max_drop),
        objective=Kinds(objective.value) if objective is not None else None,
        companion=companion,
        previous=previous,
        precisions=tuple(precision) if precision else None,
        known_classes=known,
        cache=made.settings.cache_dir / "build" if cache else None,
        limits=Limits(tuning_s=_seconds(tuning)),
        search=search,
        jobs=jobs,
        environments=made.settings.cache_dir / ENVIRONMENTS,
        nice=nice,
    )
    with shown(made.terminal, made.clock, f"build {name}:{version}") as sink:
        result = pipeline.build(request, sink, made.clock)
    emit(made.terminal, result.report, output, lambda view: render.report(view, result.folder))
    raise typer.Exit(result.exit_code)


def report(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="The release folder that `fleetctl build` wrote.", metavar="DIR")
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write it as one web page with plots instead.", metavar="FILE.html"),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the report of a build: accuracy, latency, size per variant, and why each refused one was refused.

    \b
    Example:
      fleetctl build report build/digits-1.1
      fleetctl build report build/digits-1.1 --html digits-1.1.html
    """
    need_extra("build", "numpy", "onnx")

    from modelfleet_build.report import read_report

    made, view = app_of(ctx), read_report(folder)
    if html is not None:
        from fleetctl import safefile
        from fleetctl.build.html.page import page

        safefile.write(html, page(view, _manifest(folder)).encode())
        made.terminal.line(f"{html}: the report of {view.name}:{view.version}; open it in a browser")
        return

    from fleetctl.build import render

    emit(made.terminal, view, output, lambda view: render.report(view, folder))


def _decoder(text: str | None) -> Decoder | None:
    if text is None:
        return None
    need_extra("build", "numpy")
    from modelfleet_build.decoding import parse_decoder

    return parse_decoder(text)


def _manifest(folder: Path) -> Manifest | None:
    """The manifest beside the report; a report alone has none."""
    from fleetctl import safefile
    from modelfleet_core.release.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
    from modelfleet_core.wire import codec

    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    data = safefile.read(path, MAX_MANIFEST_BYTES, "the manifest")
    return codec.decode(data, Manifest, what=str(path), limit=MAX_MANIFEST_BYTES)


def _every(known: tuple[DeviceClass, ...], companion: Path | None) -> list[str]:
    """The classes that are built when none is named: all, but ExecuTorch's only with the program it needs."""
    return [c.name for c in known if companion is not None or c.runtime != _NEEDS_COMPANION]


def _known(files: list[Path]) -> tuple[DeviceClass, ...]:
    """The shipped classes and those of files; a file's class replaces a shipped one of the same name."""
    from fleetctl.arguments import read_resource
    from modelfleet_core.files.resource import read_device_class

    own = [read_device_class(read_resource(path)) for path in files]
    names = {c.name for c in own}
    return (*(c for c in SHIPPED if c.name not in names), *own)


def _seconds(text: str) -> float:
    """Seconds of `2m`."""
    from modelfleet_core.files.units import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise typer.BadParameter(f"--tuning: {error}") from error


def _points(text: str) -> float:
    """Points (0 to 100) of `1pt`."""
    from modelfleet_core.files.units import UnitError, parse_points

    try:
        return round(100 * parse_points(text), 9)
    except UnitError as error:
        raise typer.BadParameter(f"--max-drop: {error}") from error
