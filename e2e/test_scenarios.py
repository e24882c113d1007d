"""What the demo does not show: a model that answers NaN, a controller that is away, and kills in every state.

Each test rolls a release out on the same two devices and stands alone: it may run first or last, because it
compares with whatever the devices run when it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleetctl.demo.fleet import Device
from fleetctl.demo.journal import Lookout
from fleetctl.demo.rollouts import resource
from fleetctl.demo.world import World
from modelfleet_core.lifecycle.machine import State

from e2e.town import NAN, SLOT, install, job, town

PLACED_S = 90.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two devices that run digits:1.0, each with its camera; 1.1, 1.3 and the NaN release are pushed."""
    jobs = (job("1.0"), job("1.1"), job("1.3"), job("1.5", NAN))
    with town(tmp_path_factory.mktemp("t") / "w", jobs) as world:
        install(world, "1.0")
        yield world


def incumbents(world: World) -> set[str | None]:
    return {slot.incumbent_reference for device in world.operator.devices() for slot in device.slots}


def test_a_release_that_answers_nan_is_rolled_back_and_no_caller_notices(fleet: World) -> None:
    before, lost = incumbents(fleet), fleet.traffic.counts().failed
    text = resource("small-fleet", f"{SLOT}:1.5", "nan", LIVE_AT_ONCE)
    ran = fleet.rollouts.run(text)
    (one,) = ran.view.classes
    assert ran.view.outcome == "rolled_back", ran.view
    # whichever sees enough first: the devices' own watch over the fresh switch, or the errors gate
    assert one.stopped_by == "errors" or "had no finite answer" in one.reason, one
    assert ran.row.classes[0].live_answers_by_candidate > 0, "it never went live, so nothing was shown"
    assert incumbents(fleet) == before
    assert fleet.traffic.counts().failed == lost


LIVE_AT_ONCE: dict[str, object] = {
    "stages": [{"name": "all", "mode": "live", "percent": 100, "minBake": "6s", "deadline": "150s"}],
    "gates": [
        {"metric": "errors", "tolerance": "1%", "limit": "10%"},
        {"metric": "golden", "tolerance": "20pt"},
        {"metric": "silence", "tolerance": "20%", "afterMissed": 8},
    ],
}
"""The shadow stage, and the golden set by 14 points, would stop it before it answers anybody; here it may."""


def test_devices_finish_while_the_controller_is_away(fleet: World) -> None:
    """It disappears when the files are there; switch, probation, commit need nobody (semantics section 4)."""
    lost = fleet.traffic.counts().failed
    lookouts = [Lookout(device.journal) for device in fleet.fleet.devices]
    view = fleet.operator.create_rollout(resource("slow-is-fine", f"{SLOT}:1.1", "away"))
    for lookout in lookouts:
        assert lookout.wait(State.LOADING, PLACED_S, fleet.clock)
    fleet.fleet.kill_controller()
    for lookout in lookouts:
        assert lookout.wait(State.COMMITTING, PLACED_S, fleet.clock)
        assert lookout.wait(State.IDLE, PLACED_S, fleet.clock)
    answered = fleet.traffic.counts().answered
    assert fleet.eventually(lambda: fleet.traffic.counts().answered > answered + 40, 30)
    fleet.fleet.restart_controller()
    assert fleet.eventually(lambda: fleet.operator.rollout(view.id).outcome is not None, 120)
    assert fleet.operator.rollout(view.id).outcome == "completed"
    assert incumbents(fleet) == {f"{SLOT}:1.1"}
    assert fleet.traffic.counts().failed == lost


def test_nothing_changes_on_devices_that_never_hear_of_a_rollout(fleet: World) -> None:
    """The controller is away from the first moment to the last: everybody goes on as before."""
    before, lost = incumbents(fleet), fleet.traffic.counts().failed
    lookouts = [Lookout(device.journal) for device in fleet.fleet.devices]
    fleet.fleet.kill_controller()
    answered = fleet.traffic.counts().answered
    assert fleet.eventually(lambda: fleet.traffic.counts().answered > answered + 200, 60)
    assert not any(lookout.seen(State.VERIFYING) for lookout in lookouts)
    fleet.fleet.restart_controller()
    assert incumbents(fleet) == before
    assert fleet.traffic.counts().failed == lost


KILLED_IN = (
    ("one", (State.VERIFYING, State.CHECKING, State.SHADOWING, State.PROBATION)),
    ("two", (State.DOWNLOADING, State.LOADING, State.SWITCHING, State.COMMITTING)),
)


def test_a_supervisor_killed_in_every_state_finishes_all_the_same(fleet: World) -> None:
    lost = fleet.traffic.counts().failed
    pids = {device.name: _serve_pid(device) for device in fleet.fleet.devices}
    lookouts = {device.name: Lookout(device.journal) for device in fleet.fleet.devices}
    with ThreadPoolExecutor() as pool:
        killing = [pool.submit(_kill_in, fleet, lookouts[name], name, states) for name, states in KILLED_IN]
        view = fleet.operator.create_rollout(resource("slow-is-fine", f"{SLOT}:1.3", "killed"))
        assert [thread.result() for thread in killing] == [len(states) for _, states in KILLED_IN]
    assert fleet.eventually(lambda: fleet.operator.rollout(view.id).outcome is not None, 150)
    ended = fleet.operator.rollout(view.id)
    assert ended.outcome == "completed", ended
    assert {device.outcome for device in ended.devices} == {"committed"}
    assert incumbents(fleet) == {f"{SLOT}:1.3"}
    assert fleet.traffic.counts().failed == lost
    assert {device.name: _serve_pid(device) for device in fleet.fleet.devices} == pids


def _kill_in(world: World, lookout: Lookout, name: str, states: tuple[State, ...]) -> int:
    """Kills the supervisor as soon as the journal tells of each of these states; in how many it did."""
    device = world.fleet.device(name)
    for count, state in enumerate(states):
        if not lookout.wait(state, PLACED_S, world.clock):
            return count
        device.kill_supervisor()
        device.run()
    return len(states)


def _serve_pid(device: Device) -> int:
    serve = device.serve()
    assert serve is not None
    return serve.pid
