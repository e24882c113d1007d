"""The pure rules one by one: orders, serve's table, golden sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.control.protocol import SlotDesired
from modelfleet_agent.lifecycle.desired import desired_of, golden_of
from modelfleet_agent.lifecycle.order import NOTHING, Step, judge
from modelfleet_agent.lifecycle.record import SlotRecord
from modelfleet_core.lifecycle.chain import Before, Chain, Installed
from modelfleet_core.lifecycle.machine import CANDIDATE_ANSWERS, State
from modelfleet_core.wire.director import Mode, SlotAssignment


def installed(letter: str) -> Installed:
    return Installed(letter * 64, f"digits:{letter}", "v.fp32")


A, B, C = installed("a"), installed("b"), installed("c")


def order(
    release: Installed, operation: str = "op", mode: Mode = Mode.SHADOW, **more: object
) -> SlotAssignment:
    base = SlotAssignment(
        "digits", operation, release.release, release.reference, release.variant, "f" * 64, mode, rollout="ro"
    )
    return replace(base, **more)  # type: ignore[arg-type]


def running(state: State, operation: str = "op") -> SlotRecord:
    chain = Chain(incumbent=A, previous=B, candidate=C, operation=operation)
    return SlotRecord("digits", state, chain, order(C, operation))


IDLE = SlotRecord("digits", State.IDLE, Chain(incumbent=A, previous=B, before=Before("op-a", B, None)))
STARTED = [state for state in State if state is not State.IDLE]


@pytest.mark.parametrize("state", list(State))
def test_no_order_and_closed_operations_mean_nothing(state: State) -> None:
    record = IDLE if state is State.IDLE else running(state)
    assert judge(record, None, holds=True) == NOTHING
    closed = replace(record, chain=record.chain.bar("op-x"))
    for mode in Mode:
        assert judge(closed, order(C, "op-x", mode), holds=True) == NOTHING


@pytest.mark.parametrize("state", STARTED)
def test_the_running_operation_is_taken_back_when_withdrawn_while_that_is_possible(state: State) -> None:
    intent = judge(running(state), order(C, mode=Mode.WITHDRAWN), holds=False)
    late = state in (State.COMMITTING, State.ROLLING_BACK, State.CLEANING)
    assert (intent == NOTHING) is late
    if not late:
        assert intent.step is Step.TAKE_BACK
        assert intent.trouble is not None
        assert intent.trouble.code == "MF-3033"


@pytest.mark.parametrize("holds", [True, False])
def test_only_a_statement_that_holds_begins_or_replaces(holds: bool) -> None:
    assert (judge(IDLE, order(C), holds=holds).step is Step.BEGIN) is holds
    replaced = judge(running(State.SHADOWING), order(B, "op-2"), holds=holds)
    assert (replaced.step is Step.TAKE_BACK) is holds


def test_going_back_needs_no_statement_that_holds() -> None:
    assert judge(IDLE, order(A, "op-a", Mode.WITHDRAWN), holds=False).step is Step.TAKE_BACK


def test_the_same_operation_going_on_means_nothing() -> None:
    for mode in (Mode.SHADOW, Mode.LIVE):
        assert judge(running(State.SHADOWING), order(C, mode=mode), holds=True) == NOTHING


def test_another_withdrawn_operation_does_not_disturb_the_running_one() -> None:
    assert judge(running(State.SHADOWING), order(B, "op-2", Mode.WITHDRAWN), holds=True) == NOTHING


def test_a_baseline_of_what_runs_means_nothing() -> None:
    assert judge(IDLE, order(A, "baseline:a", Mode.LIVE), holds=True) == NOTHING


def test_a_release_withdrawn_that_runs_by_another_operation_goes_too() -> None:
    intent = judge(IDLE, order(A, "op-other", Mode.WITHDRAWN), holds=True)
    assert intent.step is Step.TAKE_BACK


def test_a_withdrawal_without_a_way_back_is_answered_and_serving_goes_on() -> None:
    stuck = replace(IDLE, chain=Chain(incumbent=A))
    intent = judge(stuck, order(A, "op-a", Mode.WITHDRAWN), holds=True)
    assert (intent.step, intent.closes) == (Step.TELL, True)
    assert intent.trouble is not None
    assert intent.trouble.code == "MF-3036"


@given(
    state=st.sampled_from(list(State)),
    mode=st.sampled_from(list(Mode)),
    operation=st.sampled_from(["op", "op-a", "op-z", "baseline:a"]),
    release=st.sampled_from([A, B, C]),
    holds=st.booleans(),
)
def test_a_new_operation_begins_in_idle_alone(
    state: State, mode: Mode, operation: str, release: Installed, holds: bool
) -> None:
    record = IDLE if state is State.IDLE else running(state)
    intent = judge(record, order(release, operation, mode), holds=holds)
    if intent.step is Step.BEGIN:
        assert state is State.IDLE
        assert holds
        assert mode is not Mode.WITHDRAWN
        assert release is not A


# The table.


def folder(of: Installed) -> Path:
    return Path("/store") / of.release[:1]


def row(record: SlotRecord, told: SlotAssignment | None = None) -> SlotDesired:
    return desired_of(record, told, folder)


@pytest.mark.parametrize("state", STARTED)
def test_the_candidate_answers_only_where_the_machine_says_so(state: State) -> None:
    wanted = row(running(state))
    assert wanted.active == (C.release if state in CANDIDATE_ANSWERS else A.release)
    assert wanted.probation is (state in CANDIDATE_ANSWERS)
    loaded = state in {State.LOADING, State.SHADOWING, *CANDIDATE_ANSWERS}
    assert (wanted.candidate is not None) is loaded
    assert (wanted.operation == "op") is loaded
    assert wanted.incumbent is not None
    assert wanted.incumbent.folder == "/store/a"
    assert wanted.previous is not None


def test_the_newest_wording_of_the_running_operation_counts() -> None:
    record = running(State.PROBATION)
    assert row(record, order(C, mode=Mode.LIVE, reverse_share=0.5)).mirror_share == 0.5
    assert row(record, order(C, "op-2", reverse_share=0.5)).mirror_share == 0.05
    assert row(record, order(C, mode=Mode.WITHDRAWN, reverse_share=0.5)).mirror_share == 0.05


@given(
    names=st.tuples(*[st.sampled_from([None, A, B, C])] * 3),
    state=st.sampled_from(list(State)),
    rejected=st.sampled_from([(), (B.release,)]),
)
def test_a_release_stands_in_one_place_and_the_active_one_is_loaded(
    names: tuple[Installed | None, ...], state: State, rejected: tuple[str, ...]
) -> None:
    incumbent, previous, candidate = names
    if state is State.IDLE:
        candidate = None
    if candidate is not None and candidate == incumbent:
        return  # never begun (order.py)
    chain = Chain(incumbent, previous, candidate, "op" if candidate else None, rejected=rejected)
    record = SlotRecord("digits", state, chain, order(candidate) if candidate else None)
    wanted = row(record)
    places = [ref.release for ref in (wanted.incumbent, wanted.candidate, wanted.previous) if ref is not None]
    assert len(set(places)) == len(places)
    assert wanted.active is None or wanted.active in places
    assert wanted.mirror_to is None or wanted.mirror_to in places
    if wanted.previous is not None:
        assert wanted.previous.release not in rejected


def test_the_baselines_golden_set_judges_where_it_is_held() -> None:
    chain = Chain(incumbent=A, previous=B, candidate=C, operation="op")
    assert golden_of(chain, C, A.release) == A
    assert golden_of(chain, C, B.release) == B
    assert golden_of(chain, C, "0" * 64) == A
    assert golden_of(Chain(candidate=C), C, None) == C
    assert golden_of(Chain(incumbent=C, previous=A), C, "0" * 64) == A
