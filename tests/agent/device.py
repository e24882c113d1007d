"""A whole device in one thread: the real agent around a real state directory, a controller and a serve in
memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_agent import settings as agent_settings
from modelfleet_agent.bootstrap import Agent, World
from modelfleet_agent.control.protocol import (
    Actual,
    Desired,
    ModelActual,
    ModelState,
    SelfTest,
    SlotActual,
    SlotDesired,
    WindowClosed,
)
from modelfleet_agent.identity.keys import FileKey
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_agent.lifecycle.work import InlineWorker
from modelfleet_agent.settings import Settings
from modelfleet_agent.state.folder import prepare
from modelfleet_agent.uplink.enroll import Order, enroll
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.report import Report

from tests.agent.fakes import FACTS, FakeController, entropy

RUNTIMES = {"onnxruntime": "1.22.0"}


class Killed(BaseException):
    """kill -9 at a chosen point."""


@dataclass
class Reaper:
    """Counts the points that a run passes, and kills it at one of them."""

    kill_at: int | None = None
    passed: list[str] = field(default_factory=list)

    def point(self, name: str) -> None:
        here = len(self.passed)
        self.passed.append(name)
        if self.kill_at == here:
            raise Killed(name)


@dataclass
class FakeServe:
    """Serve as the supervisor sees it; lives on when the supervisor dies, as serve does.

    Attributes:
        broken: release -> (code, reason): it never gets ready.
        golden: release -> right answers of 100.
        refuses: the next table is not saved.
    """

    broken: dict[str, tuple[str, str]] = field(default_factory=dict)
    self_test_failed: set[str] = field(default_factory=set)
    golden: dict[str, int] = field(default_factory=dict)
    crash_loop: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    running: bool = True
    refuses: bool = False
    never_switches: bool = False
    boot: int = 1
    generation: int = 0
    rows: dict[str, SlotDesired] = field(default_factory=dict)
    active: dict[str, str | None] = field(default_factory=dict)
    fallen: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    history: list[tuple[str, str | None]] = field(default_factory=list)
    windows_closed: list[WindowClosed] = field(default_factory=list)
    swaps: int = 0
    drains: int = 0
    reaper: Reaper = field(default_factory=Reaper)

    def connect(self) -> FakeServe:
        if not self.running:
            raise WorldError(Code.SERVE_UNREACHABLE, "nobody listens", expected="", todo="")
        return self

    def hello(self) -> str:
        self.connect()
        return f"boot{self.boot}"

    def want(self, desired: Desired) -> Actual:
        self.connect()
        self.reaper.point("before want")
        if self.refuses:
            self.refuses = False
            raise WorldError(Code.SERVE_UNREACHABLE, "the table could not be saved", expected="", todo="")
        if desired.generation >= self.generation:
            self.generation = desired.generation
            self.rows = {row.slot: row for row in desired.slots}
        self.reaper.point("after want")
        return self.actual()

    def actual(self) -> Actual:
        self.connect()
        self._settle()
        slots = tuple(self._slot(row) for row in self.rows.values())
        return Actual(self.generation, f"boot{self.boot}", 4242, slots)

    def windows(self, acknowledged: int) -> tuple[WindowClosed, ...]:
        self.connect()
        self.windows_closed = [w for w in self.windows_closed if w.cursor > acknowledged]
        return tuple(self.windows_closed[:64])

    def drain(self) -> None:
        self.drains += 1
        self.running = False

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass

    # What a test makes happen

    def fall(self, slot: str, code: Code = Code.OUTPUT_NOT_FINITE, reason: str = "NaN") -> None:
        """Serve takes the active model back by itself."""
        row = self.rows[slot]
        refs = [ref for ref in (row.incumbent, row.previous) if ref is not None]
        to = next((ref.release for ref in refs if ref.release != self.active[slot]), None)
        self.fallen[slot] = (str(self.active[slot]), code.value, reason)
        self._flip(slot, to)

    def close_window(self, report: Report) -> None:
        cursor = self.windows_closed[-1].cursor + 1 if self.windows_closed else 1
        self.windows_closed.append(WindowClosed(cursor, report))

    def reboot(self) -> None:
        """Serve died and came back from its saved table."""
        self.running = True
        self.boot += 1

    def _settle(self) -> None:
        for row in self.rows.values():
            fallen = self.fallen.get(row.slot)
            if fallen is not None and row.active != fallen[0]:
                del self.fallen[row.slot]
                fallen = None
            ready = row.active is None or (
                row.active not in self.broken and row.active not in self.slow and not self.never_switches
            )
            if fallen is None and ready and self.active.get(row.slot) != row.active:
                self._flip(row.slot, row.active)

    def _flip(self, slot: str, to: str | None) -> None:
        if self.active.get(slot) is not None and to is not None:
            self.swaps += 1
        self.active[slot] = to
        self.history.append((slot, to))

    def _slot(self, row: SlotDesired) -> SlotActual:
        fallen = self.fallen.get(row.slot)
        models = tuple(
            self._model(ref.release, ref.variant, row)
            for ref in (row.incumbent, row.candidate, row.previous)
            if ref is not None
        )
        return SlotActual(
            slot=row.slot,
            active=self.active.get(row.slot),
            models=models,
            fell_back=fallen[2] if fallen is not None else None,
            fell_back_code=fallen[1] if fallen is not None else None,
            swaps=self.swaps,
            worst_swap_gap_ms=1.5,
        )

    def _model(self, release: str, variant: str, row: SlotDesired) -> ModelActual:
        state, code, reason = ModelState.READY, None, None
        test: SelfTest | None = SelfTest(True, 10)
        if release in self.broken:
            (code, reason), state, test = self.broken[release], ModelState.FAILED, None
        elif release in self.slow:
            state, test = ModelState.STARTING, None
        elif release in self.self_test_failed:
            state, test = ModelState.FAILED, SelfTest(False, 10, "top-1 differs on 3 of 10 samples")
        right = self.golden.get(release, 90) if row.golden_folder is not None else None
        return ModelActual(
            release=release,
            variant=variant,
            state=state,
            code=code,
            reason=reason,
            crash_loop=release in self.crash_loop,
            self_test=test,
            golden_right=right,
            golden_total=100 if right is not None else None,
        )


@dataclass
class FakeLauncher:
    """Starts the fake serve when asked, if it may."""

    serve: FakeServe
    works: bool = True
    asked: int = 0

    def ensure(self) -> None:
        self.asked += 1
        if self.works and not self.serve.running:
            self.serve.reboot()

    def address(self) -> str | None:
        return "http://127.0.0.1:8500"


class Device:
    """One enrolled device; `agent` is replaced when it is killed and started again."""

    def __init__(self, root: Path, controller: FakeController | None = None, **flags: object) -> None:
        self.controller = controller or FakeController()
        self.clock = ManualClock()
        self.serve = FakeServe()
        self.launcher = FakeLauncher(self.serve)
        self.starts = 0
        self.settings = self._settings(root, flags)
        self.worker = InlineWorker()
        folder = prepare(root)
        enroll(
            folder,
            Order("http://127.0.0.1:1", self.controller.token, self.controller.trust_bytes(), "press 7"),
            FACTS,
            keys=FileKey(folder.key, entropy(1)),
            transport_of=lambda ca: self.controller,
            clock=self.clock,
            entropy=entropy(2),
        )
        self.agent = self.start()

    @staticmethod
    def _settings(root: Path, flags: dict[str, object]) -> Settings:
        base: dict[str, object] = {"state_dir": str(root), "poll_floor_s": 0.1, "min_free_bytes": 0}
        return agent_settings.load(environment={}, flags=base | flags)

    def world(self) -> World:
        self.starts += 1
        return World(
            clock=self.clock,
            entropy=entropy(100 + self.starts),
            transport=lambda url, ca: self.controller,
            connect=self.serve.connect,
            launcher=self.launcher,
            worker=self.worker,
            runtimes=lambda: RUNTIMES,
        )

    def start(self) -> Agent:
        self.agent = Agent(self.settings, self.world())
        return self.agent

    def kill(self) -> None:
        """What kill -9 leaves: no descriptor, no lock, no last words."""
        with suppress(Exception):
            self.agent.journal.close()
        self.agent.wake_loop.close()
        self.agent._lock.release()

    def restart(self) -> Agent:
        self.kill()
        return self.start()

    def round(self, seconds: float = 1.0) -> None:
        """Time passes, the courier speaks with the controller, the control loop looks twice."""
        self.clock.advance(seconds)
        self.controller.clock.advance(seconds)
        self.agent.courier.round()
        self.agent.tick()
        self.agent.tick()
        self.agent.courier.round()

    def until(self, condition: Callable[[], bool], rounds: int = 60, seconds: float = 1.0) -> None:
        for _ in range(rounds):
            if condition():
                return
            self.round(seconds)
        assert condition(), (self.record, self.controller.kinds(), self.agent.board.uplink)

    def until_state(self, *states: State, seconds: float = 1.0) -> None:
        self.until(lambda: self.record.state in states, seconds=seconds)

    def settle(self) -> None:
        """Until nothing is under way and the controller has heard everything."""
        self.until(lambda: self.record.state is State.IDLE and not self.agent.journal.pending)

    @property
    def record(self) -> SlotRecord:
        return self.agent.journal.slot("digits")

    def holds(self) -> tuple[str | None, str | None]:
        """(incumbent, previous), by reference."""
        chain = self.record.chain
        return (
            chain.incumbent.reference if chain.incumbent is not None else None,
            chain.previous.reference if chain.previous is not None else None,
        )

    def folders(self) -> list[str]:
        """What lies in the store, unfinished things included."""
        store = self.agent.folder.store
        inner = [f"{p.name}/{q.name}" for p in store.iterdir() if p.name.startswith(".") for q in p.iterdir()]
        return sorted([p.name for p in store.iterdir() if not p.name.startswith(".")] + inner)
