"""One loaded variant as serve sees it: its worker, started, tested, watched, started again.

Life: a worker is launched -> OPEN (load, self-test, warm-up) -> golden accuracy -> READY -> dies -> again,
with back-off. A *persistent* model (incumbent or previous: committed once) is never given up and does not
fail its self-test into absence; any other is FAILED for good when it cannot be loaded, fails its self-test,
or crash-loops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from modelfleet_core import logs
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.engine_spec import BUILD_LIMIT_S, ENGINE_SPEC_NAME
from modelfleet_core.release.manifest import CONTRACT_NAME
from modelfleet_core.wire import codec

from ..control.framing import Buffer
from ..control.protocol import ModelActual, ModelRef, ModelState, SelfTest
from ..worker.priority import Priority
from ..worker.protocol import GoldenPart, Op, Open, Order, Run, Status
from .crashes import CrashRecord
from .link import Result, WorkerLink, launch

OPEN_LIMIT_S: Final = 300.0
IDLE_LIMIT_FACTOR: Final = 10.0
GOLDEN_PART_NS: Final = 10_000_000
"""A part of a golden set is about that long, so that a real request behind it waits no longer."""
MAX_CONTRACT_BYTES: Final = 1_000_000
_RETIRE_S: Final = 10.0

log = logging.getLogger(__name__)


class Model:
    """One variant and its worker.

    Args:
        ref: which variant, and where it lies.
        threads: threads for one inference.
        watchdog_s: an inference that takes longer is a hang.
        engines: folder for engines that a runtime builds on this device; empty = none is kept.
        clock: for the crash record.
        changed: called after every change of `state`.
    """

    def __init__(
        self,
        ref: ModelRef,
        *,
        threads: int,
        watchdog_s: float,
        clock: Clock,
        changed: Callable[[], None],
        engines: str = "",
    ) -> None:
        self.ref = ref
        self.persistent = False
        self.golden_folder: str | None = None
        self.state = ModelState.STARTING
        self.code: Code | None = None
        self.reason: str | None = None
        self.self_test: SelfTest | None = None
        self.can_lower = False
        self.runtime = ""
        self.crashes = CrashRecord()
        self.hangs = 0
        self.contract: InputContract | None = None
        self._threads = threads
        self._watchdog_s = watchdog_s
        self._engines = engines
        self._clock = clock
        self._changed = changed
        self._golden: dict[str, tuple[float, int]] = {}
        self._golden_task: asyncio.Task[None] | None = None
        self._link: WorkerLink | None = None
        self._warm_ns = 0
        self._moved = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._retired = False

    @property
    def ready(self) -> bool:
        """A worker is loaded and may be given orders; one that is being retired gets no more."""
        return self.state is ModelState.READY and self._link is not None and not self._retired

    @property
    def waiting(self) -> int:
        """Real requests that wait in front of the worker."""
        return self._link.waiting if self._link is not None else 0

    @property
    def crash_loop(self) -> bool:
        """The worker died again and again within a minute, or was given up for that."""
        given_up = self.state is ModelState.FAILED and self.code is Code.WORKER_CRASH_LOOP
        return given_up or self.crashes.looping(self._clock.monotonic())

    @property
    def warm_ns(self) -> int:
        """Median time of one warm inference, nanoseconds; 0 = not known."""
        return self._warm_ns

    def start(self, priority: Priority) -> None:
        """Begin its life, loading at that priority; nothing happens when it lives."""
        if self._life is None or self._life.done():
            self._life = asyncio.create_task(self._live(priority), name=f"model {self.ref.reference}")

    def use(self, *, persistent: bool, golden_folder: str | None) -> None:
        """Tell the model what it is needed for; a committed model that had been given up is started again."""
        self.persistent = persistent
        if golden_folder != self.golden_folder:
            self.golden_folder = golden_folder
            if self.ready:
                self._count_golden_later()
        if persistent and self.state is ModelState.FAILED:
            self._move(ModelState.STARTING)
            self.start(Priority.NORMAL)

    async def run(
        self,
        run: Run,
        bodies: Sequence[Buffer],
        *,
        urgent: bool = False,
        priority: Priority = Priority.NORMAL,
    ) -> Result:
        """One inference; see `WorkerLink.submit`. Must only be called while `ready`."""
        assert self._link is not None
        limit = self._watchdog_s * (IDLE_LIMIT_FACTOR if priority is Priority.IDLE else 1.0)
        order = Order(Op.RUN, priority, run=run)
        return await self._link.submit(order, bodies, limit_s=limit, urgent=urgent)

    async def sample(self, index: int) -> Result:
        """One input of the own golden set."""
        assert self._link is not None
        return await self._link.submit(Order(Op.SAMPLE, sample=index), limit_s=self._watchdog_s)

    async def moved(self) -> None:
        """Return after the next change of state."""
        await self._moved.wait()

    def golden_count(self) -> tuple[float, int] | None:
        """(right, total) on the golden set that is asked for; None while unknown. For tasks whose answers are
        right in part, right is the sum of the scores (0 to 1 each)."""
        return self._golden.get(self.golden_folder) if self.golden_folder else None

    def rss_bytes(self) -> int | None:
        """Resident memory of the worker, or None."""
        return self._link.rss_bytes() if self._link is not None else None

    def actual(self) -> ModelActual:
        """What the supervisor is told. `code` and `reason` are those of the last failure, also when READY
        again."""
        right, total = self.golden_count() or (None, None)
        return ModelActual(
            release=self.ref.release,
            variant=self.ref.variant,
            state=self.state,
            code=self.code.value if self.code is not None else None,
            reason=self.reason,
            pid=self._link.process.pid if self._link is not None else None,
            rss_bytes=self.rss_bytes(),
            restarts=self.crashes.total,
            crash_loop=self.crash_loop,
            self_test=self.self_test,
            golden_right=right,
            golden_total=total,
        )

    async def retire(self) -> None:
        """End the worker once its orders are done (at most 10 s later)."""
        self._retired = True
        link = self._link
        deadline = asyncio.get_running_loop().time() + _RETIRE_S
        while link is not None and not link.idle and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for task in (self._golden_task, self._life):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._bury()

    async def _live(self, priority: Priority) -> None:
        while not self._retired:
            try:
                delay = await self._one_life(priority)
            except Exception as error:  # a fault of ours: the model must not stay "starting" for ever
                logs.error(log, "serve.model_fault", trace=True, release=self.ref.reference)
                delay = self._failed(Code.WORKER_START_FAILED, f"{type(error).__name__}: {error}")
            finally:
                await self._bury()
            if delay is None:
                return
            await asyncio.sleep(delay)
            priority = Priority.NORMAL if self.persistent else Priority.LOADING

    async def _one_life(self, priority: Priority) -> float | None:
        """From launch to death; the seconds until the next life, or None when there is none."""
        self._move(ModelState.STARTING)
        try:
            self.contract = self._read_contract()
            link = self._link = await launch(priority)
        except (OSError, ModelfleetError) as error:
            code = error.code if isinstance(error, ModelfleetError) else Code.WORKER_START_FAILED
            return self._failed(code, str(error))
        if not await self._open(link, priority):
            if not link.gone.done():
                return self._failed(self.code or Code.WORKER_START_FAILED, self.reason or "")
        else:
            if not self.persistent and self.golden_folder is not None:
                await self._count_golden(self.golden_folder, priority)
            if not link.gone.done():
                self._move(ModelState.READY)
                if self.golden_count() is None:
                    self._count_golden_later()
            await link.gone
        return self._died(link.gone.result())

    async def _open(self, link: WorkerLink, priority: Priority) -> bool:
        """Load, test and warm up; False with code and reason when that failed or the worker died."""
        tested = self.self_test is not None and self.self_test.passed
        order = Order(
            Op.OPEN,
            priority,
            open=Open(self.ref.folder, self.ref.variant, self._threads, not tested, engines=self._engines),
        )
        builds = (Path(self.ref.folder) / ENGINE_SPEC_NAME).is_file()
        answered = link.submit(order, limit_s=BUILD_LIMIT_S if builds else OPEN_LIMIT_S)
        while not answered.done():
            await asyncio.wait((answered,), timeout=0.05)
            if link.progress and link.progress[-1].state is not self.state:
                self._move(link.progress[-1].state)
        answer = answered.result().answer
        if answer is None:
            return False
        opened = answer.opened
        if answer.status is not Status.OK or opened is None:
            self._blame(_code(answer.code), answer.reason or "the variant could not be loaded")
            return False
        self.self_test = opened.self_test or self.self_test
        self.can_lower, self.runtime, self._warm_ns = opened.can_lower, opened.runtime, opened.warm_ns
        if opened.state is ModelState.FAILED and self.self_test is not None:
            self._blame(Code.SELF_TEST_FAILED, self.self_test.reason)
            return self.persistent
        return True

    def _count_golden_later(self) -> None:
        if self._golden_task is not None:
            self._golden_task.cancel()
        if self.golden_folder is not None and self.golden_folder not in self._golden:
            self._golden_task = asyncio.create_task(self._count_golden(self.golden_folder, Priority.IDLE))

    async def _count_golden(self, folder: str, priority: Priority) -> None:
        """Part by part, so that real requests come between."""
        link = self._link
        right, total, start, length = 0.0, 0, 0, 1
        while link is not None and start < length:
            count = max(1, GOLDEN_PART_NS // self._warm_ns) if self._warm_ns else 1
            order = Order(Op.GOLDEN, priority, golden=GoldenPart(folder, start, count))
            result = await link.submit(order, limit_s=OPEN_LIMIT_S)
            if result.answer is None:
                return
            if result.answer.status is not Status.OK:
                logs.warning(
                    log, "serve.golden_unusable", release=self.ref.reference, reason=result.answer.reason
                )
                return
            right, total, length = (
                right + result.answer.right,
                total + result.answer.total,
                result.answer.length,
            )
            start += count
        if total:
            self._golden[folder] = (right, total)
            self._changed()

    def _died(self, code: Code) -> float | None:
        reason = f"the worker of {self.ref.reference} " + (
            f"did not answer within {self._watchdog_s:g} s and was ended"
            if code is Code.WORKER_HUNG
            else "died"
        )
        delay = self.crashes.died(self._clock.monotonic())
        self.hangs += code is Code.WORKER_HUNG
        logs.warning(
            log,
            "serve.worker_lost",
            release=self.ref.reference,
            code=code.value,
            deaths=self.crashes.total,
        )
        if self.crash_loop and not self.persistent:
            self._blame(Code.WORKER_CRASH_LOOP, f"{reason}; {self.crashes.total} times by now")
            self._move(ModelState.FAILED)
            return None
        self._blame(code, reason)
        self._move(ModelState.STARTING)
        return delay

    def _failed(self, code: Code, reason: str) -> float | None:
        """It could not be loaded. A committed model is tried again, for the fault may be the world's."""
        self._blame(code, reason)
        logs.warning(
            log, "serve.model_not_loaded", release=self.ref.reference, code=code.value, reason=reason[:300]
        )
        if not self.persistent:
            self._move(ModelState.FAILED)
            return None
        self._move(ModelState.STARTING)
        return max(1.0, self.crashes.died(self._clock.monotonic()))

    async def _bury(self) -> None:
        """Make sure that no process is left."""
        link, self._link = self._link, None
        if link is not None:
            link.kill()
            await asyncio.get_running_loop().run_in_executor(None, link.process.wait)

    def _read_contract(self) -> InputContract:
        with (Path(self.ref.folder) / CONTRACT_NAME).open("rb") as file:
            data = file.read(MAX_CONTRACT_BYTES + 1)
        return codec.decode(data, InputContract, what=CONTRACT_NAME, limit=MAX_CONTRACT_BYTES)

    def _blame(self, code: Code, reason: str) -> None:
        self.code, self.reason = code, reason[:500]

    def _move(self, state: ModelState) -> None:
        self.state = state
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        self._changed()


def _code(text: str | None) -> Code:
    try:
        return Code(text)
    except ValueError:
        return Code.WORKER_START_FAILED
