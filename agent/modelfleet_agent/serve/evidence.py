"""From what happens to one report per window (semantics section 2). Pure: instants are arguments.

A report belongs to one subject: operation, mode and release. When the subject changes in mid-window, the
window is closed there and then; what comes after belongs to the next index, which then begins early. So
nothing is mixed, nothing is lost, and no two reports of a release share a key (device, release, slot,
window).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from modelfleet_core.sketch.histogram import HistogramBuilder
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import (
    SCORE_BINS,
    Agreement,
    Coverage,
    GoldenCount,
    LatencyPairs,
    Report,
    Scores,
)

from ..worker.protocol import Compared

MAX_AHEAD: Final = 16
"""Windows by which the open one may lie in the future (each change of the subject moves it on by one)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What reports are about: `release` against `incumbent` (None on a first install)."""

    slot: str
    operation: str
    release: str
    incumbent: str | None
    mode: Mode
    window_s: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is looked at when a window closes: resident memory in bytes, golden counts."""

    rss_candidate: int | None = None
    rss_incumbent: int | None = None
    golden: GoldenCount | None = None


class _Window:
    """The counters of one open window; field names as in `Report`."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.served = self.served_failed = self.answered_by_fallback = self.candidate_answers = 0
        self.n = self.candidate_only_failed = self.incumbent_failed = 0
        self.compared = self.agreed = self.close = 0
        self.offered = self.run = self.dropped_queue = self.dropped_budget = 0
        self.pairs = 0
        self.candidate_times = HistogramBuilder()
        self.incumbent_times = HistogramBuilder()
        self.candidate_scores = [0] * SCORE_BINS
        self.incumbent_scores = [0] * SCORE_BINS


class Evidence:
    """The open window of one slot; `totals` counts mirrored inputs since serve started."""

    def __init__(self) -> None:
        self.totals = {"offered": 0, "run": 0, "dropped_queue": 0, "dropped_budget": 0, "pairs": 0}
        self.subject: Subject | None = None
        self._window: _Window | None = None
        self._next_index = 0

    @property
    def pairs(self) -> int:
        """Latency pairs in the open window."""
        return self._window.pairs if self._window is not None else 0

    def turn_to(self, subject: Subject | None, now: float, around: Surroundings) -> Report | None:
        """From now on the evidence is about `subject` (None: about nothing); the report of the part
        before."""
        if subject == self.subject:
            return None
        report = self._close(around)
        self.subject = subject
        if subject is not None:
            self._open(subject, now)
        return report

    def is_due(self, now: float) -> bool:
        """Whether the open window has ended by `now` (Unix seconds)."""
        if self._window is None or self.subject is None:
            return False
        ahead = self._window.index - _index(self.subject, now)
        return ahead < 0 or ahead > MAX_AHEAD

    def close_due(self, now: float, around: Surroundings) -> Report | None:
        """The report of a window that has ended by `now`; the next one is open then."""
        subject = self.subject
        if subject is None or not self.is_due(now):
            return None
        report = self._close(around)
        self._open(subject, now)
        return report

    def elapsed_share(self, now: float) -> float:
        """How much of the open window has passed (0-1)."""
        if self._window is None or self.subject is None:
            return 0.0
        begun = self._window.index * self.subject.window_s
        return min(1.0, max(0.0, (now - begun) / self.subject.window_s))

    def served(self, release: str, *, by_fallback: bool) -> None:
        """A real request was answered by `release`; `by_fallback`: after the switched candidate had failed on
        it."""
        window = self._window
        if window is None or self.subject is None:
            return
        window.served += 1
        window.answered_by_fallback += by_fallback
        window.candidate_answers += release == self.subject.release

    def failed(self) -> None:
        """The caller of a real request saw a failure of the models."""
        if self._window is not None:
            self._window.served_failed += 1

    def offered(self) -> None:
        """A real input was chosen to be mirrored."""
        if self._window is not None:
            self._window.offered += 1
            self.totals["offered"] += 1

    def dropped(self, *, budget: bool) -> None:
        """It was dropped: the budget was spent, or the queue was full."""
        if self._window is None:
            return
        self.totals["dropped_budget" if budget else "dropped_queue"] += 1
        if budget:
            self._window.dropped_budget += 1
        else:
            self._window.dropped_queue += 1

    def mirrored(
        self, samples: int, *, candidate_failed: int, incumbent_failed: int, both: Compared | None
    ) -> None:
        """Both models (the candidate alone, without an incumbent) have seen a real input of so many samples.

        Args:
            samples: its samples; those on which a model failed are `candidate_failed`, `incumbent_failed`.
            candidate_failed: samples on which the candidate failed and the incumbent did not.
            incumbent_failed: samples on which the incumbent failed.
            both: the comparison, where there are two answers.
        """
        window = self._window
        if window is None:
            return
        window.run += 1
        self.totals["run"] += 1
        window.n += samples
        window.candidate_only_failed += candidate_failed
        window.incumbent_failed += incumbent_failed
        if both is None:
            return
        window.compared += both.compared
        window.agreed += both.agreed
        window.close += both.close
        for score in both.candidate_scores:
            window.candidate_scores[score_bin(score)] += 1
        for score in both.incumbent_scores:
            window.incumbent_scores[score_bin(score)] += 1

    def paired(self, candidate_s: float, incumbent_s: float) -> None:
        """Times of both models on the same input, back to back, in seconds."""
        window = self._window
        if window is None:
            return
        window.pairs += 1
        self.totals["pairs"] += 1
        window.candidate_times.add(candidate_s)
        window.incumbent_times.add(incumbent_s)

    def _open(self, subject: Subject, now: float) -> None:
        index = _index(subject, now)
        if self._next_index - index <= MAX_AHEAD:  # else another length of windows, or another clock
            index = max(index, self._next_index)
        self._next_index = index + 1
        self._window = _Window(index)

    def _close(self, around: Surroundings) -> Report | None:
        window, subject = self._window, self.subject
        self._window = None
        if window is None or subject is None:
            return None
        paired = subject.incumbent is not None
        latency = None
        if window.pairs:
            latency = LatencyPairs(
                window.pairs,
                window.candidate_times.build().to_wire(),
                window.incumbent_times.build().to_wire(),
            )
        return Report(
            window=window.index,
            window_s=subject.window_s,
            slot=subject.slot,
            operation=subject.operation,
            release=subject.release,
            incumbent=subject.incumbent,
            mode=subject.mode,
            served=window.served,
            served_failed=window.served_failed,
            answered_by_fallback=window.answered_by_fallback,
            candidate_answers=window.candidate_answers,
            n=window.n,
            candidate_only_failed=window.candidate_only_failed,
            incumbent_failed=window.incumbent_failed,
            latency=latency,
            agreement=Agreement(window.compared, window.agreed, window.close) if window.compared else None,
            golden=around.golden,
            coverage=Coverage(window.offered, window.run, window.dropped_queue, window.dropped_budget)
            if paired
            else None,
            scores=Scores(tuple(window.candidate_scores), tuple(window.incumbent_scores))
            if window.compared
            else None,
            rss_candidate_bytes=around.rss_candidate,
            rss_incumbent_bytes=around.rss_incumbent,
        )


def score_bin(score: float) -> int:
    """The bin of a top score in 0..1."""
    return min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS)))


def _index(subject: Subject, now: float) -> int:
    return math.floor(now / subject.window_s)
