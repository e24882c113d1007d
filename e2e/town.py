"""A small fleet for scenarios beside the demo: the demo's own parts with fewer devices and one class.

The releases are built once per session, as fp32 alone: what is built how is tested elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fleetctl.demo.builds import Job
from fleetctl.demo.fleet import SLOT, Spec
from fleetctl.demo.places import MODELS, Models, Places, camera_program, make
from fleetctl.demo.processes import Processes
from fleetctl.demo.rollouts import Ran, name_of, resource
from fleetctl.demo.screen import PLAIN_WIDTH, Screen
from fleetctl.demo.world import World
from modelfleet_core.clock import SystemClock, system_entropy

EXAMPLES = Path(__file__).parent.parent / "examples" / "digits"
NAN = "digits-1.5-nan.onnx"
DEVICES = (Spec("one", "onnxruntime", "x86-onnxruntime"), Spec("two", "onnxruntime", "x86-onnxruntime"))


@contextmanager
def town(work: Path, jobs: tuple[Job, ...], specs: tuple[Spec, ...] = DEVICES) -> Iterator[World]:
    """A controller, devices and cameras; every release of `jobs` is built, signed and pushed.

    Without jobs the controller is alone: the devices are the test's to enrol.
    """
    clock = SystemClock()
    places = make(work)
    shown = io.StringIO()
    screen = Screen(Console(file=shown, width=PLAIN_WIDTH, highlight=False), clock)
    processes = Processes(places.logs, places.work, clock)
    models = Models(EXAMPLES)
    world = World(places, models, camera_program(), processes, screen, clock, system_entropy, jobs, specs)
    try:
        world.builds.behind(jobs)
        world.start_controller()
        if jobs:
            _populate(world)
        for job in jobs:
            world.release(job.version)
        yield world
    except BaseException as error:
        error.add_note(f"logs: {places.logs}\n{shown.getvalue()[-8_000:]}")
        raise
    finally:
        world.end()


def _populate(world: World) -> None:
    world.fleet.enrol(world.operator.enrolment_token(len(world.fleet.devices), allow_override=True))
    for device in world.fleet.devices:
        world.traffic.start(device.name, device.socket, SLOT)


def install(world: World, version: str) -> Ran:
    """The first release, on every device; cameras get answers afterwards."""
    ran = world.rollouts.run(resource("first-install", f"{SLOT}:{version}", name_of(version)))
    assert ran.view.outcome == "completed", ran.view
    assert world.eventually(lambda: world.traffic.counts().ready, 60), "no answers"
    return ran


def job(version: str, file: str = "") -> Job:
    """An fp32 build of one of the example models."""
    source = EXAMPLES / (file or MODELS[version])
    return Job(version, source, ("fp32",))


__all__ = ["DEVICES", "NAN", "SLOT", "Places", "install", "job", "town"]
