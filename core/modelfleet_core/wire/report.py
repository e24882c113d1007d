"""`POST /v1/device/reports`: evidence, one report per window and slot (semantics section 2).

Candidate = the release under test, incumbent = the one it is compared with, whichever of them serves at the
moment. Keyed by (device, release, slot, window): a replay changes nothing. `n = 0` says "alive, no evidence".
"""

from __future__ import annotations

from dataclasses import dataclass

from .director import Mode

MAX_REPORTS = 64
MAX_SKETCH = 1200
SCORE_BINS = 20


@dataclass(frozen=True, slots=True)
class LatencyPairs:
    """Sketches of both models on the same inputs (`modelfleet_core.sketch` wire form), `count` pairs."""

    count: int
    candidate: str
    incumbent: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Decisions of both models on the same real inputs.

    `close` counts disagreements where the incumbent's own margin was below eps: neither agreement nor
    disagreement.
    """

    compared: int
    agreed: int
    close: int = 0


@dataclass(frozen=True, slots=True)
class GoldenCount:
    """Right answers on the baseline release's labelled golden set; `incumbent_right` None without an
    incumbent.

    For tasks whose answers are more or less right (boxes, masks, numbers) it is the sum of the samples'
    scores, 0 to 1 each; so right / total is the mean score of every task.
    """

    total: int
    candidate_right: float
    incumbent_right: float | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the traffic the mirror saw: offered, run, dropped because the queue was full or the budget
    spent.
    """

    offered: int = 0
    run: int = 0
    dropped_queue: int = 0
    dropped_budget: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Histograms of the top score (softmax), `SCORE_BINS` equal bins over 0..1, on the same inputs."""

    candidate: tuple[int, ...]
    incumbent: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Evidence of one window.

    Attributes:
        window: index of the window: floor(unix time / window_s).
        window_s: its length, seconds.
        slot, operation, release, incumbent: what was compared (release ids; incumbent None on a first
            install).
        mode: shadow (incumbent serves) or live (candidate serves).
        served: real requests answered in the window, by whichever model.
        served_failed: requests whose caller saw a failure.
        answered_by_fallback: requests on which the switched candidate failed and the previous answered.
        n: inputs seen by both models (pairs for errors); without an incumbent: inputs seen by the candidate.
        candidate_only_failed: of `n`, the candidate failed and the incumbent did not.
        incumbent_failed: of `n`, the incumbent failed.
        candidate_answers: real requests whose answer came from the candidate (0 in shadow, always).
        rss_candidate_bytes, rss_incumbent_bytes: resident memory of the workers; None = not running.
    """

    window: int
    window_s: float
    slot: str
    operation: str
    release: str
    incumbent: str | None
    mode: Mode
    served: int = 0
    served_failed: int = 0
    answered_by_fallback: int = 0
    candidate_answers: int = 0
    n: int = 0
    candidate_only_failed: int = 0
    incumbent_failed: int = 0
    latency: LatencyPairs | None = None
    agreement: Agreement | None = None
    golden: GoldenCount | None = None
    coverage: Coverage | None = None
    scores: Scores | None = None
    rss_candidate_bytes: int | None = None
    rss_incumbent_bytes: int | None = None
    schema: int = 1


@dataclass(frozen=True, slots=True)
class ReportBatch:
    """At most `MAX_REPORTS` reports of one device.

    `sent_unix_s` is the device's own, uncorrected clock at sending, the one its windows were cut by: the
    controller shifts windows by the difference to its own clock, so a wrong clock makes evidence neither
    stale nor early.
    """

    reports: tuple[Report, ...]
    sent_unix_s: float | None = None
    schema: int = 1


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """How many were new and how many were known before."""

    accepted: int
    duplicates: int
