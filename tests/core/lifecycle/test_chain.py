"""What a slot holds after any sequence of rollouts, failures, withdrawals and crashes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelfleet_core.lifecycle.chain import MAX_CLOSED, MAX_REJECTED, Before, Chain, Installed, Position, move
from modelfleet_core.lifecycle.machine import BUSY, RESUME_AT, TRANSITIONS, Event, State


def installed(name: str) -> Installed:
    return Installed(release=name * 4, reference=f"digits:{name}", variant="x86.fp32")


A, B, C = installed("a"), installed("b"), installed("c")


def run(position: Position, *events: Event) -> Position:
    for event in events:
        position = move(position, event)
    return position


def assigned(position: Position, operation: str, candidate: Installed) -> Position:
    return move(position, Event.ASSIGNED, operation=operation, candidate=candidate)


def committed(position: Position, operation: str, candidate: Installed) -> Position:
    position = assigned(position, operation, candidate)
    while position.state is not State.IDLE:
        position = move(position, Event.DONE)
    return position


def test_commit_moves_the_chain_on() -> None:
    first = committed(Position(), "op-a", A)
    assert (first.chain.incumbent, first.chain.previous) == (A, None)
    second = committed(first, "op-b", B)
    assert (second.chain.incumbent, second.chain.previous) == (B, A)
    assert second.chain.before == Before("op-b", A, None)
    assert second.chain.closed == ()


def test_rollback_restores_exactly_and_rejects() -> None:
    start = committed(committed(Position(), "op-a", A), "op-b", B)
    for steps in range(5, 9):  # LOADING, SHADOWING, SWITCHING, PROBATION
        now = assigned(start, "op-c", C)
        while list(State).index(now.state) < steps:
            now = move(now, Event.DONE)
        now = run(now, Event.FAILED)
        assert now.answering() == B
        now = run(now, Event.FAILED, Event.DONE, Event.DONE)
        assert now.state is State.IDLE
        assert (now.chain.incumbent, now.chain.previous) == (B, A)
        assert now.chain.rejected == (C.release,)
        assert now.chain.closed == ("op-c",)
        assert now.chain.before == start.chain.before


@pytest.mark.parametrize("event", [Event.FAILED, Event.WITHDRAWN])
def test_a_failure_before_loading_does_not_blame_the_release(event: Event) -> None:
    start = committed(Position(), "op-a", A)
    now = run(assigned(start, "op-b", B), Event.DONE, Event.DONE, event, Event.DONE)
    assert now.state is State.IDLE
    assert now.chain.rejected == ()
    assert now.chain.closed == ("op-b",)
    assert now.chain.candidate is None


def test_a_committed_operation_can_be_withdrawn() -> None:
    start = committed(committed(Position(), "op-a", A), "op-b", B)
    third = committed(start, "op-c", C)
    back = run(third, Event.WITHDRAWN)
    assert back.state is State.ROLLING_BACK
    assert back.answering() == B
    assert back.chain.candidate == C
    back = run(back, Event.DONE, Event.DONE)
    assert (back.chain.incumbent, back.chain.previous) == (B, A)
    assert back.chain.rejected == (C.release,)
    assert back.chain.closed == ("op-c",)


def test_a_withdrawal_closes_the_operation_it_names() -> None:
    start = committed(committed(Position(), "op-a", A), "op-b", B)
    back = run(move(start, Event.WITHDRAWN, operation="op-other"), Event.DONE, Event.DONE)
    assert back.chain.closed == ("op-other",)


def test_withdrawing_the_first_install_leaves_the_slot_empty() -> None:
    back = run(committed(Position(), "op-a", A), Event.WITHDRAWN, Event.DONE, Event.DONE)
    assert back.chain.incumbent is None
    assert back.chain.rejected == (A.release,)
    assert not back.chain.can_reopen()
    with pytest.raises(ValueError, match="nothing to go back to"):
        move(back, Event.WITHDRAWN)


def test_a_second_way_back_uses_the_fallback() -> None:
    chain = committed(committed(committed(Position(), "a", A), "b", B), "c", C).chain
    back = run(Position(State.IDLE, chain), Event.FAILED, Event.DONE, Event.DONE)
    assert (back.chain.incumbent, back.chain.previous) == (B, A)
    again = run(back, Event.FAILED, Event.DONE, Event.DONE)
    assert (again.chain.incumbent, again.chain.previous) == (A, None)
    assert again.chain.rejected == (C.release, B.release)


def test_a_rejected_release_is_no_fallback_until_committed_again() -> None:
    chain = replace(committed(committed(Position(), "a", A), "b", B).chain, before=None)
    rejected = run(assigned(Position(State.IDLE, chain), "a-again", A), *[Event.DONE] * 5, Event.FAILED)
    rejected = run(rejected, Event.DONE, Event.DONE)
    assert rejected.chain.previous == A  # exactly as before
    assert rejected.chain.fallback() is None
    assert not rejected.chain.can_reopen()
    again = committed(rejected, "a-once-more", A)
    assert again.chain.rejected == ()
    assert again.chain.fallback() == B


def test_lists_are_bounded() -> None:
    position = committed(Position(), "op-a", A)
    for n in range(MAX_CLOSED + 10):
        position = run(
            assigned(position, f"op-{n}", installed(f"r{n}")),
            *[Event.DONE] * 5,
            Event.FAILED,
            Event.DONE,
            Event.DONE,
        )
    assert len(position.chain.closed) == MAX_CLOSED
    assert len(position.chain.rejected) == MAX_REJECTED
    assert position.chain.closed[-1] == f"op-{MAX_CLOSED + 9}"


def test_everything_a_withdrawal_needs_is_held() -> None:
    third = committed(committed(committed(Position(), "a", A), "b", B), "c", C)
    assert set(third.chain.held()) == {C, B, A}


class Slot(RuleBasedStateMachine):
    """A slot under rollouts, failures, withdrawals and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.position = Position()
        self.committed: set[Installed] = set()
        self.begun = 0
        self.kept: tuple[Installed | None, Installed | None] = (None, None)

    @rule(name=st.sampled_from("abcd"))
    @precondition(lambda self: self.position.state is State.IDLE)
    def assign(self, name: str) -> None:
        self.begun += 1
        self.kept = (self.position.chain.incumbent, self.position.chain.previous)
        self.position = assigned(self.position, f"op-{self.begun}", installed(name))

    @rule(event=st.sampled_from([Event.DONE, Event.DONE, Event.DONE, Event.FAILED, Event.WITHDRAWN]))
    def happens(self, event: Event) -> None:
        before = self.position
        if event not in TRANSITIONS[before.state]:
            return
        if before.state is State.IDLE and not before.chain.can_reopen():
            return
        if before.state is State.COMMITTING and event is Event.DONE and before.chain.candidate:
            self.committed.add(before.chain.candidate)
        self.position = move(before, event)
        if before.state in BUSY and self.position.state is State.IDLE and before.chain.before is None:
            # Nothing was committed by this operation: the chain is as it was.
            chain = self.position.chain
            assert (chain.incumbent, chain.previous) == self.kept or chain.candidate is None

    @rule()
    def crash(self) -> None:
        # The journal holds state and chain of the last record; the process starts again from there.
        self.position = Position(RESUME_AT[self.position.state], self.position.chain)

    @invariant()
    def incumbent_and_previous_were_committed(self) -> None:
        chain = self.position.chain
        assert {i for i in (chain.incumbent, chain.previous) if i is not None} <= self.committed

    @invariant()
    def an_occupied_slot_never_becomes_empty_except_back_to_its_first_install(self) -> None:
        if self.position.chain.incumbent is None and self.committed:
            assert self.position.chain.previous is None

    @invariant()
    def the_fallback_is_never_rejected(self) -> None:
        fallback = self.position.chain.fallback()
        assert fallback is None or fallback.release not in self.position.chain.rejected

    @invariant()
    def somebody_answers_who_is_on_disk(self) -> None:
        answering = self.position.answering()
        assert answering is None or answering in self.position.chain.held()

    @invariant()
    def busy_means_an_operation_or_a_way_back(self) -> None:
        if self.position.state in BUSY - {State.CLEANING}:
            assert self.position.chain.candidate is not None
        else:
            assert self.position.chain.candidate is None


TestSlot = Slot.TestCase


@given(st.integers(0, 3), st.sampled_from(sorted(BUSY - {State.CLEANING})))
def test_a_crash_in_any_state_keeps_the_incumbent(rollouts: int, stop: State) -> None:
    position = Position()
    for n in range(rollouts):
        position = committed(position, f"op-{n}", installed("abc"[n]))
    kept = (position.chain.incumbent, position.chain.previous)
    position = assigned(position, "op-x", installed("x"))
    while position.state is not stop and position.state is not State.CLEANING:
        position = move(position, Event.DONE)
    position = Position(RESUME_AT[position.state], position.chain)
    while position.state is not State.IDLE:
        event = Event.FAILED if Event.FAILED in TRANSITIONS[position.state] else Event.DONE
        position = move(position, Event.DONE if position.state is State.ROLLING_BACK else event)
    if stop is not State.ROLLING_BACK:
        assert (position.chain.incumbent, position.chain.previous) == kept


def test_assigning_needs_an_operation() -> None:
    with pytest.raises(ValueError, match="identity and a release"):
        move(Position(), Event.ASSIGNED, operation="", candidate=A)
    with pytest.raises(ValueError, match="identity and a release"):
        move(Position(), Event.ASSIGNED, operation="op")


def test_nothing_to_commit() -> None:
    with pytest.raises(ValueError, match="nothing to commit"):
        Chain().commit()
