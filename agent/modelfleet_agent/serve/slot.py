"""One slot: which model answers, who answers when it cannot, and what is written down about it.

Rules (semantics sections 2 and 4):
1. A real request goes to the active model, before everything else. A candidate that is not active answers
   nobody.
2. A request on which the active model fails is answered by a committed model that is loaded, if there is one.
3. The active model changes by one assignment, once the new one is ready; what was begun is finished by the
   old one.
4. On probation serve takes the candidate back by itself (`probation.py`, crash-loop); it stays taken back
   until the supervisor wants something else. A committed model that crash-loops gives way to the warm
   previous one.
5. An input that breaks the contract is refused and counts for neither model.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError

from ..control.protocol import ModelRef, ModelState, SlotActual, SlotDesired
from ..worker.priority import Priority
from ..worker.protocol import Run, Status
from . import request as requests
from .evidence import Evidence
from .link import Result
from .model import Model
from .probation import Fall, Probation
from .request import Inference, Served
from .shared import FellBack, Shared, Tally
from .swap import SwapGaps
from .witness import Witness

MAX_UNDER_WAY: Final = 64
"""Real requests of one slot that run or wait; more are refused at the door."""
TRIES: Final = 2
"""How often a request is begun in one model: a worker's death is not always the request's fault."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A model that was tried on a request in vain."""

    model: Model
    code: Code
    reason: str


class Slot:
    """One slot; see the module's rules."""

    def __init__(self, name: str, shared: Shared, fell_back: FellBack | None = None) -> None:
        self.name = name
        self.fell_back = fell_back
        self.tally = Tally()
        self.answers: dict[str, int] = {}
        self.gaps = SwapGaps()
        self.desired = SlotDesired(name, None, None, None, None)
        self.in_flight = 0
        self._shared = shared
        self._clock = shared.clock
        self._models: dict[str, Model] = {}
        self._active: str | None = None
        self._probation = Probation()
        self._hangs_before = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._witness = Witness(self, shared)

    # What shall be so

    @property
    def active(self) -> Model | None:
        """The model that answers, or will as soon as it is ready."""
        return self._models.get(self._active) if self._active is not None else None

    @property
    def active_release(self) -> str | None:
        """See `witness.Observed`."""
        return self._active

    @property
    def evidence(self) -> Evidence:
        """The open window and the totals of the mirror."""
        return self._witness.evidence

    @property
    def wants_active(self) -> bool:
        """A model shall answer here."""
        return self._target() is not None

    def loaded(self, release: str | None) -> Model | None:
        """The loaded model of that release."""
        return self._models.get(release) if release is not None else None

    def taken_back(self, release: str) -> bool:
        """Serve itself went back from that release."""
        return self.fell_back is not None and self.fell_back.release == release

    @property
    def all_models(self) -> tuple[Model, ...]:
        """Every loaded model."""
        return tuple(self._models.values())

    def want(self, desired: SlotDesired) -> None:
        """Make this so: at once where that is possible, else as models get ready."""
        self.desired = desired
        gone = self.fell_back
        if gone is not None and (desired.active != gone.release or desired.operation != gone.operation):
            self.fell_back = None
        for ref in _references(desired):
            model = self._models.get(ref.release)
            if model is not None and model.ref != ref:
                self._retire(ref.release)
                model = None
            if model is None:
                model = self._models[ref.release] = Model(
                    ref,
                    threads=self._shared.threads,
                    watchdog_s=self._shared.watchdog_s,
                    engines=self._shared.engines,
                    clock=self._clock,
                    changed=self.settle,
                )
            model.use(
                persistent=ref in (desired.incumbent, desired.previous), golden_folder=desired.golden_folder
            )
            lower = self._active is not None and self._active != ref.release
            model.start(Priority.LOADING if lower else Priority.NORMAL)
        self.settle()

    def settle(self) -> None:
        """Flip, retire and turn the evidence as far as the models allow now."""
        active = self.active
        if active is not None and self.fell_back is None:
            fall = self._broken(active)
            if fall is not None:
                self._fall(fall)
        target = self._target()
        if target != self._active:
            self._flip(target)
        wanted = {ref.release for ref in _references(self.desired)}
        for release in [key for key in self._models if key not in wanted and key != self._active]:
            self._retire(release)
        self._witness.turn()
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    def tick(self) -> None:
        """Close a window that has ended."""
        self._witness.tick()

    async def stop(self) -> None:
        """End every worker."""
        await self._witness.stop()
        for release in list(self._models):
            self._retire(release)
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def actual(self) -> SlotActual:
        """What is so."""
        gone = self.fell_back
        return SlotActual(
            slot=self.name,
            active=self._active,
            models=tuple(model.actual() for model in self._models.values()),
            fell_back=gone.reason if gone is not None else None,
            fell_back_code=gone.code if gone is not None else None,
            served=self.tally.served,
            failed=self.tally.failed,
            dropped=self.tally.dropped,
            answers=dict(self.answers),
            swaps=self.gaps.count,
            worst_swap_gap_ms=round(self.gaps.worst_s * 1000, 3),
        )

    # Real requests

    async def infer(self, request: Inference) -> Served:
        """Answer a real request.

        Raises:
            CallerError: MF-4005 or MF-4036, the input breaks the contract.
            WorldError: MF-4020 the slot is empty, MF-4022 too many wait, MF-4023 too late, or the code of the
                model's failure.
        """
        if self.in_flight >= MAX_UNDER_WAY:
            self.tally.dropped += 1
            raise requests.overloaded(self.name, self.in_flight)
        arrived = self._clock.monotonic()
        self.in_flight += 1
        try:
            async with asyncio.timeout_at(request.deadline):
                served, computed_ns = await self._answer(request)
        except TimeoutError:
            self.tally.dropped += 1
            if self.active is not None and self.active.ready:
                self._witness.late()
            raise requests.too_late(self.name) from None
        finally:
            self.in_flight -= 1
        self.tally.served += 1
        self.tally.compute_s += computed_ns / 1e9
        self.answers[served.release] = self.answers.get(served.release, 0) + 1
        self.gaps.answered(arrived, self._clock.monotonic(), computed_ns / 1e9)
        return served

    async def _answer(self, request: Inference) -> tuple[Served, int]:
        """The answer, and the computing time of all models that worked on it."""
        failures: list[_Failure] = []
        computed = 0
        while True:
            model = self._choose(failures)
            if model is None:
                raise self._refuse(failures, request)
            if not model.ready or model.contract is None:
                await self._settled.wait()
                continue
            try:
                heads, samples = requests.admit(model.contract, request)
            except ModelfleetError:
                self.tally.refused += 1
                raise
            result = await model.run(Run(heads), [request.body], urgent=True)
            answer = result.answer
            if answer is None and not result.tried:
                continue
            computed += answer.compute_ns if answer is not None else 0
            if answer is not None and answer.status is Status.REFUSED:
                self.tally.refused += 1
                raise requests.broken(answer.reason or "the input was refused")
            if answer is not None and answer.status is Status.OK:
                ref = model.ref
                served = Served(ref.release, ref.variant, answer.outputs, result.body, answer.compute_ns)
                if model is self.active:
                    self._probation.answered()
                first = failures[0].model.ref.release if failures else None
                self.tally.by_fallback += first is not None and first != ref.release
                self._witness.served(served, request, heads, samples, first)
                return served, computed
            failures.append(_failure(model, result))
            self._failed_on(model, failures[-1].code)

    def _choose(self, failures: list[_Failure]) -> Model | None:
        """Who tries next: the active model, after its failure a committed one, after a death the same once
        more."""
        active = self.active
        if active is None:
            return None
        tried = [failure.model for failure in failures]
        others = [model for model in self._fallbacks() if model.ready and model not in tried]
        given_up = active.state is ModelState.FAILED
        if active not in tried and (active.ready or not others):
            return None if given_up else active
        if others:
            return others[0]
        died = bool(failures) and failures[-1].code in (Code.WORKER_DIED, Code.WORKER_HUNG)
        return active if died and len(failures) < TRIES and not given_up else None

    def _fallbacks(self) -> list[Model]:
        """Loaded models that were committed and are not active."""
        chain = (self.desired.incumbent, self.desired.previous)
        found = [self._models.get(ref.release) for ref in chain if ref is not None]
        return [model for model in found if model is not None and model is not self.active]

    def _refuse(self, failures: list[_Failure], request: Inference) -> ModelfleetError:
        if not failures:
            self.tally.refused += 1
            active = self.active
            if active is not None and active.code is not None:
                return requests.failed(active.code, active.reason or "the model cannot be loaded")
            return requests.empty(self.name)
        self.tally.failed += 1
        first = failures[0]
        assert first.model.contract is not None
        heads, samples = requests.admit(first.model.contract, request)
        self._witness.failed(first.model.ref.release, request, heads, samples)
        return requests.failed(first.code, first.reason)

    def _failed_on(self, model: Model, code: Code) -> None:
        if model is not self.active or not self._on_probation():
            return
        fall = self._probation.failed(code)
        if fall is not None:
            self._fall(fall)
            self.settle()

    # The flip

    def _on_probation(self) -> bool:
        candidate = self.desired.candidate
        return self.desired.probation and candidate is not None and candidate.release == self._active

    def _broken(self, active: Model) -> Fall | None:
        """Why the active model cannot go on, whatever its requests say."""
        if active.crash_loop:
            return Fall(Code.WORKER_CRASH_LOOP, active.reason or "the worker dies again and again")
        if active.state is ModelState.FAILED:
            return Fall(active.code or Code.WORKER_START_FAILED, active.reason or "it cannot be loaded")
        if self._on_probation() and active.hangs > self._hangs_before:
            return Fall(Code.WORKER_HUNG, active.reason or "the model hung")
        return None

    def _target(self) -> str | None:
        """The release that should be active now."""
        wanted = self.desired.active
        if self.fell_back is not None and wanted == self.fell_back.release:
            return self.fell_back.to
        if wanted is None:
            return None
        model = self._models.get(wanted)
        if model is not None and model.ready:
            return wanted
        # Not ready: the present one goes on; an empty slot waits for the new one.
        present = self.active
        if present is None and model is not None:
            return wanted
        return self._active

    def _flip(self, target: str | None) -> None:
        before, self._active = self._active, target
        self._probation = Probation()
        self._hangs_before = self.active.hangs if self.active is not None else 0
        if before is not None and target is not None:
            self.gaps.flipped(self._clock.monotonic())
        logs.info(log, "serve.active", slot=self.name, release=target, before=before)

    def _fall(self, fall: Fall) -> None:
        """Take the active model back, if there is anything to go back to or it was never committed."""
        active = self.active
        assert active is not None
        ready = [model for model in self._fallbacks() if model.ready]
        if not ready and not self._on_probation():
            return
        to = ready[0].ref.release if ready else None
        if to is None and self._fallbacks():
            to = self._fallbacks()[0].ref.release
        self.fell_back = FellBack(
            active.ref.release, self.desired.operation, to, fall.code.value, fall.reason
        )
        logs.error(log, "serve.fell_back", slot=self.name, release=active.ref.reference, code=fall.code.value)
        self._shared.fell_back()

    def _retire(self, release: str) -> None:
        model = self._models.pop(release)
        task = asyncio.create_task(model.retire(), name=f"retire {model.ref.reference}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _references(desired: SlotDesired) -> list[ModelRef]:
    return [ref for ref in (desired.incumbent, desired.candidate, desired.previous) if ref is not None]


def _failure(model: Model, result: Result) -> _Failure:
    if result.answer is None:
        code = result.lost or Code.WORKER_DIED
        hung = code is Code.WORKER_HUNG
        return _Failure(model, code, "the model hung on it" if hung else "the model's process died on it")
    reason = result.answer.reason or "the model failed"
    try:
        return _Failure(model, Code(result.answer.code), reason)
    except ValueError:
        return _Failure(model, Code.INFERENCE_FAILED, reason)
