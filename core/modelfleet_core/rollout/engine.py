"""Decides what happens next to a rollout.

Rule 1: `decide` is the only way a stage changes, a class ends or waits for a person. It is pure, total and
deterministic: the same plan, progress, verdicts and instant give the same decision.
Rule 2: the order of `RULES` is the law; the first rule that answers wins. What protects comes before what
advances: hard stops and `worse` are looked at before pause, verbs, bake and deadlines, and nothing overrides
them (semantics section 3, promote).
Rule 3: missing data never promotes. A gate without a verdict is undecided.
Rule 4: this file knows nothing of devices, databases or how a verdict came about. Cohorts are `cohort.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.gates.words import listed
from modelfleet_core.rollout.decision import Action, ClassDecision, Decision, Reason
from modelfleet_core.rollout.plan import Advance, RolloutPlan
from modelfleet_core.rollout.progress import (
    ClassProgress,
    ClassState,
    Ending,
    RolloutOutcome,
    RolloutProgress,
)
from modelfleet_core.rollout.rules import HARD_STOP_CLASSES, RULES, Case, is_hard_stopped


def decide(
    plan: RolloutPlan,
    progress: RolloutProgress,
    verdicts: Mapping[str, Sequence[Verdict]],
    now: datetime,
) -> Decision:
    """What happens to each class of the rollout at this instant.

    Args:
        plan: what was asked for.
        progress: what has happened.
        verdicts: class name -> verdicts of its gates (`gates.judge.judge_class`); a missing one is undecided.
        now: aware instant; read once by the caller.
    """
    fleet_stop = _hard_stopped_classes(progress) >= HARD_STOP_CLASSES
    decided: list[ClassDecision] = []
    for item in progress.classes:
        case = Case(plan, progress, item, tuple(verdicts.get(item.device_class, ())), now)
        decided.append(_decide_class(case, fleet_stop))
    if plan.advance is Advance.TOGETHER:
        decided = _in_step(plan, progress, decided)
    outcome = _outcome([_state_after(c, d) for c, d in zip(progress.classes, decided, strict=True)])
    return Decision(now, tuple(decided), outcome, _summary(outcome, decided))


def apply(progress: RolloutProgress, decision: Decision) -> RolloutProgress:
    """The progress after the decision; cohort and counts of a new stage are the caller's to resolve."""
    classes: list[ClassProgress] = []
    for item, made in zip(progress.classes, decision.classes, strict=True):
        if not made.changes:
            classes.append(item)
            continue
        after = replace(item, state=_state_after(item, made), reason=made.sentence)
        if made.action is Action.PROMOTE and made.to_stage is not None:
            after = replace(
                after,
                stage=made.to_stage,
                stage_started_at=decision.at,
                cohort=0,
                reporting=0,
                extensions=0,
                promote=None,
            )
        elif made.action is Action.EXTEND:
            after = replace(after, extensions=item.extensions + 1)
        classes.append(after)
    return replace(progress, classes=tuple(classes))


_ACTION_OF: Final = {Ending.ABORT: Action.ABORT, Ending.SUPERSEDE: Action.SUPERSEDE}

_STATE_AFTER: Final[dict[Action, ClassState]] = {
    Action.PROMOTE: ClassState.RUNNING,
    Action.COMPLETE: ClassState.COMPLETED,
    Action.HOLD: ClassState.HELD,
    Action.EXTEND: ClassState.RUNNING,
    Action.ROLL_BACK: ClassState.ROLLED_BACK,
    Action.ABORT: ClassState.ABORTED,
    Action.SUPERSEDE: ClassState.SUPERSEDED,
}
"""WAIT changes nothing."""

_OUTCOME_OF: Final[dict[ClassState, RolloutOutcome]] = {
    ClassState.COMPLETED: RolloutOutcome.COMPLETED,
    ClassState.ROLLED_BACK: RolloutOutcome.ROLLED_BACK,
    ClassState.ABORTED: RolloutOutcome.ABORTED,
    ClassState.SUPERSEDED: RolloutOutcome.SUPERSEDED,
}


# --------------------------------------------------------------------------------------- around the rules


def _decide_class(case: Case, fleet_stop: bool) -> ClassDecision:
    if case.progress.state.ended:
        return case.answer(Action.WAIT, Reason.ENDED, case.progress.reason or f"{case.where}: ended")
    ending = case.rollout.ending
    if ending is not None:
        why = f": {case.rollout.ending_reason}" if case.rollout.ending_reason else ""
        return case.answer(_ACTION_OF[ending], Reason.BY_PERSON, f"{ending.upper()} {case.where}{why}")
    if fleet_stop and not is_hard_stopped(case.progress):
        sentence = (
            f"ROLLED BACK {case.where}: hard stops in {HARD_STOP_CLASSES} classes or more stop the fleet"
        )
        return case.answer(Action.ROLL_BACK, Reason.HARD_STOP_FLEET, sentence)
    for rule in RULES:
        made = rule(case)
        if made is not None:
            return made
    raise AssertionError("the last rule always answers")


def _hard_stopped_classes(progress: RolloutProgress) -> int:
    return sum(bool(item.hard_stops) and is_hard_stopped(item) for item in progress.classes)


def _in_step(
    plan: RolloutPlan, progress: RolloutProgress, decided: Sequence[ClassDecision]
) -> list[ClassDecision]:
    """`advance: together`: one class rolls back = all do; one is not ready = all wait."""
    pairs = list(zip(progress.classes, decided, strict=True))
    stopped = next(
        (
            made.device_class
            for item, made in pairs
            if made.action is Action.ROLL_BACK or item.state is ClassState.ROLLED_BACK
        ),
        None,
    )
    onward = (Action.PROMOTE, Action.COMPLETE)
    slow = [made for item, made in pairs if not item.state.ended and made.action not in onward]
    behind = min((item.stage for item in progress.classes if not item.state.ended), default=0)
    result: list[ClassDecision] = []
    for item, made in pairs:
        if item.state.ended or made.action in (Action.ROLL_BACK, Action.ABORT, Action.SUPERSEDE):
            result.append(made)
        elif stopped is not None:
            sentence = (
                f"ROLLED BACK {made.device_class}: {stopped} was rolled back and classes advance together"
            )
            result.append(
                replace(
                    made,
                    action=Action.ROLL_BACK,
                    reason=Reason.TOGETHER,
                    sentence=sentence,
                    to_stage=None,
                    stopped_in=plan.stages[item.stage].mode,
                )
            )
        elif made.action in onward and (slow or item.stage > behind):
            names = listed([other.device_class for other in slow]) or "an earlier stage"
            sentence = f"{made.device_class}: ready, waits for {names} (classes advance together)"
            result.append(
                replace(made, action=Action.WAIT, reason=Reason.TOGETHER, sentence=sentence, to_stage=None)
            )
        else:
            result.append(made)
    return result


def _state_after(progress: ClassProgress, made: ClassDecision) -> ClassState:
    return _STATE_AFTER.get(made.action, progress.state)


def _outcome(states: Sequence[ClassState]) -> RolloutOutcome | None:
    """Semantics section 1; a held class means that the rollout waits for a person as soon as none runs."""
    if not states or ClassState.RUNNING in states:
        return None
    if ClassState.HELD in states:
        return RolloutOutcome.HELD
    different = set(states)
    return _OUTCOME_OF[states[0]] if len(different) == 1 else RolloutOutcome.PARTIAL


def _summary(outcome: RolloutOutcome | None, decided: Sequence[ClassDecision]) -> str:
    changed = [made.sentence for made in decided if made.changes]
    if changed:
        return " | ".join(changed)
    if outcome is not None:
        return outcome.value.replace("_", " ")
    return " | ".join(made.sentence for made in decided if made.reason is not Reason.ENDED)


def deadline(plan: RolloutPlan, progress: ClassProgress) -> datetime:
    """When the current stage becomes inconclusive if a gate is still undecided."""
    stage = plan.stages[progress.stage]
    return progress.stage_started_at + timedelta(seconds=stage.deadline_s * (1 + progress.extensions))
