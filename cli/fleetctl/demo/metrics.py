"""Reads Prometheus text: what each serve counted, and what the controller sent. Parsing only; no
judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? +(\S+)(?: +\d+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the exposition format."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """The samples of a Prometheus text; comments and lines of another form are left out."""
    samples: list[Sample] = []
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is not None:
            labels = {name: value for name, value in _LABEL.findall(match[2] or "")}
            samples.append(Sample(match[1], labels, float(match[3])))
    return samples


@dataclass(frozen=True, slots=True)
class ServeCounts:
    """One serve process since it started, for one slot.

    Attributes:
        served, failed, dropped: real requests by outcome.
        answers: release id -> real requests it answered.
        swaps: flips of the answering model.
        worst_swap_gap_ms: longest time in which a waiting request was not worked on.
    """

    served: int = 0
    failed: int = 0
    dropped: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    swaps: int = 0
    worst_swap_gap_ms: float = 0.0

    def plus(self, other: ServeCounts) -> ServeCounts:
        """Both together, as of two processes one after the other, or of two devices."""
        releases = {*self.answers, *other.answers}
        return ServeCounts(
            served=self.served + other.served,
            failed=self.failed + other.failed,
            dropped=self.dropped + other.dropped,
            answers={one: self.answers.get(one, 0) + other.answers.get(one, 0) for one in releases},
            swaps=self.swaps + other.swaps,
            worst_swap_gap_ms=max(self.worst_swap_gap_ms, other.worst_swap_gap_ms),
        )

    def since(self, earlier: ServeCounts) -> ServeCounts:
        """What came after `earlier`; the worst gap, which only ever rises, is that of the whole time."""
        return ServeCounts(
            served=self.served - earlier.served,
            failed=self.failed - earlier.failed,
            dropped=self.dropped - earlier.dropped,
            answers={one: count - earlier.answers.get(one, 0) for one, count in self.answers.items()},
            swaps=self.swaps - earlier.swaps,
            worst_swap_gap_ms=self.worst_swap_gap_ms,
        )


def serve_counts(text: str, slot: str) -> ServeCounts:
    """What serve's `/metrics` says about one slot."""
    outcomes: dict[str, int] = {}
    answers: dict[str, int] = {}
    swaps = 0
    gap = 0.0
    for sample in parse(text):
        if sample.labels.get("slot", slot) != slot:
            continue
        if sample.name == "modelfleet_requests_total":
            outcomes[sample.labels["outcome"]] = int(sample.value)
        elif sample.name == "modelfleet_answers_total":
            answers[sample.labels["release"]] = int(sample.value)
        elif sample.name == "modelfleet_swaps_total":
            swaps += int(sample.value)
        elif sample.name == "modelfleet_worst_swap_gap_ms":
            gap = max(gap, sample.value)
    return ServeCounts(
        served=outcomes.get("served", 0),
        failed=outcomes.get("failed", 0),
        dropped=outcomes.get("dropped", 0),
        answers=answers,
        swaps=swaps,
        worst_swap_gap_ms=gap,
    )
