"""Runs mirrored inputs through the other model, compares, and measures latency pairs - behind the real
requests.

Forward (the candidate gets copies) and reverse (the warm incumbent does) are the same code with the roles
swapped. Nothing here can change or hold up an answer: an input is offered after it was answered, the queue is
short and drops, computing is budgeted, single runs have idle priority, and a pair begins only while no real
request is under way.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from modelfleet_core import logs
from modelfleet_core.clock import Clock
from modelfleet_core.wire.director import Mode

from ..control.tensors import TensorHead
from ..worker.priority import Priority
from ..worker.protocol import Compared, Role, Run, Status
from .budget import ComputeBudget
from .evidence import Evidence, Subject
from .link import Result
from .model import Model
from .pair_lock import PairLock

QUEUE: Final = 8
PAIRS_PER_WINDOW: Final = 200
"""As many as a p95 needs; more would only cost."""
THIN_PAIRS: Final = 30
"""Where real inputs give fewer, golden inputs fill up: enough for a p95 that is not the largest of a
handful."""
GOLDEN_AT_ONCE: Final = 8
QUIET_WAIT_S: Final = 0.25
STARTING_PAUSE_S: Final = 0.02
FAULT_PAUSE_S: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Mirrored:
    """One real input after its answer.

    Attributes:
        subject: what the evidence was about when it was answered.
        samples: samples in the input.
        inputs, body: the tensors; `theirs`, `their_body`: the active model's answer (empty where it failed).
    """

    subject: Subject
    samples: int
    inputs: tuple[TensorHead, ...]
    body: memoryview
    theirs: tuple[TensorHead, ...]
    their_body: memoryview


class Stage(Protocol):
    """What the mirror sees of its slot."""

    def models(self, subject: Subject) -> tuple[Model, Model] | None:
        """(candidate, incumbent), both ready, where that is so."""
        ...

    def is_quiet(self) -> bool:
        """No real request is under way in this process."""
        ...


class Mirror:
    """The mirror of one slot.

    Args:
        stage, evidence: of the slot.
        lock: of the machine.
        clock: for budget and pace.
        chance: decides which half of a pair goes first.
    """

    def __init__(
        self,
        stage: Stage,
        evidence: Evidence,
        lock: PairLock,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._stage = stage
        self._evidence = evidence
        self._lock = lock
        self._clock = clock
        self._chance = chance
        self._queue: deque[Mirrored] = deque()
        self._arrived = asyncio.Event()
        self._budget = ComputeBudget(0.0, clock.monotonic())
        self._samples: list[tuple[tuple[TensorHead, ...], memoryview]] = []
        self._sampled_for: Subject | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin working; needs a running event loop."""
        self._task = asyncio.create_task(self._work(), name="mirror")

    async def stop(self) -> None:
        """Drop what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def allow(self, budget: float) -> None:
        """From now on use at most this share of one processor (0-1)."""
        self._budget.resize(budget)

    def reset(self) -> None:
        """Another subject: what waits belongs to the old one, and golden pairs may be due without any
        traffic."""
        self._queue.clear()
        self._arrived.set()

    def admit(self) -> bool:
        """Whether a chosen input may be looked at: there is budget and room in the queue. Counts it either
        way."""
        self._evidence.offered()
        if not self._budget.may_begin(self._clock.monotonic()):
            self._evidence.dropped(budget=True)
            return False
        if len(self._queue) >= QUEUE:
            self._evidence.dropped(budget=False)
            return False
        return True

    def offer(self, job: Mirrored) -> None:
        """Queue an admitted input."""
        self._queue.append(job)
        self._arrived.set()

    async def _work(self) -> None:
        while True:
            try:
                await self._step()
            except Exception as error:  # evidence may be lost, but not for ever
                logs.error(log, "serve.mirror_fault", trace=True, kind=type(error).__name__)
                await asyncio.sleep(FAULT_PAUSE_S)

    async def _step(self) -> None:
        if not self._queue:
            self._arrived.clear()
            await self._wait_for_work()
            for _ in range(GOLDEN_AT_ONCE):
                if self._queue or not await self._pair_golden():
                    return
            return
        subject = self._queue[0].subject
        models = self._models(subject)
        if models is None and subject is self._evidence.subject:
            await asyncio.sleep(STARTING_PAUSE_S)  # the mirrored model is starting again
            return
        job = self._queue.popleft()
        if models is not None:
            await self._look_at(job, *models)

    async def _wait_for_work(self) -> None:
        subject = self._evidence.subject
        pause = min(0.25, subject.window_s / 16) if subject is not None else None
        try:
            async with asyncio.timeout(pause):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _models(self, subject: Subject) -> tuple[Model, Model] | None:
        return self._stage.models(subject) if subject is self._evidence.subject else None

    async def _look_at(self, job: Mirrored, candidate: Model, incumbent: Model) -> None:
        ours = incumbent if job.subject.mode is Mode.LIVE else candidate
        role = Role.INCUMBENT if ours is incumbent else Role.CANDIDATE
        if not ours.can_lower and not await self._quiet():
            self._evidence.dropped(budget=True)
            return
        if not ours.ready:
            return
        run = Run(job.inputs, job.theirs, role, answer=False)
        result = await ours.run(run, [job.body, job.their_body], priority=Priority.IDLE)
        self._charge(result)
        if job.subject is not self._evidence.subject:
            return
        self._record(job, role, result)
        if job.theirs and result.answer is not None and result.answer.status is Status.OK:
            await self._pair_if_due(candidate, incumbent, job)

    def _record(self, job: Mirrored, role: Role, result: Result) -> None:
        answer = result.answer
        if (answer is None and not result.tried) or (answer is not None and answer.status is Status.REFUSED):
            return  # never ran, or the input breaks this model's contract: counts for neither
        failed = answer is None or answer.status is not Status.OK
        both: Compared | None = answer.compared if answer is not None else None
        ours_failed = job.samples if failed else 0
        theirs_failed = 0 if job.theirs else job.samples
        if both is not None and failed and answer is not None and answer.status is Status.NOT_FINITE:
            ours_failed = both.candidate_failed if role is Role.CANDIDATE else both.incumbent_failed
        if role is Role.CANDIDATE:
            only = max(0, ours_failed - theirs_failed)
            self._evidence.mirrored(
                job.samples, candidate_failed=only, incumbent_failed=theirs_failed, both=both
            )
        else:
            only = max(0, theirs_failed - ours_failed)
            self._evidence.mirrored(
                job.samples, candidate_failed=only, incumbent_failed=ours_failed, both=both
            )

    # Latency pairs

    async def _pair_if_due(self, candidate: Model, incumbent: Model, job: Mirrored) -> None:
        """Right after both have seen the input, so that both are equally warm. Pairs are spread over the
        window."""
        subject = self._evidence.subject
        if subject is None or subject.incumbent is None:
            return
        allowed = PAIRS_PER_WINDOW * self._evidence.elapsed_share(self._clock.now().timestamp()) + 1
        if self._evidence.pairs < allowed:
            await self._pair(candidate, incumbent, job.inputs, job.body)

    async def _pair(
        self, candidate: Model, incumbent: Model, inputs: tuple[TensorHead, ...], body: memoryview
    ) -> None:
        """Both models back to back on one input, in random order, at equal priority.

        A real request that comes between the halves goes first, and there is no pair.
        """
        subject = self._evidence.subject
        order = Run(inputs, measure=True, answer=False)
        halves = [candidate, incumbent]
        if self._chance.getrandbits(1):
            halves.reverse()
        times: dict[Model, float] = {}
        async with self._lock.held() as got:
            for model in halves:
                if not got or not self._stage.is_quiet() or not model.ready:
                    return
                result = await model.run(order, [body])
                self._charge(result)
                times[model] = _compute_s(result)
        if times[candidate] and times[incumbent] and self._evidence.subject is subject:
            self._evidence.paired(times[candidate], times[incumbent])

    async def _pair_golden(self) -> bool:
        """Latency may be compared on golden inputs where real ones are few; whether more are missing."""
        subject = self._evidence.subject
        if subject is None or subject.incumbent is None or not self._stage.is_quiet():
            return False
        models = self._models(subject)
        missing = (
            THIN_PAIRS * self._evidence.elapsed_share(self._clock.now().timestamp()) - self._evidence.pairs
        )
        if models is None or missing < 1 or not self._budget.may_begin(self._clock.monotonic()):
            return False
        sample = await self._sample(subject, models[0])
        if sample is None or self._queue or not all(model.ready for model in models):
            return False
        inputs, body = sample
        await self._pair(*models, inputs, body)
        return missing >= 2

    async def _sample(
        self, subject: Subject, candidate: Model
    ) -> tuple[tuple[TensorHead, ...], memoryview] | None:
        if self._sampled_for is not subject:
            self._samples, self._sampled_for = [], subject
        if len(self._samples) < QUEUE:
            result = await candidate.sample(len(self._samples))
            if result.answer is None or result.answer.status is not Status.OK:
                return None
            self._samples.append((result.answer.outputs, result.body))
        return self._samples[self._evidence.pairs % len(self._samples)]

    async def _quiet(self) -> bool:
        deadline = self._clock.monotonic() + QUIET_WAIT_S
        while not self._stage.is_quiet():
            if self._clock.monotonic() > deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    def _charge(self, result: Result) -> None:
        if result.answer is not None:
            self._budget.spend(result.answer.busy_ns / 1e9)


def _compute_s(result: Result) -> float:
    """Seconds of a half that was answered; 0.0 otherwise."""
    if result.answer is None or result.answer.status is not Status.OK:
        return 0.0
    return result.answer.compute_ns / 1e9
