"""What is written down about a slot: whom the evidence is about, which inputs are mirrored, when windows
close.

Candidate = the release under test, incumbent = the one it is compared with, whichever of them answers: before
the commit these are the table's candidate and incumbent, after it the new incumbent and the warm previous.
"""

from __future__ import annotations

from typing import Protocol

from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import GoldenCount

from ..control.protocol import SlotDesired
from ..control.tensors import TensorHead
from .evidence import Evidence, Subject, Surroundings
from .model import Model
from .request import Inference, Served
from .sampling import is_mirrored
from .shadow import Mirror, Mirrored
from .shared import Shared


class Observed(Protocol):
    """What the witness sees of its slot."""

    @property
    def desired(self) -> SlotDesired:
        """The slot's row of the table."""
        ...

    @property
    def active_release(self) -> str | None:
        """The release that answers now."""
        ...

    def taken_back(self, release: str) -> bool:
        """Serve itself went back from that release."""
        ...

    def loaded(self, release: str | None) -> Model | None:
        """The loaded model of that release."""
        ...


class Witness:
    """Evidence and mirror of one slot."""

    def __init__(self, slot: Observed, shared: Shared) -> None:
        self.evidence = Evidence()
        self._slot = slot
        self._shared = shared
        self._mirror = Mirror(self, self.evidence, shared.lock, shared.clock, shared.chance)
        self._mirror.start()

    async def stop(self) -> None:
        """Mirror no more."""
        await self._mirror.stop()

    def turn(self) -> None:
        """Look at the table and at who answers: the evidence may be about something else from now on."""
        self._mirror.allow(self._slot.desired.compute_budget)
        subject = self._subject()
        if subject == self.evidence.subject:
            return
        report = self.evidence.turn_to(subject, self._shared.clock.now().timestamp(), self._around())
        if report is not None:
            self._shared.windows.add(report)
        self._mirror.reset()

    def tick(self) -> None:
        """Close a window that has ended."""
        now = self._shared.clock.now().timestamp()
        if self.evidence.is_due(now):
            report = self.evidence.close_due(now, self._around())
            if report is not None:
                self._shared.windows.add(report)

    def served(
        self,
        served: Served,
        request: Inference,
        heads: tuple[TensorHead, ...],
        samples: int,
        failed_first: str | None,
    ) -> None:
        """A real request was answered, after the release `failed_first` had failed on it (None: nobody)."""
        subject = self.evidence.subject
        if subject is None:
            return
        candidate_failed = failed_first == subject.release and served.release != subject.release
        self.evidence.served(served.release, by_fallback=candidate_failed)
        if subject.incumbent is None:
            if served.release == subject.release:
                self.evidence.mirrored(samples, candidate_failed=0, incumbent_failed=0, both=None)
        elif not self._is_chosen(request.body):
            return
        elif candidate_failed:
            # Both have seen it already: the candidate failed, the incumbent answered.
            self.evidence.mirrored(samples, candidate_failed=samples, incumbent_failed=0, both=None)
        elif served.release == self._slot.active_release != self._slot.desired.mirror_to:
            job = Mirrored(subject, samples, heads, request.body, served.outputs, served.body)
            self._mirror.offer(job)

    def failed(self, release: str, request: Inference, heads: tuple[TensorHead, ...], samples: int) -> None:
        """`release` failed on a real request and nobody else answered: what would the other one have done?"""
        self.evidence.failed()
        subject = self.evidence.subject
        if subject is None:
            return
        if subject.incumbent is None:
            if release == subject.release:
                self.evidence.mirrored(samples, candidate_failed=samples, incumbent_failed=0, both=None)
        elif self._is_chosen(request.body):
            self._mirror.offer(Mirrored(subject, samples, heads, request.body, (), memoryview(b"")))

    def late(self) -> None:
        """A real request passed its deadline although its model was up."""
        self.evidence.failed()

    # What the mirror sees (`shadow.Stage`)

    def models(self, subject: Subject) -> tuple[Model, Model] | None:
        """See `shadow.Stage.models`."""
        candidate, incumbent = self._slot.loaded(subject.release), self._slot.loaded(subject.incumbent)
        if candidate is None or incumbent is None or not candidate.ready or not incumbent.ready:
            return None
        return candidate, incumbent

    def is_quiet(self) -> bool:
        """See `shadow.Stage.is_quiet`."""
        return self._shared.busy() == 0

    def _is_chosen(self, body: memoryview) -> bool:
        """It belongs to the share, and there is room and budget for it."""
        desired = self._slot.desired
        if desired.mirror_to is None or not is_mirrored(body, desired.mirror_share):
            return False
        return self._mirror.admit()

    def _subject(self) -> Subject | None:
        desired = self._slot.desired
        tested, compared = desired.candidate, desired.incumbent
        if tested is None:
            tested, compared = desired.incumbent, desired.previous
        if tested is None or desired.operation is None:
            return None
        # A candidate that serve took back was live: its evidence stays evidence of the live stage.
        live = tested.release == self._slot.active_release or self._slot.taken_back(tested.release)
        return Subject(
            slot=desired.slot,
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
        candidate, incumbent = self._slot.loaded(subject.release), self._slot.loaded(subject.incumbent)
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
