"""The tables: complete, and every way through them ends where a device can serve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.errors import CallerError
from modelfleet_core.lifecycle.machine import (
    BUSY,
    CANDIDATE_ANSWERS,
    PREPARING,
    RESUME_AT,
    TRANSITIONS,
    Event,
    State,
    step,
)


def test_tables_name_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(RESUME_AT) == set(State)


@pytest.mark.parametrize("state", sorted(BUSY))
def test_every_busy_state_answers_done_and_failed(state: State) -> None:
    assert {Event.DONE, Event.FAILED} <= set(TRANSITIONS[state])


@pytest.mark.parametrize("state", sorted(BUSY - {State.ROLLING_BACK, State.CLEANING}))
def test_an_operation_can_be_taken_back_until_it_is_committed(state: State) -> None:
    assert TRANSITIONS[state][Event.WITHDRAWN] is TRANSITIONS[state][Event.FAILED]


@pytest.mark.parametrize("state", sorted(State))
def test_what_may_be_loaded_is_rolled_back_and_what_is_not_is_cleaned(state: State) -> None:
    after = TRANSITIONS[state].get(Event.WITHDRAWN)
    if state in PREPARING:
        assert after is State.CLEANING
    elif after is not None:
        assert after is State.ROLLING_BACK


def test_resuming_never_skips_ahead() -> None:
    order = list(State)
    for state, resumed in RESUME_AT.items():
        assert order.index(resumed) <= order.index(state)
        assert (resumed in CANDIDATE_ANSWERS) == (state in CANDIDATE_ANSWERS)
        assert (resumed is State.IDLE) == (state is State.IDLE)


@pytest.mark.parametrize("crashes", [1, 2, 3])
@pytest.mark.parametrize("event", [Event.DONE, Event.FAILED])
@pytest.mark.parametrize("state", sorted(BUSY))
def test_a_crash_anywhere_still_ends_idle(state: State, event: Event, crashes: int) -> None:
    """Crashes in every state on the way, as often as that; the agent's breaker ends what crashes for ever."""
    now = step(RESUME_AT[state], event)
    left = dict.fromkeys(State, crashes)
    for _ in range((crashes + 1) * 3 * len(State)):
        if now is State.IDLE:
            break
        if left[now]:
            left[now] -= 1
            now = RESUME_AT[now]
        else:
            now = step(now, Event.DONE)
    assert now is State.IDLE


@pytest.mark.parametrize("state", sorted(State))
@pytest.mark.parametrize("event", list(Event))
def test_an_illegal_move_is_refused_by_name(state: State, event: Event) -> None:
    if event in TRANSITIONS[state]:
        assert step(state, event) is TRANSITIONS[state][event]
        return
    with pytest.raises(CallerError, match="MF-3001") as refused:
        step(state, event)
    assert f"event {event} in state {state}" in refused.value.happened
    for allowed in TRANSITIONS[state]:
        assert allowed in refused.value.expected


@given(st.lists(st.sampled_from(list(Event)), max_size=60), st.data())
def test_the_way_back_is_short(events: list[Event], data: st.DataObject) -> None:
    """From wherever a device gets, with crashes in between, at most twelve DONEs end the operation."""
    state = State.IDLE
    for event in events:
        if event in TRANSITIONS[state]:
            state = step(state, event)
        if data.draw(st.booleans()):
            state = RESUME_AT[state]
    taken = 0
    while state is not State.IDLE:
        state = step(RESUME_AT[state], Event.DONE) if taken == 0 else step(state, Event.DONE)
        taken += 1
    assert taken <= 12
