"""What may happen to one class, as a table: `RULES`, in order; the first rule that answers wins.

Each rule sees one class (`Case`) and answers with a decision or None. What protects stands before what
advances; nothing in this file looks at another class (that is `engine.py`) or at a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelfleet_core.gates.verdict import Judgement, Verdict
from modelfleet_core.gates.words import count, duration, listed, name_of
from modelfleet_core.rollout.decision import Action, ClassDecision, Reason
from modelfleet_core.rollout.plan import OnInconclusive, RolloutPlan
from modelfleet_core.rollout.progress import ClassProgress, ClassState, OutcomeCounts, RolloutProgress

HARD_STOP_DEVICES: Final = 2
SMALL_CLASS: Final = 5
"""Below this many reached devices one hard stop is enough (semantics section 2)."""
HARD_STOP_CLASSES: Final = 2
MAX_EXTENSIONS: Final = 3
"""`onInconclusive: extend` gives the deadline this many times again, then holds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One class as the rules see it."""

    plan: RolloutPlan
    rollout: RolloutProgress
    progress: ClassProgress
    verdicts: tuple[Verdict, ...]
    now: datetime

    @property
    def elapsed_s(self) -> float:
        """Seconds since the stage began."""
        return (self.now - self.progress.stage_started_at).total_seconds()

    @property
    def overdue(self) -> bool:
        """Whether the deadline, with its extensions, has passed."""
        stage = self.plan.stages[self.progress.stage]
        return self.elapsed_s >= stage.deadline_s * (1 + self.progress.extensions)

    @property
    def where(self) -> str:
        """`stage 1/4 shadow (x86-onnxruntime)`."""
        index = self.progress.stage
        stage = self.plan.stages[index]
        return f"stage {index + 1}/{len(self.plan.stages)} {stage.name} ({self.progress.device_class})"

    def answer(
        self,
        action: Action,
        reason: Reason,
        sentence: str,
        *,
        verdict: Verdict | None = None,
        to_stage: int | None = None,
    ) -> ClassDecision:
        """The decision with this class's numbers."""
        stage = self.plan.stages[self.progress.stage]
        return ClassDecision(
            device_class=self.progress.device_class,
            action=action,
            reason=reason,
            sentence=sentence,
            stage=self.progress.stage,
            to_stage=to_stage,
            stopped_in=stage.mode if action in (Action.ROLL_BACK, Action.ABORT) else None,
            gate=verdict.metric if verdict else None,
            evidence=verdict.evidence if verdict else None,
            verdicts=self.verdicts,
        )


Rule = Callable[[Case], ClassDecision | None]


def _hard_stop(case: Case) -> ClassDecision | None:
    """Semantics section 2: crash-loop, load, verify, self-test or watchdog on enough devices of the class."""
    if not is_hard_stopped(case.progress):
        return None
    stops = case.progress.hard_stops
    kinds = sorted({stop.kind.value.replace("_", " ") for stop in stops})
    said = next((f": {stop.reason}" for stop in stops if stop.reason), "")
    devices = sorted({stop.device for stop in stops})
    return case.answer(
        Action.ROLL_BACK,
        Reason.HARD_STOP,
        f"ROLLED BACK {case.where}: {listed(kinds)} on {count(len(devices), 'device')}{said}. "
        f"Devices: {listed(devices)}",
    )


def _worse(case: Case) -> ClassDecision | None:
    """A gate has decided that the release is beyond tolerance."""
    worse = [verdict for verdict in case.verdicts if verdict.judgement is Judgement.WORSE]
    if not worse:
        return None
    # The strongest speaks; golden, which is no bet, has evidence = needed.
    first = max(worse, key=lambda verdict: (verdict.evidence / verdict.needed, verdict.metric.value))
    others = sorted({name_of(verdict.metric) for verdict in worse if verdict is not first})
    also = f"; also worse: {', '.join(others)}" if others else ""
    return case.answer(
        Action.ROLL_BACK,
        Reason.GATE_WORSE,
        f"ROLLED BACK {case.where}: {first.sentence} in {duration(case.elapsed_s)}{also}",
        verdict=first,
    )


def _paused(case: Case) -> ClassDecision | None:
    """Semantics section 3: no device is added; gates and rollbacks go on."""
    if not case.rollout.paused:
        return None
    return case.answer(Action.WAIT, Reason.PAUSED, f"{case.where}: paused; rollbacks go on")


def _promoted_by_person(case: Case) -> ClassDecision | None:
    """Semantics section 3: ends the bake or the hold; `worse` and hard stops have answered before."""
    asked = case.progress.promote
    if asked is None or asked.stage != case.progress.stage:
        return None
    why = f" ({asked.reason})" if asked.reason else ""
    if case.plan.is_last(case.progress.stage):
        rest = _rest(case.progress.counts)
        sentence = f"COMPLETED {case.where}: ended by {asked.person}{why}; {rest}"
        return case.answer(Action.COMPLETE, Reason.BY_PERSON, sentence)
    to_stage = len(case.plan.stages) - 1 if asked.full else case.progress.stage + 1
    open_gates = _names_of(case, Judgement.UNDECIDED)
    undecided = f"; still undecided: {open_gates}" if open_gates else ""
    return case.answer(
        Action.PROMOTE,
        Reason.BY_PERSON,
        f"PROMOTED {case.where} to {case.plan.stages[to_stage].name}: by {asked.person}{why}{undecided}",
        to_stage=to_stage,
    )


def _held(case: Case) -> ClassDecision | None:
    """A hold is ended by a person alone, so that whoever waits for it sees one stable answer."""
    if case.progress.state is not ClassState.HELD:
        return None
    return case.answer(Action.WAIT, Reason.HELD, case.progress.reason or f"HELD {case.where}")


def _baking(case: Case) -> ClassDecision | None:
    bake_s = case.plan.stages[case.progress.stage].min_bake_s
    if case.elapsed_s >= bake_s:
        return None
    return case.answer(
        Action.WAIT,
        Reason.BAKING,
        f"{case.where}: baking, {duration(case.elapsed_s)} of {duration(bake_s)}; {_standing(case)}",
    )


def _undecided(case: Case) -> ClassDecision | None:
    """Evidence is missing: wait, and at the deadline do what the plan says; never promote (rule 3)."""
    open_verdicts = [verdict for verdict in case.verdicts if not verdict.judgement.lets_promote]
    silent = [
        gate.metric for gate in case.plan.gates if all(v.metric is not gate.metric for v in case.verdicts)
    ]
    if not open_verdicts and not silent:
        return None
    said = [verdict.sentence for verdict in open_verdicts]
    said += [f"{name_of(metric)}: nothing reported yet" for metric in silent]
    details = "; ".join(said)
    if not case.overdue:
        return case.answer(Action.WAIT, Reason.UNDECIDED, f"{case.where}: {details}")
    first = open_verdicts[0] if open_verdicts else None
    policy = case.plan.on_inconclusive
    late = f"inconclusive after {duration(case.elapsed_s)}"
    if policy is OnInconclusive.ROLLBACK:
        sentence = f"ROLLED BACK {case.where}: {late} (onInconclusive: rollback); {details}"
        return case.answer(Action.ROLL_BACK, Reason.INCONCLUSIVE, sentence, verdict=first)
    if policy is OnInconclusive.EXTEND and case.progress.extensions < MAX_EXTENSIONS:
        sentence = (
            f"EXTENDED {case.where}: {late}, deadline given again "
            f"({case.progress.extensions + 1} of {MAX_EXTENSIONS}); {details}"
        )
        return case.answer(Action.EXTEND, Reason.INCONCLUSIVE, sentence, verdict=first)
    return case.answer(
        Action.HOLD, Reason.INCONCLUSIVE, f"HELD {case.where}: {late}; {details}", verdict=first
    )


def _nothing_decides(case: Case) -> ClassDecision | None:
    """Gates were asked for, but none applies to this class: not a pass either (rule 3)."""
    if not case.plan.gates:
        return None
    if any(verdict.judgement is Judgement.FINE for verdict in case.verdicts):
        return None
    return case.answer(
        Action.HOLD,
        Reason.NOTHING_DECIDES,
        f"HELD {case.where}: no gate of the plan could decide here ({_standing(case)}); promote or abort",
    )


def _few_devices(case: Case) -> ClassDecision | None:
    """Semantics section 2, small fleets: below minDevices promotion holds for a person."""
    needed = case.plan.min_devices_of(case.progress.stage)
    reporting = case.progress.reporting
    if reporting >= needed:
        return None
    text = f"{count(reporting, 'device')} of the needed {needed} report"
    if case.progress.cohort >= needed and not case.overdue:
        return case.answer(Action.WAIT, Reason.FEW_DEVICES, f"{case.where}: {text}; {_standing(case)}")
    return case.answer(
        Action.HOLD,
        Reason.FEW_DEVICES,
        f"HELD {case.where}: all gates allow it, but {text}; too few to promote without a person "
        "(lower minDevices in the plan, or promote)",
    )


def _unfinished(case: Case) -> ClassDecision | None:
    """Semantics section 1, completion: enough of the reached devices must have committed."""
    if not case.plan.is_last(case.progress.stage):
        return None
    counts, plan = case.progress.counts, case.plan
    expected = counts.reached + counts.not_reached
    if expected and counts.committed >= plan.committed * expected:
        return None
    share = f"{counts.committed} of {expected} committed, {plan.committed:.0%} needed"
    if counts.lost > (1 - plan.committed) * expected:
        sentence = f"HELD {case.where}: {share}, which cannot be reached any more; {_rest(counts)}"
        return case.answer(Action.HOLD, Reason.FEW_COMMITTED, sentence)
    if not case.overdue:
        return case.answer(Action.WAIT, Reason.COMMITTING, f"{case.where}: {share}; {_rest(counts)}")
    if not counts.reached or counts.reached < plan.reached * expected:
        sentence = (
            f"HELD {case.where}: only {counts.reached} of {count(expected, 'device')} reached "
            f"by the deadline ({plan.reached:.0%} needed); {_rest(counts)}"
        )
        return case.answer(Action.HOLD, Reason.FEW_REACHED, sentence)
    if counts.committed < plan.committed * counts.reached:
        sentence = f"HELD {case.where}: {share} by the deadline; {_rest(counts)}"
        return case.answer(Action.HOLD, Reason.FEW_COMMITTED, sentence)
    return None


def _advance(case: Case) -> ClassDecision:
    """Nothing speaks against it."""
    standing = _standing(case)
    weaker = "; small-fleet plan: weaker evidence" if case.plan.small_fleet else ""
    after = duration(case.elapsed_s)
    if case.plan.is_last(case.progress.stage):
        sentence = f"COMPLETED {case.where} after {after}: {_rest(case.progress.counts)}; {standing}{weaker}"
        return case.answer(Action.COMPLETE, Reason.ALL_FINE, sentence)
    following = case.progress.stage + 1
    return case.answer(
        Action.PROMOTE,
        Reason.ALL_FINE,
        f"PROMOTED {case.where} to {case.plan.stages[following].name} after {after}: {standing}{weaker}",
        to_stage=following,
    )


RULES: Final[tuple[Rule, ...]] = (
    _hard_stop,
    _worse,
    _paused,
    _promoted_by_person,
    _held,
    _baking,
    _undecided,
    _nothing_decides,
    _few_devices,
    _unfinished,
    _advance,
)


def is_hard_stopped(progress: ClassProgress) -> bool:
    """Whether enough devices of the class had a hard stop (semantics section 2)."""
    devices = len({stop.device for stop in progress.hard_stops})
    size = progress.size or progress.counts.reached
    return devices >= (1 if size < SMALL_CLASS else HARD_STOP_DEVICES)


def _names_of(case: Case, judgement: Judgement) -> str:
    return ", ".join(dict.fromkeys(name_of(v.metric) for v in case.verdicts if v.judgement is judgement))


def _standing(case: Case) -> str:
    """`fine: errors, silence; not applicable: p95 latency`."""
    if not case.plan.gates:
        return f"no gates ({case.plan.no_gates_reason})"
    parts = [
        f"{judgement.value.replace('_', ' ')}: {names}"
        for judgement in Judgement
        if (names := _names_of(case, judgement))
    ]
    return "; ".join(parts) or "no gate has spoken"


def _rest(counts: OutcomeCounts) -> str:
    """`committed 9, silent 1`: every outcome that occurs, so that nothing hides behind a percentage."""
    seen = [(name.replace("_", " "), getattr(counts, name)) for name in OutcomeCounts.__slots__]
    return ", ".join(f"{name} {number}" for name, number in seen if number) or "no device"
