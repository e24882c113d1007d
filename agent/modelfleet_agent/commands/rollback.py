"""`modelfleet-agent rollback SLOT`: by hand, at the device, with or without a controller, with or without
an agent.
"""

from __future__ import annotations

from modelfleet_agent.bootstrap import Agent, real_world
from modelfleet_agent.settings import Settings
from modelfleet_agent.state.folder import StateFolder, holder
from modelfleet_agent.supervisor.requests import Requests
from modelfleet_agent.supervisor.status import SlotView, read_status
from modelfleet_core.clock import Clock, SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, Diagnostics, WorldError
from modelfleet_core.ids import is_name
from modelfleet_core.lifecycle.machine import State

_POLL_S = 0.1


def run(settings: Settings, slot: str, timeout_s: float) -> int:
    """Rolls the slot back and says what serves then; the exit code."""
    if not is_name(slot):
        raise CallerError(
            Code.SLOT_UNKNOWN, f"{slot[:80]!r} is no slot", expected="a slot's name", todo="see the status"
        )
    folder, clock = StateFolder(settings.state_dir), SystemClock()
    if holder(folder.lock) is not None:
        view = _ask(Requests(folder.requests), folder, slot, clock, timeout_s)
    else:
        view = _do(settings, slot, clock, timeout_s)
    serving = view.incumbent.reference if view is not None and view.incumbent is not None else "nothing"
    print(f"slot {slot} is rolled back; {serving} serves")
    return 0


def _ask(
    requests: Requests, folder: StateFolder, slot: str, clock: Clock, timeout_s: float
) -> SlotView | None:
    """Through the running agent."""
    until = clock.monotonic() + timeout_s
    requests.ask_rollback(slot)
    while requests.waits(slot):
        _wait(clock, until, slot)
    refused = requests.refusal(slot)
    if refused is not None:
        raise _again(refused)
    while True:
        _wait(clock, until, slot)
        status = read_status(folder.status)
        view = next((s for s in status.slots if s.slot == slot), None) if status is not None else None
        if view is not None and view.state not in (State.ROLLING_BACK, State.CLEANING):
            return view


def _do(settings: Settings, slot: str, clock: Clock, timeout_s: float) -> SlotView | None:
    """No agent runs: be it for that long, without a word to the controller."""
    agent = Agent(settings, real_world(settings))
    until = clock.monotonic() + timeout_s
    try:
        agent.loop.roll_back(slot)
        while True:
            agent.tick()
            view = next((s for s in agent.status().slots if s.slot == slot), None)
            if view is not None and view.state == State.IDLE:
                return view
            _wait(clock, until, slot)
    finally:
        agent.close()


def _wait(clock: Clock, until: float, slot: str) -> None:
    if clock.monotonic() > until:
        raise WorldError(
            Code.SERVE_UNREACHABLE,
            f"slot {slot} is not rolled back yet",
            expected="serve back on the previous release by now",
            todo="it goes on by itself; look at `modelfleet-agent status` and at serve's log",
        )
    clock.wait(_POLL_S)


def _again(refused: Diagnostics) -> CallerError:
    return CallerError(Code(refused.code), refused.happened, expected=refused.expected, todo=refused.todo)
