"""What devices told about one gate, as sums: the rows that the controller keeps and the gates judge.

Two wealths per device and gate (`wealth.py`): `worse` bets that the release is beyond tolerance and is
carried through all stages; `fine` bets that it is not unacceptable and starts anew in each stage (semantics
section 2). Adding is exact and commutative, so a row may be built in any order; that a report is added once
is the key's matter: (device, release, slot, window).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from modelfleet_core.gates.wealth import NONE, Wealth, added
from modelfleet_core.rollout.gate import Metric

CARRIED_ONLY = -1
"""Instead of a stage: the report speaks for `worse` alone (other mode, or a window that began before it)."""


class Stratum(StrEnum):
    """Devices are judged apart by whether there was an incumbent in the slot (semantics section 1)."""

    WITH_INCUMBENT = "with_incumbent"
    WITHOUT_INCUMBENT = "without_incumbent"


@dataclass(frozen=True, slots=True)
class Score:
    """What one report says about one gate.

    Attributes:
        metric: the gate.
        value: log ratio of latencies, or a rate 0-1.
        worse: step of the wealth that bets on "beyond tolerance".
        fine: step of the wealth that bets on "not unacceptable".
    """

    metric: Metric
    value: float
    worse: Wealth
    fine: Wealth


@dataclass(frozen=True, slots=True)
class DeviceSum:
    """One device and one gate; one row of the database.

    Attributes:
        device: device id.
        stratum: with or without an incumbent when it entered the rollout; never changes.
        stage: stage that `fine` and `stage_reports` belong to; -1 before any.
        worse: log-wealths over the whole rollout, GRID floats.
        fine: log-wealths in `stage`, GRID floats.
        reports: scored reports in the whole rollout.
        stage_reports: scored reports in `stage`.
        score_total: sum of the scores' values over `reports`.
    """

    device: str
    stratum: Stratum = Stratum.WITH_INCUMBENT
    stage: int = CARRIED_ONLY
    worse: Wealth = NONE
    fine: Wealth = NONE
    reports: int = 0
    stage_reports: int = 0
    score_total: float = 0.0

    def plus(self, score: Score, stage: int) -> DeviceSum:
        """With one more score that counts for `stage` (CARRIED_ONLY: for none).

        A score of an older stage than the row's only adds to what is carried; one of a newer stage starts
        `fine` anew. So the result does not depend on the order in which reports arrive.
        """
        if stage == CARRIED_ONLY or stage < self.stage:
            stage, fine, stage_reports = self.stage, self.fine, self.stage_reports
        elif stage > self.stage:
            fine, stage_reports = score.fine, 1
        else:
            fine, stage_reports = added(self.fine, score.fine), self.stage_reports + 1
        return DeviceSum(
            device=self.device,
            stratum=self.stratum,
            stage=stage,
            worse=added(self.worse, score.worse),
            fine=fine,
            reports=self.reports + 1,
            stage_reports=stage_reports,
            score_total=self.score_total + score.value,
        )

    def in_stage(self, stage: int) -> DeviceSum:
        """The row as that stage sees it: `fine` of another stage does not count."""
        if self.stage == stage:
            return self
        return replace(self, stage=stage, fine=NONE, stage_reports=0)


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """The latest labelled result of one device: right answers (or the sum of scores) out of `total`.

    `incumbent_right` is None where there is no incumbent.
    """

    device: str
    total: int
    candidate_right: float
    incumbent_right: float | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the silence gate needs of one device.

    Attributes:
        device, stratum: as in DeviceSum.
        accepted_at: when it accepted the assignment: the clock of silence starts here; aware.
        last_report_at: start of the last window it reported (also with n = 0); None = none yet; aware.
        stage_reports: windows it reported in the current stage, in whatever mode, also with n = 0.
        last_contact_at: last sign of life of any kind, such as a check-in. It counts until the first report:
            a device that fetches a large variant over a thin line has nothing to report; aware.
        listened_since: since when the controller has been there to hear the device; what it missed while it
            was away itself is nobody's silence; None = always; aware.
    """

    device: str
    accepted_at: datetime
    last_report_at: datetime | None = None
    stage_reports: int = 0
    stratum: Stratum = Stratum.WITH_INCUMBENT
    last_contact_at: datetime | None = None
    listened_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClassEvidence:
    """All that is known of one class.

    Attributes:
        device_class: its name.
        sums: rows of the betting gates (not of silence), by metric; devices in any order.
        golden: latest labelled result of each device.
        heartbeats: one per device that accepted the assignment.
        silence_rate: share of the class's other devices (on the incumbent) that are silent, 0-1.
        expected_offline: silence says nothing in this class.
        size: devices of the class that the selector takes in; 0 = not known, then those heard of count.
    """

    device_class: str
    sums: dict[Metric, tuple[DeviceSum, ...]]
    golden: tuple[GoldenResult, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()
    silence_rate: float = 0.0
    expected_offline: bool = False
    size: int = 0


def collect(scores: Iterable[tuple[str, Stratum, int, Score]]) -> dict[Metric, tuple[DeviceSum, ...]]:
    """Rows from (device, stratum, stage, score) in any order: what `explain --replay` and simulations use."""
    rows: dict[tuple[Metric, str], DeviceSum] = {}
    for device, stratum, stage, score in scores:
        key = (score.metric, device)
        rows[key] = (rows.get(key) or DeviceSum(device, stratum)).plus(score, stage)
    sums: dict[Metric, list[DeviceSum]] = {}
    for (metric, _), row in rows.items():
        sums.setdefault(metric, []).append(row)
    return {metric: tuple(found) for metric, found in sums.items()}
