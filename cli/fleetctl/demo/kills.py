"""Scene 6: kill -9 where it hurts most, each kill placed by an observed journal record, and nobody notices.

A device that loses its supervisor goes on serving; the demo, in systemd's place, starts the supervisor again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from modelfleet_core.lifecycle.machine import State

from .fleet import SLOT, Device
from .journal import Lookout
from .report import KillRow
from .rollouts import name_of, resource
from .traffic import DEADLINE_S
from .world import World

VERSION = "1.3"
"""The slow one, under a plan that accepts slowness: a good model, and one that no device holds any more, so
there is something to download."""
PLACED_S = 120.0
ANSWERS_S = 10.0


@dataclass(slots=True)
class _Hit:
    """What a kill thread did and saw."""

    device: Device
    where: str
    record: State
    done: bool = False
    seen: str = ""
    before: int = 0
    """Answers that the device's camera had when the kill came."""
    serve_pid: int = 0


def kills(world: World) -> None:
    """Two devices are hit while a release is on its way to all; a third one loses serve."""
    world.release(VERSION)
    download = _Hit(world.fleet.device("ort-1"), "supervisor in the middle of a download", State.DOWNLOADING)
    swap = _Hit(
        world.fleet.device("openvino-1"),
        "supervisor and candidate's worker in the middle of a swap",
        State.SWITCHING,
    )
    failed = world.traffic.counts().failed
    threads = [
        threading.Thread(target=_kill_in_download, args=(world, download), daemon=True),
        threading.Thread(target=_kill_in_swap, args=(world, swap), daemon=True),
    ]
    for thread in threads:
        thread.start()
    ran = world.rollouts.run(resource("slow-is-fine", f"{SLOT}:{VERSION}", name_of(VERSION) + "-again"))
    for thread in threads:
        thread.join(PLACED_S)
    outcomes = {device.name: device.outcome for device in ran.view.devices}
    lost = world.traffic.counts().failed - failed
    for hit in (download, swap):
        serve = hit.device.serve()
        alive = serve is not None and serve.pid == hit.serve_pid
        finished = outcomes.get(hit.device.name) == "committed"
        answers = world.traffic.cameras[hit.device.name].counts().answered - hit.before
        good = hit.done and alive and finished and answers > 0 and lost == 0
        said = (
            f"{hit.seen}; serve {'never stopped' if alive else 'stopped'}, {answers} answers since, device "
        )
        said += f"{outcomes.get(hit.device.name, 'unknown')}, {lost} calls failed"
        row = KillRow(
            where=f"{hit.where}, {hit.device.name}", recovered=good, placed_by=hit.record, said=said
        )
        world.record.kills.append(row)
        world.record.check(f"kill -9 of the {hit.where}: both devices finish, serve never stops", good, said)
    _completed(world, {one.device_class: one.outcome for one in ran.view.classes}, ran.view.release_id)
    _kill_serve(world, world.fleet.device("litert-1"))


def _completed(world: World, outcomes: dict[str, str | None], release_id: str) -> None:
    good = all(outcome == "completed" for outcome in outcomes.values())
    if good:
        world.baseline, world.baseline_id = f"{SLOT}:{VERSION}", release_id
    world.record.check(
        f"digits:{VERSION} completes in every class all the same",
        good,
        ", ".join(f"{k}: {v}" for k, v in outcomes.items()),
    )


def _kill_in_download(world: World, hit: _Hit) -> None:
    """The record says DOWNLOADING and some, but not all, of the bytes are there."""
    lookout = Lookout(hit.device.journal)
    if not lookout.wait(State.DOWNLOADING, PLACED_S, world.clock):
        hit.seen = "no journal record of a download"
        return
    if not world.eventually(lambda: hit.device.partial_bytes() > 0, PLACED_S):
        hit.seen = "a download without a partial file"
        return
    _mark(world, hit)
    hit.device.kill_supervisor()
    hit.seen = f"killed with {hit.device.partial_bytes():,} bytes fetched"
    hit.done = True
    hit.device.run()


def _kill_in_swap(world: World, hit: _Hit) -> None:
    """The record says SWITCHING: the supervisor has written down that it will, and not yet that it did."""
    lookout = Lookout(hit.device.journal)
    if not lookout.wait(State.SWITCHING, PLACED_S, world.clock):
        hit.seen = "no journal record of a swap"
        return
    hit.device.kill_supervisor()
    _mark(world, hit)
    worker = hit.device.newest_worker()
    if worker is not None:
        world.processes.kill(worker)
    unfinished = not lookout.seen(State.PROBATION)
    told = "unfinished" if unfinished else "finished"
    hit.seen = f"killed supervisor and worker {worker}, swap {told} in the journal"
    hit.done = worker is not None and unfinished
    hit.device.run()


def _mark(world: World, hit: _Hit) -> None:
    serve = hit.device.serve()
    hit.serve_pid = serve.pid if serve is not None else 0
    hit.before = world.traffic.cameras[hit.device.name].counts().answered


def _kill_serve(world: World, device: Device) -> None:
    """The SDK reconnects; no call fails within its deadline."""
    camera = world.traffic.cameras[device.name]
    before = camera.counts()
    killed = device.kill_serve()
    back = world.eventually(
        lambda: (serve := device.serve()) is not None and serve.pid != killed and device.scrape() is not None,
        ANSWERS_S * 3,
    )
    world.eventually(lambda: camera.counts().answered > before.answered + 40, ANSWERS_S * 3)
    after = camera.counts()
    good = back and after.failed == before.failed and after.answered > before.answered + 40
    said = f"{after.answered - before.answered} answers since, {after.failed - before.failed} failed, "
    said += f"slowest call {after.slowest_ms:.0f} ms of {DEADLINE_S:g} s allowed"
    world.record.kills.append(
        KillRow(where=f"serve, {device.name}", recovered=good, placed_by="idle", said=said)
    )
    world.record.check("kill -9 of serve: the SDK reconnects, no call fails within its deadline", good, said)
