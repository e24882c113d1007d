"""The device's lifecycle as tables. Everything that decides "what comes next" lives here, and nothing else
does.

Rules:
1. The journal records a state before anything is done for it, so after a crash the last record says what
   may have been begun. `RESUME_AT` says where the work goes on; every effect is idempotent, so going on is
   always right.
2. Every busy state answers DONE and FAILED. States in which something may be loaded in serve fail into
   ROLLING_BACK, states before that into CLEANING. ROLLING_BACK fails into itself: it may not give up.
3. Waiting states (LOADING, SHADOWING, PROBATION) are busy too: what they wait for either comes (DONE) or a
   fault does.
4. WITHDRAWN is what the director says (semantics section 4): take the operation back. It is answered
   wherever something can be taken back, IDLE included (the last committed operation). In COMMITTING nothing
   is committed yet: the commit is the record that leaves it.

Refuses to know about files, processes, networks or time: it takes a state and an event and gives a state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


class State(StrEnum):
    """Where one slot of a device stands; the value is what `SlotStatus.state` and the journal carry.

    IDLE: nothing is under way; the incumbent, if any, serves.
    VERIFYING: bundle and manifest are fetched and checked; the own variant must fit.
    RESERVING: room on the disk is made and taken.
    DOWNLOADING: the variant's files are fetched, resumably.
    CHECKING: every file is hashed once more and the folder moves into the store.
    LOADING: serve starts a worker for the candidate; self-test, golden set, warm-up.
    SHADOWING: the candidate gets copies of real inputs and answers nobody.
    SWITCHING: serve is asked to let the candidate answer.
    PROBATION: the candidate answers, the incumbent stays warm, nothing is committed.
    COMMITTING: the chain is about to move on.
    ROLLING_BACK: serve is asked to go back to the chain as it was.
    CLEANING: what nothing refers to is deleted.
    """

    IDLE = "idle"
    VERIFYING = "verifying"
    RESERVING = "reserving"
    DOWNLOADING = "downloading"
    CHECKING = "checking"
    LOADING = "loading"
    SHADOWING = "shadowing"
    SWITCHING = "switching"
    PROBATION = "probation"
    COMMITTING = "committing"
    ROLLING_BACK = "rolling_back"
    CLEANING = "cleaning"


class Event(StrEnum):
    """What moves a slot on.

    ASSIGNED: the director orders an operation. DONE: the state's work is done. FAILED: it cannot be done,
    or a fault was seen. WITHDRAWN: the director (or the person at the device) takes the operation back.
    """

    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


_S = State
_E = Event

TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    # IDLE + FAILED: the committed incumbent broke and serve fell back to the previous by itself.
    _S.IDLE: {_E.ASSIGNED: _S.VERIFYING, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    _S.VERIFYING: {_E.DONE: _S.RESERVING, _E.FAILED: _S.CLEANING, _E.WITHDRAWN: _S.CLEANING},
    _S.RESERVING: {_E.DONE: _S.DOWNLOADING, _E.FAILED: _S.CLEANING, _E.WITHDRAWN: _S.CLEANING},
    _S.DOWNLOADING: {_E.DONE: _S.CHECKING, _E.FAILED: _S.CLEANING, _E.WITHDRAWN: _S.CLEANING},
    _S.CHECKING: {_E.DONE: _S.LOADING, _E.FAILED: _S.CLEANING, _E.WITHDRAWN: _S.CLEANING},
    _S.LOADING: {_E.DONE: _S.SHADOWING, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    # SHADOWING + DONE: the director says live, its statement has not expired, and the golden set allows it.
    _S.SHADOWING: {_E.DONE: _S.SWITCHING, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    _S.SWITCHING: {_E.DONE: _S.PROBATION, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    _S.PROBATION: {_E.DONE: _S.COMMITTING, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    _S.COMMITTING: {_E.DONE: _S.CLEANING, _E.FAILED: _S.ROLLING_BACK, _E.WITHDRAWN: _S.ROLLING_BACK},
    # A rollback that cannot be done now is tried again until it can.
    _S.ROLLING_BACK: {_E.DONE: _S.CLEANING, _E.FAILED: _S.ROLLING_BACK},
    # Leftovers that cannot be deleted now are unreachable, and deleted after the next operation.
    _S.CLEANING: {_E.DONE: _S.IDLE, _E.FAILED: _S.IDLE},
}

RESUME_AT: Final[dict[State, State]] = {
    _S.IDLE: _S.IDLE,
    _S.VERIFYING: _S.VERIFYING,
    _S.RESERVING: _S.RESERVING,
    # What was reserved may be gone with the temporary files: reserving again costs nothing where it is not.
    _S.DOWNLOADING: _S.RESERVING,
    # A power cut may have torn a file: downloading again fetches only what its digest does not vouch for.
    _S.CHECKING: _S.RESERVING,
    _S.LOADING: _S.LOADING,
    _S.SHADOWING: _S.SHADOWING,
    # Serve's flip is the truth: asking again is answered by what is so.
    _S.SWITCHING: _S.SWITCHING,
    _S.PROBATION: _S.PROBATION,
    _S.COMMITTING: _S.COMMITTING,
    _S.ROLLING_BACK: _S.ROLLING_BACK,
    _S.CLEANING: _S.CLEANING,
}

BUSY: Final = frozenset(State) - {State.IDLE}
"""States in which an operation is under way."""

PREPARING: Final = frozenset({_S.VERIFYING, _S.RESERVING, _S.DOWNLOADING, _S.CHECKING})
"""States in which nothing of the candidate is in serve's table yet."""

CANDIDATE_ANSWERS: Final = frozenset({_S.SWITCHING, _S.PROBATION, _S.COMMITTING})
"""States in which the candidate is the one that shall answer real requests."""


def step(state: State, event: Event) -> State:
    """The state after `event`.

    Raises:
        CallerError: MF-3001, the event means nothing in this state.
    """
    after = TRANSITIONS[state].get(event)
    if after is None:
        allowed = ", ".join(TRANSITIONS[state])
        raise CallerError(
            Code.LIFECYCLE_ILLEGAL,
            f"event {event} in state {state}",
            expected=f"one of: {allowed}",
            todo="this is a fault of the agent; please report it with the journal",
        )
    return after
