"""A device whose clock is an hour off enrols, checks in and goes on; a revoked one is refused (section 4).

The clock is wrong for the agent alone: its programs run with a `SystemClock` shifted before they begin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetctl.demo.fleet import Device
from fleetctl.demo.world import World

from e2e.support import Process, eventually
from e2e.town import town

SHIFTED = """
import sys
from datetime import timedelta
from modelfleet_core.clock import SystemClock
right = SystemClock.now
hours = float(sys.argv.pop(1))
SystemClock.now = lambda clock: right(clock) + timedelta(hours=hours)
from modelfleet_agent.main import main
sys.exit(main())
"""


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with town(tmp_path_factory.mktemp("c") / "w", ()) as world:
        yield world


def agent(world: World, device: Device, hours: float, *words: str | Path) -> Process:
    command = [sys.executable, "-c", SHIFTED, str(hours), *words, "--config", device.config]
    return Process(command, world.places.logs, name=f"{words[0]}-{device.name}")


def enrol(world: World, device: Device, hours: float) -> None:
    device.write_config(world.places.pair_lock)
    token = world.operator.enrolment_token(1)
    words = ("enroll", world.fleet.url, "--token", token, "--trust", world.places.trust)
    with agent(world, device, hours, *words) as enrolling:
        assert enrolling.wait(60) == 0, enrolling.stderr()


def status(device: Device) -> dict[str, object]:
    try:
        body = json.loads((device.state / "status.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("hours", [-1.0, 1.0])
def test_a_clock_that_is_an_hour_off_recovers(world: World, hours: float) -> None:
    device = world.fleet.devices[0]
    enrol(world, device, hours)
    with agent(world, device, hours, "run") as running:
        running.ready()
        eventually(lambda: status(device).get("last_contact"), 60, what="a check-in that was accepted")
        offset = status(device)["clock_offset_s"]
        assert isinstance(offset, float)
        assert abs(offset + hours * 3600) < 60
        (seen,) = world.operator.devices()
        assert seen.last_seen is not None


def test_a_revoked_device_is_refused_and_stays_up(world: World) -> None:
    device = world.fleet.devices[0]
    enrol(world, device, 0.0)
    with agent(world, device, 0.0, "run") as running:
        running.ready()
        eventually(lambda: status(device).get("last_contact"), 60, what="a check-in")
        (seen,) = world.operator.devices()
        world.operator.revoke(seen.id)
        eventually(lambda: "MF-1611" in json.dumps(status(device).get("last_error")), 60, what="the refusal")
        assert running.running
        assert device.scrape() is not None, "serve answers whatever the controller thinks of the device"
