"""What one device gets: each rule of `assignment.py`, and what must hold for any device in any rollout."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.release.contract import Layout, LogicalTensor
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.release.manifest import (
    Artifact,
    Lineage,
    Manifest,
    Measurements,
    Precision,
    RuntimeNeed,
    SelfTestBounds,
    Task,
    Variant,
)
from modelfleet_core.rollout.assignment import (
    Baseline,
    ClassStanding,
    KnownRelease,
    Standing,
    Subject,
    assign,
)
from modelfleet_core.rollout.cohort import POSITIONS, Cutoff
from modelfleet_core.rollout.plan import RolloutPlan, Stage
from modelfleet_core.rollout.progress import ClassState, DeviceOutcome
from modelfleet_core.wire.director import Mode

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CLASS = "x86-onnxruntime"
FACTS = DeviceFacts(architecture="x86_64", runtimes={"onnxruntime": "1.20"}, memory_bytes=1 << 30)
EVERYBODY = Cutoff(POSITIONS - 1, None)
NO_ONE = Cutoff(-1, 0)
PLAN = RolloutPlan(
    release="digits:1.1",
    stages=(
        Stage("shadow", Mode.SHADOW, devices=2),
        Stage("canary", Mode.LIVE, devices=1),
        Stage("all", Mode.LIVE, percent=100),
    ),
)


def known(version: str, *, minimum: str = "1.0") -> KnownRelease:
    release_id = version.replace(".", "").ljust(64, "a")
    variant = Variant(
        name=f"{CLASS}.fp32",
        device_class=CLASS,
        precision=Precision.FP32,
        recipe="fp32",
        rank=0,
        runtime=RuntimeNeed("onnxruntime", minimum),
        entry="model.onnx",
        files=(Artifact("model.onnx", "0" * 64, 10),),
        bounds=SelfTestBounds(1e-3, 0.1),
        measurements=Measurements("top1", 1.0, 1.0, 0.0, 1.0, 10, 300),
    )
    image = LogicalTensor("image", (-1, 1, 8, 8), Layout.NCHW)
    manifest = Manifest(
        name="digits",
        version=version,
        task=Task.CLASSIFICATION,
        created_at=T0,
        inputs=(image,),
        outputs=(LogicalTensor("logits", (-1, 10)),),
        lineage=Lineage("1" * 64, "digits"),
        variants=(variant,),
    )
    return KnownRelease(release_id, manifest, {variant.name: "b" * 64})


NEW, OLD = known("1.1"), known("1.0")


def standing(
    *cutoffs: Cutoff, state: ClassState = ClassState.RUNNING, name: str = "ro_1", **changes: object
) -> Standing:
    paused = bool(changes.pop("paused", False))
    created_at = changes.pop("created_at", T0)
    release = changes.pop("release", NEW)
    assert isinstance(created_at, datetime)
    assert isinstance(release, KnownRelease)
    one = replace(ClassStanding(state=state, cutoffs=cutoffs or (EVERYBODY,)), **changes)  # type: ignore[arg-type]
    return Standing(name, f"{name}/1", "salt", PLAN, release, created_at, {CLASS: one}, paused)


def subject(**outcomes: DeviceOutcome) -> Subject:
    return Subject("dev_1", CLASS, {"site": "north"}, FACTS, T0, outcomes)


def baseline(release: KnownRelease = OLD, since: datetime = T0, **labels: str) -> Baseline:
    return Baseline("digits", labels, CLASS, release, since)


def mode(found: tuple[object, ...]) -> tuple[str, Mode] | None:
    if not found:
        return None
    (slot,) = found
    return slot.operation, slot.mode  # type: ignore[attr-defined]


def test_a_shadow_stage_assigns_shadow() -> None:
    assert mode(assign(subject(), [standing(EVERYBODY)], [])) == ("ro_1/1", Mode.SHADOW)


def test_a_canary_that_leaves_a_device_out_keeps_it_in_shadow() -> None:
    taking_part = subject(ro_1=DeviceOutcome.SHADOWING)
    assert mode(assign(taking_part, [standing(EVERYBODY, NO_ONE)], [])) == ("ro_1/1", Mode.SHADOW)


def test_live_once_the_live_cutoff_holds_the_device() -> None:
    taking_part = subject(ro_1=DeviceOutcome.SHADOWING)
    assert mode(assign(taking_part, [standing(EVERYBODY, EVERYBODY)], [])) == ("ro_1/1", Mode.LIVE)


def test_outside_of_the_cohort_the_baseline_stays() -> None:
    found = assign(subject(), [standing(NO_ONE)], [baseline()])
    assert mode(found) == (f"baseline:{OLD.id[:16]}", Mode.LIVE)
    assert found[0].release == OLD.id


@pytest.mark.parametrize("outcome", [DeviceOutcome.FAILED, DeviceOutcome.REFUSED, DeviceOutcome.ROLLED_BACK])
def test_who_is_gone_gets_the_baseline_only(outcome: DeviceOutcome) -> None:
    found = assign(subject(ro_1=outcome), [standing(EVERYBODY)], [baseline()])
    assert found[0].release == OLD.id


@pytest.mark.parametrize(
    "outcome", [DeviceOutcome.SHADOWING, DeviceOutcome.PROBATION, DeviceOutcome.COMMITTED]
)
@pytest.mark.parametrize("state", [ClassState.ROLLED_BACK, ClassState.ABORTED])
def test_who_took_part_in_what_ended_badly_goes_back(outcome: DeviceOutcome, state: ClassState) -> None:
    found = assign(subject(ro_1=outcome), [standing(EVERYBODY, state=state)], [baseline()])
    assert mode(found) == ("ro_1/1", Mode.WITHDRAWN)


def test_who_never_took_part_is_not_withdrawn() -> None:
    found = assign(subject(), [standing(EVERYBODY, state=ClassState.ROLLED_BACK)], [baseline()])
    assert found[0].release == OLD.id


def test_abort_and_leave_keeps_who_serves_it_and_takes_back_who_does_not() -> None:
    left = standing(EVERYBODY, EVERYBODY, state=ClassState.ABORTED, leave=True)
    assert mode(assign(subject(ro_1=DeviceOutcome.PROBATION), [left], [])) == ("ro_1/1", Mode.LIVE)
    assert assign(subject(ro_1=DeviceOutcome.COMMITTED), [left], []) == ()
    assert mode(assign(subject(ro_1=DeviceOutcome.SHADOWING), [left], [])) == ("ro_1/1", Mode.WITHDRAWN)


def test_superseded_takes_back_what_is_not_committed() -> None:
    ended = standing(EVERYBODY, state=ClassState.SUPERSEDED)
    newer = standing(EVERYBODY, name="ro_2", created_at=T0 + timedelta(hours=1))
    assert mode(assign(subject(ro_1=DeviceOutcome.SHADOWING), [ended, newer], [])) == (
        "ro_1/1",
        Mode.WITHDRAWN,
    )
    assert mode(assign(subject(ro_1=DeviceOutcome.COMMITTED), [ended, newer], [])) == ("ro_2/1", Mode.SHADOW)


def test_of_two_active_rollouts_the_older_wins() -> None:
    older = standing(EVERYBODY, name="ro_2", created_at=T0)
    newer = standing(EVERYBODY, EVERYBODY, name="ro_1", created_at=T0 + timedelta(hours=1))
    assert mode(assign(subject(), [newer, older], [])) == ("ro_2/1", Mode.SHADOW)


def test_a_pause_adds_nobody_and_drops_nobody() -> None:
    paused = standing(EVERYBODY, paused=True)
    assert assign(subject(), [paused], []) == ()
    assert mode(assign(subject(ro_1=DeviceOutcome.SHADOWING), [paused], [])) == ("ro_1/1", Mode.SHADOW)


def test_late_joiners_wait_when_the_seats_are_taken() -> None:
    full = standing(Cutoff(POSITIONS - 1, 3), taken=3)
    assert assign(subject(), [full], []) == ()
    assert mode(assign(subject(ro_1=DeviceOutcome.DOWNLOADING), [full], [])) == ("ro_1/1", Mode.SHADOW)


def test_completion_lets_stragglers_arrive_under_their_operation() -> None:
    done = standing(EVERYBODY, EVERYBODY, state=ClassState.COMPLETED)
    assert mode(assign(subject(ro_1=DeviceOutcome.PROBATION), [done], [baseline(NEW)])) == (
        "ro_1/1",
        Mode.LIVE,
    )
    found = assign(subject(ro_1=DeviceOutcome.COMMITTED), [done], [baseline(NEW)])
    assert mode(found) == (f"baseline:{NEW.id[:16]}", Mode.LIVE)


def test_the_newest_fitting_baseline_holds() -> None:
    later = T0 + timedelta(days=1)
    found = assign(subject(), [], [baseline(OLD), baseline(NEW, later), baseline(OLD, later, site="south")])
    assert found[0].release == NEW.id


def test_no_fitting_variant_assigns_nothing() -> None:
    needy = known("1.1", minimum="99")
    assert assign(subject(), [standing(EVERYBODY, release=needy)], [baseline(needy)]) == ()


def test_a_device_without_a_class_gets_nothing() -> None:
    nowhere = replace(subject(), device_class=None)
    assert assign(nowhere, [standing(EVERYBODY)], [baseline()]) == ()


_CUTOFFS = st.sampled_from([EVERYBODY, NO_ONE, Cutoff(POSITIONS // 2, 5)])


@given(
    state=st.sampled_from(ClassState),
    outcome=st.one_of(st.none(), st.sampled_from(DeviceOutcome)),
    cutoffs=st.lists(_CUTOFFS, min_size=1, max_size=3),
    paused=st.booleans(),
    leave=st.booleans(),
    device=st.integers(0, 50),
)
def test_a_rolled_back_release_is_never_assigned_and_answers_do_not_change(
    state: ClassState,
    outcome: DeviceOutcome | None,
    cutoffs: list[Cutoff],
    paused: bool,
    leave: bool,
    device: int,
) -> None:
    outcomes = {} if outcome is None else {"ro_1": outcome}
    who = replace(subject(), device=f"dev_{device}", outcomes=outcomes)
    rollout = standing(*cutoffs, state=state, leave=leave, paused=paused)
    found = assign(who, [rollout], [baseline()])
    assert found == assign(who, [rollout], [baseline()])
    assert len(found) == 1
    bad = state in (ClassState.ROLLED_BACK, ClassState.SUPERSEDED)
    if bad or (state is ClassState.ABORTED and not leave):
        assert found[0].release == OLD.id or found[0].mode is Mode.WITHDRAWN
    if found[0].mode is Mode.LIVE and found[0].rollout and state in (ClassState.RUNNING, ClassState.HELD):
        inside = any(cutoff.holds(0, T0) for cutoff in cutoffs[1:])
        assert inside or outcome is DeviceOutcome.COMMITTED
