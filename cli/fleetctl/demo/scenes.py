"""Scenes 1 to 5: the fleet comes up, a first release, a better one, and three that are worse.

A scene does what an operator would do and checks what was promised; it never explains away what it sees.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelfleet_core.wire.operator import RolloutView

from .fleet import SLOT
from .rollouts import Ran, name_of, resource
from .traffic import Light
from .world import World

READY_S = 60.0


def fleet_comes_up(world: World) -> None:
    """Scene 1: an embedded controller and six agents, each enrolled with its own key."""
    world.start_controller()
    operator = world.operator
    world.screen.doing("six devices make their keys and enrol")
    token = operator.enrolment_token(len(world.fleet.devices), allow_override=True)
    world.fleet.enrol(token)
    seen = {device.name: device.device_class for device in operator.devices()}
    wanted = {device.name: device.spec.device_class for device in world.fleet.devices}
    world.record.check("six agents run, two of each class", seen == wanted, _pairs(seen))
    overridden = {d.name for d in operator.devices() if d.facts.overridden}
    named = {device.name for device in world.fleet.devices if device.spec.architecture}
    world.record.check(
        "overridden facts are shown as such", overridden == named, ", ".join(sorted(overridden))
    )
    up = world.eventually(lambda: all(device.scrape() is not None for device in world.fleet.devices), READY_S)
    world.record.check("each device's serve answers, without a model so far", up)
    for device in world.fleet.devices:
        world.traffic.start(device.name, device.socket, SLOT)
    world.screen.say("six cameras wait for a model; each will send 20 images a second until the end")


def first_release(world: World) -> None:
    """Scene 2: digits:1.0 is built in view, signed, pushed, and goes to all."""
    world.release("1.0", in_view=True)
    world.builds_behind()
    ran = world.rollouts.run(resource("first-install", f"{SLOT}:1.0", name_of("1.0")))
    _completed(world, ran, "1.0")
    gates = {gate.metric: gate.verdict for one in ran.view.classes for gate in one.gates}
    paired = {metric: gates.get(metric) for metric in ("latency_p50", "disagreement")}
    told = all(verdict == "not_applicable" for verdict in paired.values())
    world.record.check(
        "without an incumbent the paired gates are not applicable, and named so", told, _pairs(paired)
    )
    ready = world.eventually(lambda: world.traffic.counts().ready, READY_S)
    world.record.check("every camera gets answers", ready)


def better_release(world: World) -> None:
    """Scene 3: digits:1.1 is better; shadow, canary, all."""
    world.release("1.1")
    before = world.traffic.counts()
    ran = world.rollouts.run(resource("small-fleet", f"{SLOT}:1.1", name_of("1.1")))
    _completed(world, ran, "1.1")
    after = world.traffic.counts()
    lost = sum(row.failed + row.dropped for row in ran.row.classes) + after.failed - before.failed
    gap = max((row.worst_swap_gap_ms or 0.0 for row in ran.row.classes), default=0.0)
    served = sum(row.served for row in ran.row.classes)
    world.record.check(
        "not one inference failed or was dropped during any swap",
        lost == 0 and served > 0,
        f"{served} served, {lost} lost, worst gap {gap:.1f} ms",
    )


def mislabelled(world: World) -> None:
    """Scene 4: digits:1.2 was trained on wrong labels."""
    world.release("1.2")
    text = resource("small-fleet", f"{SLOT}:1.2", name_of("1.2"))
    ran = world.rollouts.run(text, give_up=_got_out_of_shadow)
    _stopped(world, ran, "1.2", "shadow", ("disagreement", "golden"))
    _answered_nothing(world, ran, "1.2")


def slow(world: World) -> None:
    """Scene 5, first half: digits:1.3 is as accurate as 1.1 and much slower."""
    world.release("1.3")
    text = resource("small-fleet", f"{SLOT}:1.3", name_of("1.3"))
    ran = world.rollouts.run(text, give_up=_got_out_of_shadow)
    _stopped(world, ran, "1.3", "shadow", ("latency_p50",))
    _answered_nothing(world, ran, "1.3")


def daylight(world: World) -> None:
    """Scene 5, second half: digits:1.4 is as good as 1.1 until the sun sets on its canary."""
    world.release("1.4")
    canary: set[str] = set()
    dark: set[str] = set()

    def sunset(view: RolloutView) -> None:
        """Night falls on a class when its canary is live."""
        switched = {d.name: d.device_class for d in view.devices if d.outcome in ("probation", "committed")}
        canary.update(switched)
        for device_class in sorted(set(switched.values()) - dark):
            dark.add(device_class)
            world.traffic.light(Light.NIGHT, [device.name for device in world.fleet.of_class(device_class)])
            world.screen.say(f"the sun sets on {device_class}: its cameras send night images from now on")

    ran = world.rollouts.run(resource("small-fleet", f"{SLOT}:1.4", name_of("1.4")), while_running=sunset)
    _stopped(world, ran, "1.4", "live", ("disagreement",))
    answers = {d.name: d.counts().answers.get(ran.view.release_id, 0) for d in world.fleet.devices}
    ran_it = {name for name, count in answers.items() if count}
    per_class = all(
        sum(d.name in ran_it for d in world.fleet.of_class(one.device_class)) <= 1 for one in ran.view.classes
    )
    world.record.check(
        "nobody outside the canary ever ran digits:1.4", ran_it <= canary and per_class, _pairs(answers)
    )
    _all_run(world, world.baseline_id, f"every device is back on {world.baseline}")
    world.traffic.light(Light.DAY, world.traffic.cameras)


def _got_out_of_shadow(view: RolloutView) -> str | None:
    """Nothing is gained by letting a release go on that should have been stopped in shadow."""
    out = [one.device_class for one in view.classes if one.outcome is None and one.stage_mode != "shadow"]
    return f"it got out of shadow in {', '.join(out)}" if out else None


def _completed(world: World, ran: Ran, version: str) -> None:
    outcomes = {one.device_class: one.outcome for one in ran.view.classes}
    good = all(outcome == "completed" for outcome in outcomes.values()) and len(outcomes) == len(
        world.fleet.classes
    )
    world.record.check(f"digits:{version} completes in every class", good, _pairs(outcomes))
    if good:
        world.baseline, world.baseline_id = ran.view.release, ran.view.release_id
        _all_run(world, ran.view.release_id, f"every device runs digits:{version}")


def _stopped(world: World, ran: Ran, version: str, where: str, gates: tuple[str, ...]) -> None:
    seen = {
        one.device_class: f"{one.outcome} in {one.stopped_in} by {one.stopped_by}" for one in ran.view.classes
    }
    good = len(seen) == len(world.fleet.classes) and all(
        one.outcome == "rolled_back" and one.stopped_in == where and one.stopped_by in gates
        for one in ran.view.classes
    )
    promise = f"digits:{version} is rolled back in every class, in {where}, by {' or '.join(gates)}"
    world.record.check(promise, good, _pairs(seen))


def _answered_nothing(world: World, ran: Ran, version: str) -> None:
    served = sum(row.live_answers_by_candidate for row in ran.row.classes)
    told = sum(one.live_answers_by_candidate for one in ran.view.classes)
    world.record.check(
        f"digits:{version} answered not one real request",
        served == told == 0,
        f"{served} by the devices' metrics, {told} by the controller",
    )


def _all_run(world: World, release_id: str, promise: str) -> None:
    runs = {
        device.name: slot.incumbent_reference
        for device in world.operator.devices()
        for slot in device.slots
        if slot.slot == SLOT
    }
    same = all(
        slot.incumbent == release_id for device in world.operator.devices() for slot in device.slots
    ) and len(runs) == len(world.fleet.devices)
    world.record.check(promise, same, _pairs(runs))


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in sorted(values.items()))
