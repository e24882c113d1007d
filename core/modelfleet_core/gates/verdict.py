"""What a gate says about one class: the verdict and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.rollout.gate import Metric

PROMOTE_NEEDED: Final = 20.0
"""1 / alpha of the promote side: an unacceptable release passes a gate of a stage with probability <= 5 %."""


class Judgement(StrEnum):
    """The five answers of a gate (architecture, section 5). Missing data is never a pass."""

    WORSE = "worse"
    FINE = "fine"
    UNDECIDED = "undecided"
    EXCUSED = "excused"
    NOT_APPLICABLE = "not_applicable"

    @property
    def lets_promote(self) -> bool:
        """Whether promotion does not wait for this gate."""
        return self not in (Judgement.WORSE, Judgement.UNDECIDED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate on one stratum of one class.

    Attributes:
        metric, stratum, judgement: what, on whom, which answer.
        effect: latency: relative change of the quantile; rates: mean rate; golden: mean drop of accuracy
            (positive = worse); None = nothing measured.
        tolerance: as in the plan.
        evidence, needed: how many times likelier than under "within tolerance"; worse at evidence >= needed.
        promote_evidence, promote_needed: the same against "unacceptable"; fine needs it.
        reports, devices: scored reports of the whole rollout and devices they came from.
        stage_reports, stage_devices: the same in the current stage.
        rounds: windows that the plan's number of devices have all reported in this stage.
        worse_devices: number of devices whose own mean is beyond tolerance.
        worst: at most five of them, the one with the most evidence first.
        set_aside: devices whose evidence is left out as the worst ones (only those that speak for "worse").
        sentence: one plain sentence made of these numbers.
    """

    metric: Metric
    judgement: Judgement
    sentence: str
    stratum: Stratum = Stratum.WITH_INCUMBENT
    effect: float | None = None
    tolerance: float | None = None
    evidence: float = 1.0
    needed: float = 1.0
    promote_evidence: float = 1.0
    promote_needed: float = PROMOTE_NEEDED
    reports: int = 0
    devices: int = 0
    stage_reports: int = 0
    stage_devices: int = 0
    rounds: int = 0
    worse_devices: int = 0
    worst: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
