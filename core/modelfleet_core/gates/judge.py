"""From the sums of one class to one verdict per gate.

Rule 1: worse before fine. Fine needs evidence against "unacceptable", in this stage, over enough rounds, and
a measured effect within tolerance: what is measured beyond it is never called fine.
Rule 2: missing data is never a pass: a gate that applies and has nothing to judge is undecided.
Rule 3: alpha of the rollout is split over betting gates x classes (x strata where a class has both), so
`needed` = gates x classes x strata / falseRollback (semantics section 2; Bonferroni on e-values).
Rule 4: this file does not decide about the class; `rollout.engine` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from modelfleet_core.gates import sentences, wealth
from modelfleet_core.gates.evidence import ClassEvidence, DeviceSum, GoldenResult, Stratum
from modelfleet_core.gates.silence import silence_sum
from modelfleet_core.gates.verdict import PROMOTE_NEEDED, Judgement, Verdict
from modelfleet_core.rollout.gate import Gate, Metric, Unless
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.wire.director import Mode

SMALL_CLASS: Final = 5
WORST_NAMED: Final = 5
_ROUNDING: Final = 1e-9
# Scores of boxes and masks differ in the last digits between any two models; that is no improvement.
_LEAST_IMPROVEMENT: Final = 1e-3


def needed_for_worse(plan: RolloutPlan, classes: int, strata: int = 1) -> float:
    """Evidence that one gate of one class needs to roll back (rule 3)."""
    return max(1, plan.bets) * max(1, classes) * max(1, strata) / plan.false_rollback


def judge_class(
    plan: RolloutPlan,
    stage: int,
    stage_started_at: datetime,
    evidence: ClassEvidence,
    classes: int,
    now: datetime,
) -> tuple[Verdict, ...]:
    """The verdicts of all gates of the plan on one class.

    Args:
        plan: gates, tolerances, alpha.
        stage: index of the class's current stage.
        stage_started_at: when it began, aware.
        evidence: what the class's devices told.
        classes: number of classes in the rollout (they share alpha).
        now: the instant, aware.
    """
    strata = _strata(evidence)
    needed = needed_for_worse(plan, classes, len(strata))
    golden = _golden(plan, stage, evidence)
    verdicts: list[Verdict] = []
    for gate in plan.gates:
        if gate.metric is Metric.GOLDEN:
            verdicts.extend(golden)
            continue
        for stratum in strata:
            verdict = _bet(plan, gate, stage, stage_started_at, evidence, stratum, needed, now)
            verdicts.append(_excused(gate, verdict, golden))
    return tuple(verdicts)


def _strata(evidence: ClassEvidence) -> tuple[Stratum, ...]:
    """The strata that are judged: those with devices, less one so small that it would be set aside anyway.

    One newcomer without an incumbent must not decide over a class of hundreds: a stratum of no more devices
    than the trimming of the whole class allows (`wealth.trimmed`) is not judged alone.
    """
    members: dict[Stratum, set[str]] = {}
    for beat in evidence.heartbeats:
        members.setdefault(beat.stratum, set()).add(beat.device)
    for rows in evidence.sums.values():
        for row in rows:
            members.setdefault(row.stratum, set()).add(row.device)
    spare = wealth.trimmed(sum(len(devices) for devices in members.values()))
    judged = tuple(stratum for stratum in Stratum if len(members.get(stratum, ())) > spare)
    return judged or (Stratum.WITH_INCUMBENT,)


def _bet(
    plan: RolloutPlan,
    gate: Gate,
    stage: int,
    stage_started_at: datetime,
    evidence: ClassEvidence,
    stratum: Stratum,
    needed: float,
    now: datetime,
) -> Verdict:
    alone = stratum is Stratum.WITHOUT_INCUMBENT
    if gate.metric.is_paired and alone:
        return _not_applicable(gate, stratum, "no incumbent to compare with")
    if gate.metric is Metric.SILENCE:
        if evidence.expected_offline:
            return _not_applicable(gate, stratum, "devices of this class are expected to be offline")
        rate = min(0.9, max(gate.tolerance, evidence.silence_rate))
        gate = replace(gate, tolerance=rate)
        needed *= len(plan.stages)
        rows = [
            silence_sum(gate, beat, rate, stage, plan.window_s, stage_started_at, now)
            for beat in evidence.heartbeats
            if beat.stratum is stratum
        ]
    else:
        rows = [row for row in evidence.sums.get(gate.metric, ()) if row.stratum is stratum]
        if alone and not rows and plan.stages[stage].mode is Mode.SHADOW:
            # nobody answers real requests here, so no report can ever speak: waiting would hold for good
            return _not_applicable(gate, stratum, "no incumbent to shadow, so no real request is seen")
    return judge_rows(gate, rows, stage, stratum, needed, plan.min_devices_of(stage), plan.min_rounds)


def judge_rows(
    gate: Gate,
    rows: Sequence[DeviceSum],
    stage: int,
    stratum: Stratum,
    needed: float,
    min_devices: int,
    min_rounds: int,
) -> Verdict:
    """The verdict of one betting gate on one stratum.

    Args:
        gate: metric, tolerance, limit.
        rows: one per device, this gate's only; those without a report are ignored.
        stage: index of the current stage.
        stratum: which devices these are (for the verdict).
        needed: evidence for `worse` (`needed_for_worse`).
        min_devices: devices that must have reported `min_rounds` windows each (all, where there are fewer).
        min_rounds: see there.
    """
    seen = [row for row in rows if row.reports]
    here = [row for row in seen if row.stage == stage and row.stage_reports]
    spare = wealth.trimmed(len(seen))
    worse = wealth.sums([row.worse for row in seen], spare)
    fine = wealth.sums([row.fine for row in here])
    log_worse, log_fine = wealth.log_mean_exp(worse), wealth.log_mean_exp(fine)
    rounds = _rounds(here, min_devices)
    if seen and log_worse >= math.log(needed):
        judgement = Judgement.WORSE
    elif (
        here
        and log_fine >= math.log(PROMOTE_NEEDED)
        and rounds >= min_rounds
        and _within_tolerance(gate, seen, spare)
    ):
        judgement = Judgement.FINE
    else:
        judgement = Judgement.UNDECIDED
    reports = sum(row.reports for row in seen)
    stage_reports = sum(row.stage_reports for row in here)
    beyond = _beyond(gate, seen)
    ranked = sorted(seen, key=lambda row: (-max(row.worse), row.device))[: max(spare, WORST_NAMED)]
    verdict = Verdict(
        metric=gate.metric,
        judgement=judgement,
        sentence="",
        stratum=stratum,
        effect=_effect(gate, seen, reports),
        tolerance=gate.tolerance,
        evidence=wealth.ratio(log_worse),
        needed=needed,
        promote_evidence=wealth.ratio(log_fine),
        promote_needed=PROMOTE_NEEDED,
        reports=reports,
        devices=len(seen),
        stage_reports=stage_reports,
        stage_devices=len(here),
        rounds=rounds,
        worse_devices=len(beyond),
        worst=tuple([row.device for row in ranked if row.device in beyond][:WORST_NAMED]),
        set_aside=tuple([row.device for row in ranked[:spare] if max(row.worse) > 0.0]),
    )
    more = _more_reports(worse, reports, needed, fine, stage_reports)
    return replace(verdict, sentence=sentences.bet(gate, verdict, min_rounds, more))


def _rounds(here: Sequence[DeviceSum], min_devices: int) -> int:
    """Windows that `min_devices` devices (or all, where there are fewer) have each reported."""
    counts = sorted((row.stage_reports for row in here), reverse=True)
    return counts[min(min_devices, len(counts)) - 1] if counts else 0


def _within_tolerance(gate: Gate, seen: Sequence[DeviceSum], spare: int) -> bool:
    """Whether the winsorised mean score is within tolerance.

    The `spare` devices with the largest own means count with the largest mean among the others: one rogue
    device does not stop a rollout, and setting it aside does not make the rest look better than it is.
    """
    ranked = sorted((row.score_total / row.reports, row.reports) for row in seen)
    highest = ranked[len(ranked) - spare - 1][0]
    total = sum(min(mean, highest) * reports for mean, reports in ranked)
    return total <= _tolerated(gate) * sum(reports for _, reports in ranked)


def _tolerated(gate: Gate) -> float:
    return math.log1p(gate.tolerance) if gate.metric.is_latency else gate.tolerance


def _beyond(gate: Gate, seen: Sequence[DeviceSum]) -> set[str]:
    limit = _tolerated(gate)
    return {row.device for row in seen if row.score_total > limit * row.reports}


def _effect(gate: Gate, seen: Sequence[DeviceSum], reports: int) -> float | None:
    """Mean over reports; latency as relative change of the geometric mean."""
    if not reports:
        return None
    mean = sum(row.score_total for row in seen) / reports
    return math.expm1(mean) if gate.metric.is_latency else mean


def _more_reports(
    worse: wealth.Wealth, reports: int, needed: float, fine: wealth.Wealth, stage_reports: int
) -> int | None:
    """About how many more reports until the nearer side decides, at the growth so far; None = no direction
    yet.
    """
    found: list[float] = []
    for sums, seen, target in ((worse, reports, needed), (fine, stage_reports, PROMOTE_NEEDED)):
        growth = max(sums) / seen if seen else 0.0
        if growth > 0.0:
            found.append((math.log(target) + math.log(wealth.GRID)) / growth - seen)
    return max(1, math.ceil(min(found))) if found else None


def _not_applicable(gate: Gate, stratum: Stratum, why: str) -> Verdict:
    sentence = sentences.not_applicable(gate, why)
    return Verdict(gate.metric, Judgement.NOT_APPLICABLE, sentence, stratum, tolerance=gate.tolerance)


# ------------------------------------------------------------------------------ golden: no bet, no alpha


def _golden(plan: RolloutPlan, stage: int, evidence: ClassEvidence) -> tuple[Verdict, ...]:
    """Semantics section 2: worse on 2 devices (1 in a class of fewer than 5) is worse; deterministic."""
    gate = plan.gate(Metric.GOLDEN)
    if gate is None:
        return ()
    known = {beat.device for beat in evidence.heartbeats} | {result.device for result in evidence.golden}
    wanted = min(plan.min_devices_of(stage), max(1, len(known)))
    enough = 1 if (evidence.size or len(known)) < SMALL_CLASS else 2
    paired = [result for result in evidence.golden if result.incumbent_right is not None and result.total > 0]
    alone = [result for result in evidence.golden if result.incumbent_right is None and result.total > 0]
    verdicts: list[Verdict] = []
    if paired or not alone:
        drops = [(result, _drop(result)) for result in paired]
        verdicts.append(
            _golden_verdict(gate, Stratum.WITH_INCUMBENT, drops, gate.tolerance, wanted - len(alone), enough)
        )
    if alone and gate.floor is not None:
        misses = [(result, gate.floor - result.candidate_right / result.total) for result in alone]
        verdicts.append(
            _golden_verdict(gate, Stratum.WITHOUT_INCUMBENT, misses, 0.0, wanted - len(paired), enough)
        )
    elif alone:
        why = "no incumbent to compare with and no floor in the plan"
        verdicts.append(_not_applicable(gate, Stratum.WITHOUT_INCUMBENT, why))
    return tuple(verdicts)


def _drop(result: GoldenResult) -> float:
    return ((result.incumbent_right or 0) - result.candidate_right) / result.total


def _golden_verdict(
    gate: Gate,
    stratum: Stratum,
    drops: Sequence[tuple[GoldenResult, float]],
    tolerated: float,
    wanted: int,
    enough: int,
) -> Verdict:
    beyond = sorted(
        (result.device for result, drop in drops if drop > tolerated + _ROUNDING),
    )
    if len(beyond) >= enough:
        judgement = Judgement.WORSE
    elif drops and len(drops) >= wanted:
        judgement = Judgement.FINE
    else:
        judgement = Judgement.UNDECIDED
    verdict = Verdict(
        metric=gate.metric,
        judgement=judgement,
        sentence="",
        stratum=stratum,
        effect=sum(drop for _, drop in drops) / len(drops) if drops else None,
        tolerance=gate.tolerance,
        reports=len(drops),
        devices=len(drops),
        stage_reports=len(drops),
        stage_devices=len(drops),
        worse_devices=len(beyond),
        worst=tuple(beyond[:WORST_NAMED]),
        set_aside=tuple(beyond) if judgement is Judgement.FINE else (),
    )
    samples = min((result.total for result, _ in drops), default=0)
    return replace(verdict, sentence=sentences.golden(gate, verdict, samples, wanted))


def _excused(gate: Gate, verdict: Verdict, golden: Sequence[Verdict]) -> Verdict:
    """Semantics section 2: a better model disagrees too; the golden set says which of the two it is."""
    if gate.unless is not Unless.GOLDEN_BETTER or verdict.judgement is Judgement.NOT_APPLICABLE:
        return verdict
    better = next((g for g in golden if g.stratum is Stratum.WITH_INCUMBENT), None)
    if better is None or better.judgement is not Judgement.FINE or better.worse_devices:
        return verdict
    if better.effect is None or better.effect > -_LEAST_IMPROVEMENT:
        return verdict
    beyond = verdict.effect is not None and verdict.effect > gate.tolerance
    if verdict.judgement is Judgement.WORSE or (verdict.judgement is Judgement.UNDECIDED and beyond):
        sentence = sentences.excused(verdict, better)
        return replace(verdict, judgement=Judgement.EXCUSED, sentence=sentence)
    return verdict
