"""Serve as a whole: the slots, the table they follow, and what is told about them. Sockets are elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from modelfleet_core import logs
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, WorldError

from ..control.protocol import Actual, Desired, ModelState, SlotDesired, WindowClosed
from . import request as requests
from . import table
from .pair_lock import PairLock
from .request import Inference, Served
from .shared import Shared
from .slot import Slot
from .table import SavedTable
from .windows import ClosedWindows

WATCHDOG_S: Final = 3.0
TICK_S: Final = 0.1
DRAIN_S: Final = 10.0

log = logging.getLogger(__name__)


class Serve:
    """The data plane's state.

    Args:
        folder: serve's own folder in the state directory.
        lock: of latency pairs on this machine.
        threads: threads for one inference.
        watchdog_s: an inference that takes longer is a hang.
        clock, chance: the world.
        boot_id: names this start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lock: PairLock,
        threads: int,
        clock: Clock,
        chance: random.Random,
        boot_id: str,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        self.boot_id = boot_id
        self.draining = asyncio.Event()
        # A later boot begins with a higher cursor, so an old acknowledgement forgets nothing of it.
        self.windows = ClosedWindows(int(clock.now().timestamp()) * 1000)
        self._folder = folder
        self._slots: dict[str, Slot] = {}
        self._desired = Desired(0, ())
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared = Shared(
            clock=clock,
            lock=lock,
            chance=chance,
            windows=self.windows,
            threads=threads,
            watchdog_s=watchdog_s,
            engines=str(folder / "engines"),
            busy=self.busy,
            fell_back=self._save_later,
        )

    def busy(self) -> int:
        """Real requests under way."""
        return sum(slot.in_flight for slot in self._slots.values())

    def slots(self) -> tuple[Slot, ...]:
        """All slots, by name."""
        return tuple(self._slots[name] for name in sorted(self._slots))

    def slot(self, name: str) -> Slot:
        """The slot of that name.

        Raises:
            WorldError: MF-4020, there is none; MF-4024, serve is going down.
        """
        if self.draining.is_set():
            raise draining()
        slot = self._slots.get(name)
        if slot is None:
            raise requests.empty(name)
        return slot

    async def infer(self, slot: str, request: Inference) -> Served:
        """See `Slot.infer`; also MF-4024 while draining."""
        return await self.slot(slot).infer(request)

    def boot(self) -> None:
        """Begin with the saved table, if there is one; a damaged one is set aside until the supervisor
        comes."""
        try:
            saved = table.load(self._folder)
        except IntegrityError as error:
            logs.error(log, "serve.table_unreadable", reason=error.happened)
            return
        if saved is not None:
            self._desired = saved.desired
            for wanted in saved.desired.slots:
                self._slots[wanted.slot] = Slot(wanted.slot, self._shared, saved.fell_back.get(wanted.slot))
                self._slots[wanted.slot].want(wanted)

    async def want(self, desired: Desired) -> None:
        """Follow a new table; an older generation than the present one changes nothing.

        Raises:
            OSError: it could not be saved; nothing has changed.
        """
        async with self._saving:
            if desired.generation < self._desired.generation:
                return
            if desired != self._desired:
                await asyncio.to_thread(table.save, self._folder, self._saved(desired))
            self._desired = desired
            names = {wanted.slot for wanted in desired.slots}
            for wanted in desired.slots:
                slot = self._slots.get(wanted.slot)
                if slot is None:
                    slot = self._slots[wanted.slot] = Slot(wanted.slot, self._shared)
                slot.want(wanted)
            for name in [key for key in self._slots if key not in names]:
                slot = self._slots.pop(name)
                slot.want(SlotDesired(name, None, None, None, None))
                self._background(slot.stop())

    def actual(self) -> Actual:
        """What is so."""
        return Actual(
            self._desired.generation,
            self.boot_id,
            os.getpid(),
            tuple(slot.actual() for slot in self.slots()),
        )

    def windows_after(self, acknowledged: int) -> tuple[WindowClosed, ...]:
        """See `ClosedWindows.take`."""
        return self.windows.take(acknowledged)

    def is_ready(self) -> bool:
        """Every slot that should have an active model has one that is ready."""
        return not self.draining.is_set() and all(
            slot.active is not None and slot.active.state is ModelState.READY
            for slot in self.slots()
            if slot.wants_active
        )

    async def keep_time(self) -> None:
        """Close windows as they end; runs until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            for slot in self.slots():
                try:
                    slot.tick()
                except Exception as error:  # one slot's fault must not stop the others' windows
                    logs.error(
                        log, "serve.window_fault", trace=True, slot=slot.name, kind=type(error).__name__
                    )

    async def drain(self) -> None:
        """Take no more requests, finish what is under way (at most 10 s), end the workers."""
        self.draining.set()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while self.busy() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        await asyncio.gather(*(slot.stop() for slot in self._slots.values()))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _saved(self, desired: Desired) -> SavedTable:
        marks = {name: slot.fell_back for name, slot in self._slots.items() if slot.fell_back is not None}
        return SavedTable(desired, marks)

    def _save_later(self) -> None:
        self._background(self._save())

    async def _save(self) -> None:
        async with self._saving:
            try:
                await asyncio.to_thread(table.save, self._folder, self._saved(self._desired))
            except OSError as error:
                logs.error(log, "serve.table_not_saved", reason=str(error))

    def _background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def draining() -> WorldError:
    """Serve is going down; its successor will answer."""
    return WorldError(
        Code.SERVE_DRAINING,
        "serve is shutting down",
        expected="a serve that takes requests",
        todo="try again in a moment; the SDK does so by itself",
    )
