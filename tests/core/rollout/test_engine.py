"""The engine: one case per rule, the order of the rules, and what holds for every input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.gates.verdict import Judgement, Verdict
from modelfleet_core.rollout.decision import Action, ClassDecision, Decision, Reason
from modelfleet_core.rollout.engine import apply, deadline, decide
from modelfleet_core.rollout.gate import DEFAULT_GATES, Metric
from modelfleet_core.rollout.plan import Advance, OnInconclusive, RolloutPlan, Stage
from modelfleet_core.rollout.progress import (
    ClassProgress,
    ClassState,
    DeviceOutcome,
    Ending,
    HardStop,
    HardStopKind,
    OutcomeCounts,
    PromoteRequest,
    RolloutOutcome,
    RolloutProgress,
)
from modelfleet_core.rollout.rules import MAX_EXTENSIONS
from modelfleet_core.wire.codec import decode, encode
from modelfleet_core.wire.director import Mode

START = datetime(2026, 1, 1, tzinfo=UTC)
BAKE, DEADLINE = 1800.0, 86_400.0
STAGES = (
    Stage("shadow", Mode.SHADOW, devices=10, min_bake_s=BAKE, deadline_s=DEADLINE),
    Stage("canary", Mode.LIVE, percent=5, min_bake_s=BAKE, deadline_s=DEADLINE),
    Stage("all", Mode.LIVE, percent=100, min_bake_s=BAKE, deadline_s=DEADLINE),
)
PLAN = RolloutPlan("digits:1.1", STAGES)
BAKED = START + timedelta(seconds=BAKE)
OVERDUE = START + timedelta(seconds=DEADLINE)


def verdicts(**judged: str) -> tuple[Verdict, ...]:
    """All fine, except what is named."""
    return tuple(
        Verdict(
            gate.metric,
            Judgement(judged.get(gate.metric.value, "fine")),
            f"{gate.metric.value} {judged.get(gate.metric.value, 'fine')}",
            evidence=41.0,
            needed=20.0,
        )
        for gate in DEFAULT_GATES
    )


FINE = verdicts()
READY = ClassProgress(
    "x86", START, cohort=10, counts=OutcomeCounts(shadowing=10), reporting=10, baseline="digits:1.0"
)
LAST = replace(READY, stage=2, cohort=100, counts=OutcomeCounts(committed=100), reporting=100)


def one(
    progress: ClassProgress = READY,
    judged: Sequence[Verdict] = FINE,
    now: datetime = BAKED,
    plan: RolloutPlan = PLAN,
    **rollout: object,
) -> ClassDecision:
    whole = RolloutProgress((progress,), **rollout)  # type: ignore[arg-type]
    return decide(plan, whole, {progress.device_class: judged}, now).classes[0]


def test_a_baked_stage_with_fine_gates_is_promoted() -> None:
    found = one()
    assert (found.action, found.reason, found.stage, found.to_stage) == (
        Action.PROMOTE,
        Reason.ALL_FINE,
        0,
        1,
    )
    assert found.sentence.startswith(
        "PROMOTED stage 1/3 shadow (x86) to canary after 30 min: fine: p95 latency"
    )


def test_a_stage_bakes_first() -> None:
    found = one(now=BAKED - timedelta(seconds=1))
    assert (found.action, found.reason) == (Action.WAIT, Reason.BAKING)
    assert "baking, 30 min of 30 min" in found.sentence


def test_the_last_stage_completes() -> None:
    found = one(LAST)
    assert (found.action, found.reason, found.to_stage) == (Action.COMPLETE, Reason.ALL_FINE, None)
    assert "committed 100" in found.sentence


# ------------------------------------------------------------------------------------------------ worse


@pytest.mark.parametrize("state", [ClassState.RUNNING, ClassState.HELD])
@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("now", [START, BAKED, OVERDUE])
def test_worse_rolls_back_whatever_else_is_true(state: ClassState, paused: bool, now: datetime) -> None:
    progress = replace(READY, state=state, promote=PromoteRequest(0, "ada", full=True))
    found = one(progress, verdicts(latency_p95="worse"), now, paused=paused)
    assert (found.action, found.reason, found.gate) == (
        Action.ROLL_BACK,
        Reason.GATE_WORSE,
        Metric.LATENCY_P95,
    )
    assert found.stopped_in is Mode.SHADOW
    assert found.evidence == 41.0
    assert found.sentence.startswith("ROLLED BACK stage 1/3 shadow (x86): latency_p95 worse in ")


def test_several_worse_gates_are_all_named() -> None:
    found = one(judged=verdicts(errors="worse", golden="worse"))
    assert "also worse" in found.sentence


def test_a_rollback_in_a_live_stage_says_so() -> None:
    assert one(replace(READY, stage=1), verdicts(errors="worse")).stopped_in is Mode.LIVE


# -------------------------------------------------------------------------------------------- hard stops


def stops(count: int) -> tuple[HardStop, ...]:
    return tuple(HardStop(f"d{k}", HardStopKind.CRASH_LOOP, "worker died 3 times") for k in range(count))


@pytest.mark.parametrize(
    ("reached", "count", "stopped"),
    [(10, 1, False), (10, 2, True), (5, 1, False), (4, 1, True), (1, 1, True)],
)
def test_hard_stops_need_two_devices_or_one_in_a_class_below_five(
    reached: int, count: int, stopped: bool
) -> None:
    progress = replace(READY, counts=OutcomeCounts(shadowing=reached), hard_stops=stops(count))
    found = one(progress, now=START)
    assert (found.action is Action.ROLL_BACK) == stopped
    if stopped:
        assert found.reason is Reason.HARD_STOP
        assert "crash loop on" in found.sentence
        assert "worker died 3 times" in found.sentence


def test_the_same_device_counts_once() -> None:
    progress = replace(READY, hard_stops=stops(1) * 3)
    assert one(progress, now=START).action is Action.WAIT


def test_a_small_cohort_of_a_large_class_is_no_small_class() -> None:
    """One lying device of a canary of three must not stop a class of a thousand (semantics section 2)."""
    progress = replace(READY, counts=OutcomeCounts(shadowing=3), size=1000, hard_stops=stops(1))
    assert one(progress, now=START).action is not Action.ROLL_BACK
    assert one(replace(progress, hard_stops=stops(2)), now=START).action is Action.ROLL_BACK


def test_hard_stops_in_two_classes_stop_the_fleet() -> None:
    classes = tuple(
        replace(READY, device_class=f"c{k}", hard_stops=stops(2 if k < 2 else 0)) for k in range(4)
    )
    found = decide(PLAN, RolloutProgress(classes), {}, START)
    assert [c.reason for c in found.classes] == [Reason.HARD_STOP] * 2 + [Reason.HARD_STOP_FLEET] * 2
    assert found.outcome is RolloutOutcome.ROLLED_BACK
    first_ended = (replace(classes[0], state=ClassState.ROLLED_BACK), *classes[1:])
    again = decide(PLAN, RolloutProgress(first_ended), {}, START)
    assert again.classes[2].reason is Reason.HARD_STOP_FLEET


# --------------------------------------------------------------------------------------- missing evidence


@pytest.mark.parametrize(
    "judged",
    [(), FINE[:-1], verdicts(errors="undecided"), (*FINE, replace(FINE[1], judgement=Judgement.UNDECIDED))],
)
def test_missing_evidence_waits(judged: tuple[Verdict, ...]) -> None:
    found = one(judged=judged)
    assert (found.action, found.reason) == (Action.WAIT, Reason.UNDECIDED)


@pytest.mark.parametrize(
    ("policy", "extensions", "action"),
    [
        (OnInconclusive.HOLD, 0, Action.HOLD),
        (OnInconclusive.ROLLBACK, 0, Action.ROLL_BACK),
        (OnInconclusive.EXTEND, 0, Action.EXTEND),
        (OnInconclusive.EXTEND, MAX_EXTENSIONS, Action.HOLD),
    ],
)
def test_at_the_deadline_the_plan_says_what_happens(
    policy: OnInconclusive, extensions: int, action: Action
) -> None:
    plan = replace(PLAN, on_inconclusive=policy)
    progress = replace(READY, extensions=extensions)
    late = deadline(plan, progress)
    judged = verdicts(errors="undecided")
    assert one(progress, judged, late - timedelta(seconds=1), plan).action is Action.WAIT
    found = one(progress, judged, late, plan)
    assert (found.action, found.reason, found.gate) == (action, Reason.INCONCLUSIVE, Metric.ERRORS)
    assert "errors undecided" in found.sentence


def test_excused_and_not_applicable_gates_do_not_block() -> None:
    found = one(judged=verdicts(disagreement="excused", latency_p95="not_applicable"))
    assert found.action is Action.PROMOTE
    assert "excused: disagreement; not applicable: p95 latency" in found.sentence


def test_gates_of_which_none_applies_are_no_pass() -> None:
    nothing = verdicts(**{gate.metric.value: "not_applicable" for gate in DEFAULT_GATES})
    found = one(judged=nothing)
    assert (found.action, found.reason) == (Action.HOLD, Reason.NOTHING_DECIDES)


def test_a_plan_without_gates_promotes_after_the_bake() -> None:
    plan = replace(PLAN, gates=(), no_gates_reason="bench only")
    assert one(judged=(), plan=plan, now=START).action is Action.WAIT
    found = one(judged=(), plan=plan)
    assert found.action is Action.PROMOTE
    assert "no gates (bench only)" in found.sentence


# ----------------------------------------------------------------------------------------- few devices


def test_too_few_devices_hold_for_a_person() -> None:
    small = replace(READY, cohort=4, reporting=4)
    found = one(small)
    assert (found.action, found.reason) == (Action.HOLD, Reason.FEW_DEVICES)
    assert "4 devices of the needed 10 report" in found.sentence
    assert one(small, verdicts(errors="worse")).action is Action.ROLL_BACK


def test_devices_that_may_still_report_are_waited_for_until_the_deadline() -> None:
    slow = replace(READY, cohort=10, reporting=9)
    assert one(slow).action is Action.WAIT
    assert one(slow, now=OVERDUE).action is Action.HOLD


def test_a_small_fleet_plan_promotes_and_says_that_it_is_weaker() -> None:
    plan = replace(PLAN, min_devices=2, stages=(replace(STAGES[0], min_devices=1), *STAGES[1:]))
    found = one(replace(READY, cohort=1, reporting=1), plan=plan)
    assert found.action is Action.PROMOTE
    assert found.sentence.endswith("small-fleet plan: weaker evidence")


# ------------------------------------------------------------------------------------------ completion


@pytest.mark.parametrize(
    ("counts", "now", "action", "reason"),
    [
        (OutcomeCounts(committed=95, probation=5), BAKED, Action.COMPLETE, Reason.ALL_FINE),
        (OutcomeCounts(committed=94, probation=6), BAKED, Action.WAIT, Reason.COMMITTING),
        (OutcomeCounts(committed=90, not_reached=10), BAKED, Action.WAIT, Reason.COMMITTING),
        (OutcomeCounts(committed=90, not_reached=10), OVERDUE, Action.COMPLETE, Reason.ALL_FINE),
        (OutcomeCounts(committed=60, refused=40), BAKED, Action.COMPLETE, Reason.ALL_FINE),
        (OutcomeCounts(committed=45, not_reached=55), OVERDUE, Action.HOLD, Reason.FEW_REACHED),
        (OutcomeCounts(not_reached=100), OVERDUE, Action.HOLD, Reason.FEW_REACHED),
        (OutcomeCounts(refused=100), OVERDUE, Action.HOLD, Reason.FEW_REACHED),
        (OutcomeCounts(), OVERDUE, Action.HOLD, Reason.FEW_REACHED),
        (OutcomeCounts(committed=90, silent=10), OVERDUE, Action.HOLD, Reason.FEW_COMMITTED),
        (OutcomeCounts(committed=94, failed=3, rolled_back=3), BAKED, Action.HOLD, Reason.FEW_COMMITTED),
        (OutcomeCounts(committed=95, failed=2, rolled_back=3), BAKED, Action.COMPLETE, Reason.ALL_FINE),
    ],
)
def test_completion_needs_enough_of_the_reached_devices(
    counts: OutcomeCounts, now: datetime, action: Action, reason: Reason
) -> None:
    found = one(replace(LAST, counts=counts), now=now)
    assert (found.action, found.reason) == (action, reason)


def test_nothing_hides_behind_the_percentage() -> None:
    counts = OutcomeCounts(committed=95, silent=3, failed=2, not_reached=0, refused=7)
    assert "refused 7, committed 95, failed 2, silent 3" in one(replace(LAST, counts=counts)).sentence


# ----------------------------------------------------------------------------------------------- verbs


def test_pause_adds_no_device() -> None:
    for progress in (READY, LAST, replace(READY, promote=PromoteRequest(0, "ada"))):
        found = one(progress, paused=True, now=OVERDUE)
        assert (found.action, found.reason) == (Action.WAIT, Reason.PAUSED)


def test_promote_ends_the_bake_and_the_hold_and_is_attributed() -> None:
    asked = PromoteRequest(0, "ada", "seen enough")
    for state in (ClassState.RUNNING, ClassState.HELD):
        found = one(replace(READY, state=state, promote=asked), verdicts(errors="undecided"), START)
        assert (found.action, found.reason, found.to_stage) == (Action.PROMOTE, Reason.BY_PERSON, 1)
        assert found.sentence.endswith("by ada (seen enough); still undecided: errors")


def test_promote_full_goes_to_the_last_stage_and_not_past_it() -> None:
    found = one(replace(READY, promote=PromoteRequest(0, "ada", "urgent", full=True)), now=START)
    assert (found.action, found.to_stage) == (Action.PROMOTE, 2)
    last = one(replace(LAST, promote=PromoteRequest(2, "ada", "urgent", full=True)), now=START)
    assert last.action is Action.COMPLETE


def test_promote_counts_only_for_the_stage_it_was_given_in() -> None:
    assert one(replace(READY, stage=1, promote=PromoteRequest(0, "ada")), now=START).reason is Reason.BAKING


def test_a_hold_waits_for_a_person_even_when_the_gates_turn_fine() -> None:
    held = replace(READY, state=ClassState.HELD, reason="HELD: because")
    found = one(held, now=OVERDUE)
    assert (found.action, found.reason, found.sentence) == (Action.WAIT, Reason.HELD, "HELD: because")


@pytest.mark.parametrize(
    ("ending", "action", "outcome"),
    [
        (Ending.ABORT, Action.ABORT, RolloutOutcome.ABORTED),
        (Ending.SUPERSEDE, Action.SUPERSEDE, RolloutOutcome.SUPERSEDED),
    ],
)
def test_a_verb_that_ends_the_rollout_ends_every_class(
    ending: Ending, action: Action, outcome: RolloutOutcome
) -> None:
    classes = (READY, replace(READY, device_class="arm", state=ClassState.HELD))
    found = decide(PLAN, RolloutProgress(classes, ending=ending, ending_reason="ada: wrong model"), {}, START)
    assert [c.action for c in found.classes] == [action] * 2
    assert found.outcome is outcome
    assert "ada: wrong model" in found.sentence


# -------------------------------------------------------------------------------------------- together


TOGETHER = replace(PLAN, advance=Advance.TOGETHER)


def both(plan: RolloutPlan, *pairs: tuple[ClassProgress, Sequence[Verdict]]) -> Decision:
    named = [replace(item, device_class=f"c{k}") for k, (item, _) in enumerate(pairs)]
    judged = {f"c{k}": found for k, (_, found) in enumerate(pairs)}
    return decide(plan, RolloutProgress(tuple(named)), judged, BAKED)


def test_classes_advance_alone_by_default() -> None:
    found = both(
        PLAN, (READY, FINE), (READY, verdicts(errors="undecided")), (READY, verdicts(errors="worse"))
    )
    assert [c.action for c in found.classes] == [Action.PROMOTE, Action.WAIT, Action.ROLL_BACK]
    assert found.outcome is None


def test_together_waits_for_the_slowest() -> None:
    found = both(TOGETHER, (READY, FINE), (READY, verdicts(errors="undecided")))
    assert [(c.action, c.reason) for c in found.classes] == [
        (Action.WAIT, Reason.TOGETHER),
        (Action.WAIT, Reason.UNDECIDED),
    ]
    assert [c.action for c in both(TOGETHER, (READY, FINE), (READY, FINE)).classes] == [Action.PROMOTE] * 2


def test_together_rolls_back_together() -> None:
    found = both(TOGETHER, (READY, FINE), (READY, verdicts(errors="worse")))
    assert [c.action for c in found.classes] == [Action.ROLL_BACK] * 2
    assert found.classes[0].reason is Reason.TOGETHER
    assert "c1 was rolled back" in found.classes[0].sentence


def test_together_follows_a_class_that_was_rolled_back_before() -> None:
    before = replace(READY, state=ClassState.ROLLED_BACK)
    found = both(TOGETHER, (READY, FINE), (before, ()))
    assert [c.action for c in found.classes] == [Action.ROLL_BACK, Action.WAIT]


def test_together_a_class_that_ran_ahead_waits_for_the_others() -> None:
    found = both(TOGETHER, (replace(READY, stage=1), FINE), (READY, FINE))
    assert [c.action for c in found.classes] == [Action.WAIT, Action.PROMOTE]


# --------------------------------------------------------------------------------------------- outcome


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ("completed completed", "completed"),
        ("rolled_back rolled_back", "rolled_back"),
        ("completed rolled_back", "partial"),
        ("completed held", "held"),
        ("rolled_back held", "held"),
        ("aborted aborted", "aborted"),
        ("superseded completed", "partial"),
        ("running held", None),
        ("running completed", None),
    ],
)
def test_the_outcome_of_the_rollout_follows_its_classes(states: str, outcome: str | None) -> None:
    classes = tuple(
        replace(READY, device_class=f"c{k}", state=ClassState(name)) for k, name in enumerate(states.split())
    )
    found = decide(PLAN, RolloutProgress(classes), {}, START)
    assert found.outcome == outcome
    assert all(c.action is Action.WAIT for c in found.classes)


def test_a_rollout_without_classes_has_no_outcome() -> None:
    assert decide(PLAN, RolloutProgress(()), {}, START).outcome is None


def test_counts_tell_outcomes_apart() -> None:
    counts = OutcomeCounts.of([DeviceOutcome.COMMITTED, DeviceOutcome.SILENT, DeviceOutcome.SILENT])
    assert counts == OutcomeCounts(committed=1, silent=2)
    assert set(OutcomeCounts.__slots__) == {outcome.value for outcome in DeviceOutcome}
    assert (counts.reached, counts.members) == (3, 3)


def test_what_a_decision_changes_is_applied() -> None:
    asked = replace(READY, extensions=2, promote=PromoteRequest(0, "ada"), state=ClassState.HELD)
    other = replace(READY, device_class="arm", extensions=1)
    progress = RolloutProgress((asked, other))
    plan = replace(PLAN, on_inconclusive=OnInconclusive.EXTEND)
    late = START + timedelta(seconds=2 * DEADLINE)
    found = decide(plan, progress, {"x86": FINE, "arm": verdicts(errors="undecided")}, late)
    promoted, extended = apply(progress, found).classes
    assert (promoted.state, promoted.stage, promoted.stage_started_at) == (ClassState.RUNNING, 1, late)
    assert (promoted.extensions, promoted.promote, promoted.cohort, promoted.reporting) == (0, None, 0, 0)
    assert promoted.reason.startswith("PROMOTED")
    assert (extended.state, extended.stage, extended.extensions) == (ClassState.RUNNING, 0, 2)
    assert extended.stage_started_at == START
    waited = decide(PLAN, progress, {}, START + timedelta(seconds=1))
    assert apply(
        replace(progress, classes=(other,)), replace(waited, classes=waited.classes[1:])
    ).classes == (other,)


# ----------------------------------------------------------------------------------------- for all inputs


counted = st.builds(OutcomeCounts, **{name: st.integers(0, 12) for name in OutcomeCounts.__slots__})
requests = st.none() | st.builds(
    PromoteRequest, stage=st.integers(0, 2), person=st.just("ada"), full=st.booleans()
)
classes = st.builds(
    ClassProgress,
    device_class=st.just("x"),
    stage_started_at=st.integers(-200_000, 0).map(lambda s: START + timedelta(seconds=s)),
    state=st.sampled_from(ClassState),
    stage=st.integers(0, 2),
    cohort=st.integers(0, 30),
    counts=counted,
    reporting=st.integers(0, 30),
    hard_stops=st.integers(0, 3).map(stops),
    extensions=st.integers(0, 4),
    promote=requests,
)
rollouts = st.builds(
    lambda items, paused, ending: RolloutProgress(
        tuple(replace(item, device_class=f"c{k}") for k, item in enumerate(items)), paused, ending
    ),
    st.lists(classes, max_size=4),
    st.booleans(),
    st.sampled_from([None, None, None, *Ending]),
)
judgements = st.lists(
    st.builds(
        Verdict,
        metric=st.sampled_from([gate.metric for gate in DEFAULT_GATES]),
        judgement=st.sampled_from(Judgement),
        sentence=st.just("."),
        stratum=st.sampled_from(Stratum),
        evidence=st.floats(0, 1e6),
        needed=st.floats(1, 1e3),
    ),
    max_size=8,
)
judged_classes = st.dictionaries(
    st.sampled_from([f"c{k}" for k in range(4)]), st.just(list(FINE)) | judgements, max_size=4
)
plans = st.builds(
    lambda advance, policy, small: replace(
        PLAN, advance=advance, on_inconclusive=policy, min_devices=1 if small else 10
    ),
    st.sampled_from(Advance),
    st.sampled_from(OnInconclusive),
    st.booleans(),
)


@given(plans, rollouts, judged_classes)
def test_decide_is_total_deterministic_and_keeps_its_promises(
    plan: RolloutPlan, progress: RolloutProgress, judged: Mapping[str, Sequence[Verdict]]
) -> None:
    found = decide(plan, progress, judged, START)
    assert decide(plan, progress, judged, START) == found
    assert decode(encode(found), Decision, what="decision") == found
    assert [c.device_class for c in found.classes] == [c.device_class for c in progress.classes]
    after = apply(progress, found)
    for item, made, then in zip(progress.classes, found.classes, after.classes, strict=True):
        assert made.sentence
        seen = judged.get(item.device_class, ())
        onward = made.action in (Action.PROMOTE, Action.COMPLETE)
        by_person = item.promote is not None and item.promote.stage == item.stage
        if item.state.ended:
            assert made.action is Action.WAIT
            assert then == item
        if onward:
            # nothing overrides worse, a hard stop or pause; missing data is never a pass
            assert all(v.judgement is not Judgement.WORSE for v in seen)
            assert not progress.paused
            assert progress.ending is None
            assert len(item.hard_stops) < 2
            assert item.state is ClassState.RUNNING or by_person
            if not by_person:
                assert {v.metric for v in seen} >= {gate.metric for gate in plan.gates}
                assert all(v.judgement.lets_promote for v in seen)
                assert item.reporting >= plan.min_devices
                assert (START - item.stage_started_at).total_seconds() >= BAKE
        if made.action is Action.PROMOTE:
            # never past the next stage's cohort, unless a person says so; never past the last
            assert made.to_stage is not None
            assert made.to_stage == item.stage + 1 or (by_person and made.to_stage == 2)
            assert then.stage == made.to_stage > item.stage
            assert then.stage_started_at == START
        else:
            assert then.stage == item.stage
        if (
            item.state.ended is False
            and any(v.judgement is Judgement.WORSE for v in seen)
            and not progress.ending
        ):
            assert made.action is Action.ROLL_BACK
        assert (made.action is Action.ROLL_BACK) <= (then.state is ClassState.ROLLED_BACK)
    if found.outcome is not None:
        assert all(item.state is not ClassState.RUNNING for item in after.classes)


@given(plans, rollouts, judged_classes)
def test_an_ended_rollout_stays_as_it_is(
    plan: RolloutPlan, progress: RolloutProgress, judged: Mapping[str, Sequence[Verdict]]
) -> None:
    ended = replace(progress, ending=Ending.ABORT)
    after = apply(ended, decide(plan, ended, judged, START))
    assert all(item.state.ended for item in after.classes)
    again = decide(plan, after, judged, START + timedelta(days=9))
    assert apply(after, again) == after


@given(rollouts, judged_classes)
def test_together_classes_never_part(
    progress: RolloutProgress, judged: Mapping[str, Sequence[Verdict]]
) -> None:
    """From one stage, classes in step are in one stage again."""
    level = replace(
        progress,
        classes=tuple(
            replace(item, stage=0, promote=None, state=ClassState.RUNNING) for item in progress.classes
        ),
    )
    after = apply(level, decide(TOGETHER, level, judged, START))
    assert len({item.stage for item in after.classes if not item.state.ended}) <= 1
    assert len({item.state is ClassState.ROLLED_BACK for item in after.classes}) <= 1 or progress.ending
