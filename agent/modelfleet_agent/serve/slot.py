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
from typing import Final

from modelfleet_core import logs
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import GoldenCount

from ..control.protocol import ModelRef, ModelState, SlotActual, SlotDesired
from ..control.tensors import TensorHead
from ..worker.priority import Priority
from ..worker.protocol import Run, Status
from . import request as requests
from .evidence import Evidence, Subject, Surroundings
from .model import Model
from .probation import Fall, Probation
from .request import Inference, Served
from .sampling import is_mirrored
from .shadow import Mirror, Mirrored
from .shared import FellBack, Shared, Tally
from .swap import SwapGaps

MAX_WAITING: Final = 64
TRIES: Final = 2
"""How often a request is begun in one model: a worker's death is not always the request's fault."""

log = logging.getLogger(__name__)


class Slot:
    """One slot; see the module's rules."""

    def __init__(self, name: str, shared: Shared, fell_back: FellBack | None = None) -> None:
        self.name = name
        self.fell_back = fell_back
        self.tally = Tally()
        self.answers: dict[str, int] = {}
        self.gaps = SwapGaps()
        self.evidence = Evidence()
        self.in_flight = 0
        self._shared = shared
        self._clock = shared.clock
        self._desired = SlotDesired(name, None, None, None, None)
        self._models: dict[str, Model] = {}
        self._active: str | None = None
        self._probation = Probation()
        self._hangs_before = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._mirror = Mirror(self, self.evidence, shared.lock, shared.clock, shared.chance)
        self._mirror.start()

    # What shall be so

    @property
    def active(self) -> Model | None:
        """The model that answers, or will as soon as it is ready."""
        return self._models.get(self._active) if self._active is not None else None

    @property
    def wants_active(self) -> bool:
        """A model shall answer here."""
        return self._target() is not None

    def loaded(self, release: str) -> Model | None:
        """The loaded model of that release."""
        return self._models.get(release)

    @property
    def all_models(self) -> tuple[Model, ...]:
        """Every loaded model."""
        return tuple(self._models.values())

    def want(self, desired: SlotDesired) -> None:
        """Make this so: at once where that is possible, else as models get ready."""
        self._desired = desired
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
                    clock=self._clock,
                    changed=self.settle,
                )
            model.use(
                persistent=ref in (desired.incumbent, desired.previous), golden_folder=desired.golden_folder
            )
            lower = self._active is not None and self._active != ref.release
            model.start(Priority.LOADING if lower else Priority.NORMAL)
        self._mirror.allow(desired.compute_budget)
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
        wanted = {ref.release for ref in _references(self._desired)}
        for release in [key for key in self._models if key not in wanted and key != self._active]:
            self._retire(release)
        self._turn()

    def tick(self) -> None:
        """Close a window that has ended."""
        now = self._clock.now().timestamp()
        if self.evidence.is_due(now):
            report = self.evidence.close_due(now, self._around())
            if report is not None:
                self._shared.windows.add(report)

    async def stop(self) -> None:
        """End every worker."""
        await self._mirror.stop()
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
        arrived = self._clock.monotonic()
        self.in_flight += 1
        try:
            async with asyncio.timeout_at(request.deadline):
                served, computed_ns = await self._answer(request)
        except TimeoutError:
            self.tally.dropped += 1
            if self.active is not None and self.active.ready:
                self.evidence.failed()
            raise requests.too_late(self.name) from None
        finally:
            self.in_flight -= 1
        self.tally.served += 1
        self.tally.compute_s += computed_ns / 1e9
        self.answers[served.release] = self.answers.get(served.release, 0) + 1
        self.gaps.answered(arrived, self._clock.monotonic(), computed_ns / 1e9)
        return served

    async def _answer(self, request: Inference) -> tuple[Served, int]:
        failures: list[tuple[Model, Code, str]] = []
        computed = 0
        while True:
            model = self._choose(failures)
            if model is None:
                raise self._refuse(failures, request)
            if not model.ready:
                await model.moved()
                continue
            if model.waiting >= MAX_WAITING:
                self.tally.dropped += 1
                raise requests.overloaded(self.name, model.waiting)
            assert model.contract is not None
            try:
                heads, samples = requests.admit(model.contract, request)
            except ModelfleetError:
                self.tally.refused += 1
                raise
            result = await model.run(Run(heads), [request.body], urgent=True)
            if result.answer is None and not result.tried:
                continue
            computed += result.answer.compute_ns if result.answer is not None else 0
            if result.answer is not None and result.answer.status is Status.OK:
                answer = result.answer
                if model is self.active:
                    self._probation.answered()
                served = Served(
                    model.ref.release, model.ref.variant, answer.outputs, result.body, answer.compute_ns
                )
                self._note(served, request, heads, samples, failures)
                return served, computed
            if result.answer is not None and result.answer.status is Status.REFUSED:
                self.tally.refused += 1
                raise requests.broken(result.answer.reason or "the input was refused")
            code, reason = _failure(result.lost, result.answer.code if result.answer is not None else None)
            if result.answer is not None and result.answer.reason:
                reason = result.answer.reason
            failures.append((model, code, reason))
            self._failed_on(model, code)

    def _choose(self, failures: list[tuple[Model, Code, str]]) -> Model | None:
        """Who tries next: the active model, after its failure a committed one, after a death the same once
        more."""
        active = self.active
        tried = [model for model, _, _ in failures]
        others = [model for model in self._fallbacks() if model.ready and model not in tried]
        if active is None:
            return None
        if active not in tried and (active.ready or not others):
            return active if active.state is not ModelState.FAILED else None
        if others:
            return others[0]
        died = failures[-1][1] in (Code.WORKER_DIED, Code.WORKER_HUNG) if failures else False
        if died and len(failures) < TRIES and active.state is not ModelState.FAILED:
            return active
        return None

    def _fallbacks(self) -> list[Model]:
        """Loaded models that were committed and are not active."""
        chain = (self._desired.incumbent, self._desired.previous)
        found = [self._models.get(ref.release) for ref in chain if ref is not None]
        return [model for model in found if model is not None and model is not self.active]

    def _refuse(self, failures: list[tuple[Model, Code, str]], request: Inference) -> ModelfleetError:
        if not failures:
            self.tally.refused += 1
            active = self.active
            if active is not None and active.code is not None:
                return requests.failed(active.code, active.reason or "the model cannot be loaded")
            return requests.empty(self.name)
        self.tally.failed += 1
        self.evidence.failed()
        model, code, reason = failures[0]
        self._mirror_failure(model, request)
        return requests.failed(code, reason)

    # Evidence of real requests

    def _note(
        self,
        served: Served,
        request: Inference,
        heads: tuple[TensorHead, ...],
        samples: int,
        failures: list[tuple[Model, Code, str]],
    ) -> None:
        subject = self.evidence.subject
        failed_first = failures[0][0].ref.release if failures else None
        self.tally.by_fallback += failed_first is not None and failed_first != served.release
        if subject is None:
            return
        candidate_failed = failed_first == subject.release and served.release != subject.release
        self.evidence.served(served.release, by_fallback=candidate_failed)
        if subject.incumbent is None:
            if served.release == subject.release:
                self.evidence.mirrored(samples, candidate_failed=0, incumbent_failed=0, both=None)
            return
        chosen = self._desired.mirror_to is not None and is_mirrored(request.body, self._desired.mirror_share)
        if not chosen or not self._mirror.admit():
            return
        if candidate_failed:
            # Both have seen it already: the candidate failed, the incumbent answered.
            self.evidence.mirrored(samples, candidate_failed=samples, incumbent_failed=0, both=None)
        elif served.release == self._active and self._active != self._desired.mirror_to:
            self._mirror.offer(Mirrored(subject, samples, heads, request.body, served.outputs, served.body))

    def _mirror_failure(self, model: Model, request: Inference) -> None:
        """The active model failed and nobody answered: what would the other one have done?"""
        subject = self.evidence.subject
        if subject is None or model.contract is None:
            return
        heads, samples = requests.admit(model.contract, request)
        if subject.incumbent is None:
            if model.ref.release == subject.release:
                self.evidence.mirrored(samples, candidate_failed=samples, incumbent_failed=0, both=None)
            return
        chosen = self._desired.mirror_to is not None and is_mirrored(request.body, self._desired.mirror_share)
        if chosen and self._mirror.admit():
            self._mirror.offer(Mirrored(subject, samples, heads, request.body, (), memoryview(b"")))

    def _failed_on(self, model: Model, code: Code) -> None:
        if model is not self.active or not self._on_probation():
            return
        fall = self._probation.failed(code)
        if fall is not None:
            self._fall(fall)
            self.settle()

    # The flip

    def _on_probation(self) -> bool:
        candidate = self._desired.candidate
        return self._desired.probation and candidate is not None and candidate.release == self._active

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
        wanted = self._desired.active
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
            active.ref.release, self._desired.operation, to, fall.code.value, fall.reason
        )
        logs.error(log, "serve.fell_back", slot=self.name, release=active.ref.reference, code=fall.code.value)
        self._shared.fell_back()

    def _retire(self, release: str) -> None:
        model = self._models.pop(release)
        task = asyncio.create_task(model.retire(), name=f"retire {model.ref.reference}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # The subject of the evidence

    def _turn(self) -> None:
        subject = self._subject()
        if subject == self.evidence.subject:
            return
        now = self._clock.now().timestamp()
        report = self.evidence.turn_to(subject, now, self._around())
        if report is not None:
            self._shared.windows.add(report)
        self._mirror.reset()

    def _subject(self) -> Subject | None:
        desired = self._desired
        if desired.operation is None:
            return None
        tested, compared = desired.candidate, desired.incumbent
        if tested is None:  # committed: the new incumbent against the previous one
            tested, compared = desired.incumbent, desired.previous
        if tested is None:
            return None
        taken_back = self.fell_back is not None and self.fell_back.release == tested.release
        live = tested.release == self._active or taken_back
        return Subject(
            slot=self.name,
            operation=desired.operation,
            release=tested.release,
            incumbent=compared.release if compared is not None else None,
            mode=Mode.LIVE if live else Mode.SHADOW,
            window_s=desired.window_s,
        )

    def _around(self) -> Surroundings:
        subject = self.evidence.subject
        if subject is None:
            return Surroundings()
        candidate = self._models.get(subject.release)
        incumbent = self._models.get(subject.incumbent) if subject.incumbent is not None else None
        golden = None
        ours = candidate.golden_count() if candidate is not None else None
        theirs = incumbent.golden_count() if incumbent is not None else None
        if ours is not None and (subject.incumbent is None or theirs is not None):
            golden = GoldenCount(ours[1], ours[0], theirs[0] if theirs is not None else None)
        return Surroundings(
            rss_candidate=candidate.rss_bytes() if candidate is not None else None,
            rss_incumbent=incumbent.rss_bytes() if incumbent is not None else None,
            golden=golden,
        )

    # What the mirror sees

    def models(self, subject: Subject) -> tuple[Model, Model] | None:
        """See `shadow.Stage.models`."""
        candidate = self._models.get(subject.release)
        incumbent = self._models.get(subject.incumbent) if subject.incumbent is not None else None
        if candidate is None or incumbent is None or not candidate.ready or not incumbent.ready:
            return None
        return candidate, incumbent

    def is_quiet(self) -> bool:
        """See `shadow.Stage.is_quiet`."""
        return self._shared.busy() == 0


def _references(desired: SlotDesired) -> list[ModelRef]:
    return [ref for ref in (desired.incumbent, desired.candidate, desired.previous) if ref is not None]


def _failure(lost: Code | None, code: str | None) -> tuple[Code, str]:
    if lost is Code.WORKER_HUNG:
        return lost, "the model did not answer in time and was ended"
    if lost is not None:
        return lost, "the model's process died on the request"
    try:
        return Code(code), "the model failed"
    except ValueError:
        return Code.INFERENCE_FAILED, "the model failed"
