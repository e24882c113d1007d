"""`fleetctl demo`: options, composition, and the certain end of everything that was started."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from fleetctl.app import app_of, need_extra
from modelfleet_core.clock import Clock, Entropy

from . import report as reports
from .builds import Job
from .fleet import SLOT
from .places import Models, camera_program, find_models, make
from .processes import Processes
from .report import Report
from .screen import PLAIN_WIDTH, Screen
from .story import EVIDENCE, SCENES, chosen, needed, tell
from .world import World

PARTS = {
    "controller": ("modelfleet_controller", "fastapi"),
    "build": ("modelfleet_build", "onnx", "nncf", "ai_edge_quantizer"),
    "agent": ("modelfleet_agent", "urllib3", "h11"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
}
"""What the demo runs as programs, by the extra that brings it."""

NOT_AS_SAID = 1
INTERRUPTED = 130


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP: end everything, then leave."""


def demo(
    ctx: typer.Context,
    report: Annotated[Path | None, typer.Option(help="Write what happened as JSON into this file.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end and print where.")] = False,
    models: Annotated[
        Path | None, typer.Option(help="Folder with the ONNX files and data; default: examples/digits.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Work folder, empty or new; default: a temporary one.")
    ] = None,
    scenes: Annotated[
        str, typer.Option(help="Only these scenes, e.g. 1,2,4 (1 and 2 always run).", hidden=True)
    ] = ",".join(map(str, SCENES)),
) -> None:
    """Show the whole story on this machine: a controller, six devices, good and bad releases, kills and
    attacks.

    Example: fleetctl demo --report demo.json
    """
    app = app_of(ctx)
    wanted = Wanted(report=report, keep=keep, models=models, work=work, numbers=_numbers(scenes))
    raise typer.Exit(run(wanted, app.clock, app.entropy))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `fleetctl demo`."""

    report: Path | None
    keep: bool
    models: Path | None
    work: Path | None
    numbers: tuple[int, ...]


def run(wanted: Wanted, clock: Clock, entropy: Entropy) -> int:
    """Runs the demo and returns its exit code: 0 when all came out as said, 1 when not, 130 when interrupted.

    Raises:
        ModelfleetError: it cannot even begin.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    for extra, modules in PARTS.items():
        need_extra(extra, *modules)
    screen = Screen(console, clock)
    found, camera = find_models(wanted.models), camera_program()
    places = make(wanted.work or Path(tempfile.mkdtemp(prefix="mf-demo-")))
    processes = Processes(places.logs, places.work, clock)
    screen.say(f"{EVIDENCE}; work folder {places.work}")
    world = World(places, found, camera, processes, screen, clock, entropy, _jobs(found, wanted.numbers))
    told: Report | None = None
    with _signals():
        try:
            told = tell(world, wanted.numbers)
            _close(screen, told)
            if wanted.report is not None:
                reports.write(told, wanted.report)
                screen.say(f"report: {wanted.report}")
            if wanted.keep and told.ok:
                _kept(screen, world)
                processes.forget()
        except (Interrupted, KeyboardInterrupt):
            screen.warn("interrupted")
        finally:
            screen.done()
            with _deaf():
                world.end()
    if told is None:
        screen.say(f"logs are in {places.logs}")
        return INTERRUPTED
    if told.ok and not wanted.keep and wanted.work is None:
        shutil.rmtree(places.work)
    elif not told.ok:
        screen.say(f"logs are in {places.logs}")
    return 0 if told.ok else NOT_AS_SAID


def _jobs(models: Models, numbers: tuple[int, ...]) -> tuple[Job, ...]:
    """What builds behind the scenes, in the order of need."""
    return tuple(Job(version, models.model(version)) for version in needed(numbers))


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) in SCENES for part in parts):
        raise typer.BadParameter(
            f"scenes are numbers from {min(SCENES)} to {max(SCENES)}, separated by commas"
        )
    return chosen([int(part) for part in parts])


def _close(screen: Screen, told: Report) -> None:
    screen.done()
    screen.rollouts(told.rollouts)
    screen.kills(told.kills)
    screen.refusals(told.refusals)
    screen.closing(told.scenes, told.inferences, told.ok, told.seconds)


def _kept(screen: Screen, world: World) -> None:
    """Says where everything is and how to end it."""
    places = world.places
    if world.baseline:
        world.traffic.start_again(SLOT)
    pids = sorted({program.pid for program in world.processes.running()} | set(world.processes.left()))
    (places.work / "processes.json").write_text(json.dumps(pids))
    screen.say("everything goes on running:")
    screen.say(f"  controller {world.fleet.url}, admin token in {places.token}")
    for device in world.fleet.devices:
        serve = device.serve()
        screen.say(f"  {device.name} {serve.http if serve else '-'}, socket {device.socket}")
    screen.say(f"  try: fleetctl {' '.join(world.operator.flags())} rollout list")
    screen.say(f"  end it: kill {' '.join(map(str, pids))}")


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C must not cut the clean-up short."""
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through `finally`."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    caught = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, leave) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
