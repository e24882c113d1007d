"""The composition root of the supervisor: here clock, entropy, files, network and threads come together."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from modelfleet_core import logs
from modelfleet_core.clock import Clock, Entropy, SystemClock, system_entropy
from modelfleet_runtimes import registry

from .board import Board
from .control.client import ServeClient
from .facts import measure
from .identity.identity import Enrolled, load
from .identity.keys import FileKey
from .lifecycle.journal import Journal
from .lifecycle.prepare import Preparer
from .lifecycle.store import VariantStore
from .lifecycle.work import ThreadWorker, Worker
from .outbox.reports import ReportSpool
from .settings import Settings
from .state.folder import Lock, prepare, sweep
from .supervisor.launcher import DetachedServe, Launcher
from .supervisor.loop import ControlLoop
from .supervisor.requests import Requests
from .supervisor.serve_link import ServeLink, ServePort
from .supervisor.status import OutboxView, ServeView, StatusFile, StatusView, slot_view
from .supervisor.wakeup import Wakeup
from .uplink.client import ControllerClient, CorrectedClock
from .uplink.courier import Courier
from .uplink.director import Director
from .uplink.transport import HttpTransport, Transport

_log = logging.getLogger(__name__)

FACTS_EVERY_S: Final = 600.0
TROUBLED_S: Final = 60.0


def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("modelfleet")
    except metadata.PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class World:
    """What tests replace.

    Attributes:
        clock, entropy: time and chance.
        transport: (address, CA) -> the controller.
        connect: opens a conversation with serve; raises WorldError where nobody listens.
        launcher: starts serve.
        worker: runs what blocks.
        runtimes: installed runtime plug-ins and their versions.
    """

    clock: Clock
    entropy: Entropy
    transport: Callable[[str, str | None], Transport]
    connect: Callable[[], ServePort]
    launcher: Launcher
    worker: Worker
    runtimes: Callable[[], dict[str, str]]


def real_world(settings: Settings, serve_command: tuple[str, ...] | None = None) -> World:
    """The machine, the network and serve as they are."""
    clock = SystemClock()
    command = serve_command or serve_program(settings)
    return World(
        clock=clock,
        entropy=system_entropy,
        transport=HttpTransport,
        connect=lambda: ServeClient(settings.control_socket),
        launcher=DetachedServe(settings.serve_dir, command, clock, managed=settings.serve.managed),
        worker=ThreadWorker(),
        runtimes=registry.available,
    )


def serve_program(settings: Settings) -> tuple[str, ...]:
    """How serve is started, with the same settings as this process."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "modelfleet_agent",
        "serve",
        "--state-dir",
        str(settings.state_dir),
    ]
    if settings.config is not None:
        command += ["--config", str(settings.config)]
    return tuple(command)


class Agent:
    """The supervisor: a control loop and a courier around one state directory."""

    def __init__(self, settings: Settings, world: World) -> None:
        """Takes the lock and opens everything.

        Raises:
            CallerError: MF-3002 newer state, MF-3003 another agent, MF-3005 not enrolled, MF-3007 no trust
            file. IntegrityError: MF-3009, identity, key and trust file do not belong together. WorldError:
            MF-3004, MF-5001.
        """
        self.settings = settings
        self._world = world
        self.folder = prepare(settings.state_dir)
        self._lock = Lock.acquire(self.folder.lock)
        try:
            sweep(self.folder)
            self._compose(load(self.folder, FileKey(self.folder.key, world.entropy)))
        except BaseException:
            self._lock.release()
            raise

    def _compose(self, enrolled: Enrolled) -> None:
        settings, world, folder = self.settings, self._world, self.folder
        self.enrolled = enrolled
        identity = enrolled.identity
        self._version = version()
        self.wake_loop, self.wake_courier = Wakeup(), threading.Event()
        self.clock = CorrectedClock(world.clock)
        self._facts_at = world.clock.monotonic()
        self.board = Board(measure(settings, world.runtimes(), self._version))
        client = ControllerClient(
            world.transport(identity.controller, enrolled.trust.controller_ca),
            identity.device,
            enrolled.signer,
            enrolled.policy,
            self.clock,
            world.entropy,
        )
        self.journal = Journal(folder.journal, self.clock, world.entropy)
        self.spool = ReportSpool(folder.outbox / "reports.log")
        self.director = Director(folder, identity.device, enrolled.policy, self.clock)
        store = VariantStore(folder.store)
        preparer = Preparer(
            store,
            client,
            enrolled.policy,
            facts=lambda: self.board.facts,
            clock=self.clock,
            entropy=world.entropy,
            keep_free=settings.min_free_bytes,
        )
        self.link = ServeLink(world.connect, world.launcher)
        self.loop = ControlLoop(
            journal=self.journal,
            store=store,
            prepare=preparer.run,
            worker=world.worker,
            director=self.director,
            link=self.link,
            spool=self.spool,
            board=self.board,
            requests=Requests(folder.requests),
            clock=self.clock,
            tell=self.wake_courier.set,
        )
        self.courier = Courier(
            client,
            self.journal,
            self.spool,
            self.director,
            self.board,
            clock=self.clock,
            entropy=world.entropy,
            boot_id=world.entropy(8).hex(),
            agent_version=self._version,
            poll_floor_s=settings.poll_floor_s,
            arrived=self.wake_loop.set,
        )
        self._status = StatusFile(folder.status, world.clock)
        if self.journal.damaged:
            logs.warning(_log, "journal.damaged", records=self.journal.damaged)

    def tick(self) -> float:
        """One look of the control loop, and the status of it; seconds until the next."""
        now = self._world.clock.monotonic()
        if now - self._facts_at > FACTS_EVERY_S:
            self._facts_at = now
            self.board.put_facts(measure(self.settings, self._world.runtimes(), self._version))
        seconds = self.loop.tick()
        self._status.put(self.status())
        return seconds

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set. Serve goes on after it."""
        courier = threading.Thread(target=self._carry, args=(stop,), name="courier", daemon=True)
        courier.start()
        gc.collect()
        gc.freeze()
        while not stop.is_set():
            seconds = self.tick()
            self.wake_loop.wait(seconds, self.link.fileno())
        self.wake_courier.set()
        courier.join(timeout=5.0)
        self.close()

    def close(self) -> None:
        """Ends as it should, and gives the state directory free."""
        self.loop.stop()
        self._status.put(self.status())
        self.journal.close()
        self._lock.release()

    def _carry(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                seconds = self.courier.round()
            except Exception:
                # A fault of ours in speaking with the controller must not stop what looks after serve.
                logs.error(_log, "courier.failed", trace=True)
                seconds = TROUBLED_S
                stop.wait(seconds)
            self.wake_courier.wait(seconds)
            self.wake_courier.clear()

    def status(self) -> StatusView:
        """Where everything stands."""
        identity, uplink, director = self.enrolled.identity, self.board.uplink, self.director
        actual = self.loop.actual
        active = {slot.slot: slot.active for slot in actual.slots} if actual is not None else {}
        statement, trouble = director.statement, self.link.trouble
        return StatusView(
            at=self._world.clock.now(),
            pid=os.getpid(),
            device=identity.device,
            name=identity.name,
            controller=identity.controller,
            device_class=identity.device_class,
            agent_version=self._version,
            state_dir=str(self.settings.state_dir),
            revision=director.revision,
            statement_expires_at=statement.expires_at if statement is not None else None,
            statement_holds=director.holds(),
            clock_offset_s=round(self.clock.offset_s, 3),
            poll_s=uplink.poll_s,
            last_contact=uplink.last_contact,
            failures=uplink.failures,
            last_error=uplink.error or self.loop.trouble,
            slots=tuple(
                slot_view(slot.record, slot.status(), active.get(slot.record.slot))
                for slot in self.loop.slots
            ),
            serve=ServeView(
                pid=self.link.pid,
                boot_id=self.link.boot_id,
                http=self.link.address(),
                socket=str(self.settings.serve.socket),
                control=str(self.settings.control_socket),
                code=trouble.code.value if trouble is not None else None,
                reason=trouble.happened if trouble is not None else None,
            ),
            outbox=OutboxView(self.journal.epoch, self.journal.pending, len(self.spool), self.spool.dropped),
            facts=self.board.facts,
            journal_damaged=self.journal.damaged,
        )


def ready_line(agent: Agent) -> str:
    """What the program prints when it runs."""
    return json.dumps(
        {
            "ready": {
                "device": agent.enrolled.identity.device,
                "state_dir": str(agent.settings.state_dir),
                "pid": os.getpid(),
            }
        }
    )
