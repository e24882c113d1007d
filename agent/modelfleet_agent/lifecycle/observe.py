"""What serve's actual state means for a slot that waits for it. Pure: one look, one verdict.

Serve's flip is the truth (semantics section 5). What the supervisor waits for either comes, or a fault
does, or its time is up; time counts only while serve is there and follows the present table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelfleet_agent.control.protocol import ModelActual, ModelState, SlotActual
from modelfleet_core.error_codes import Code
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.wire.director import Mode, SlotAssignment
from modelfleet_core.wire.event import EventKind

from .record import SlotRecord, Trouble

LOAD_LIMIT_S: Final = 300.0
SWITCH_LIMIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """What is known when a waiting slot is looked at.

    Attributes:
        slot: serve's truth, of the table that is wanted now.
        waited_s: seconds in this state, serve being there.
        order: what the last statement says of the slot, or None.
        holds: the statement has not expired.
        golden_floor: accuracy (0-1) of the float parent on the golden set that judges; None where it has no
            labels.
        load_limit_s: how long the candidate may take to be ready, seconds.
    """

    slot: SlotActual
    waited_s: float
    order: SlotAssignment | None
    holds: bool
    golden_floor: float | None
    load_limit_s: float = LOAD_LIMIT_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """DONE, a fault, or neither: then `waiting` may say what for, for people; `alarm` = a person should
    know.
    """

    done: bool = False
    trouble: Trouble | None = None
    waiting: Trouble | None = None
    swap_gap_ms: float | None = None


WAIT: Final = Verdict()
DONE: Final = Verdict(done=True)


def look(record: SlotRecord, seen: Look) -> Verdict:
    """The verdict for LOADING, SHADOWING, SWITCHING, PROBATION, ROLLING_BACK; WAIT for every other state."""
    if record.state is State.LOADING:
        return _loading(record, seen)
    if record.state is State.SHADOWING:
        return _shadowing(record, seen)
    if record.state is State.SWITCHING:
        return _switching(record, seen)
    if record.state is State.PROBATION:
        return _probation(record, seen)
    if record.state is State.ROLLING_BACK:
        return _rolling_back(record, seen)
    return WAIT


def fell_back(record: SlotRecord, slot: SlotActual) -> Trouble | None:
    """Why serve gave the committed incumbent up for the previous one, or None when it did not."""
    chain = record.chain
    fallback = chain.fallback()
    if slot.fell_back is None or fallback is None or slot.active != fallback.release:
        return None
    return Trouble(
        EventKind.ROLLED_BACK, slot.fell_back_code or Code.SERVE_FELL_BACK.value, slot.fell_back, hard=True
    )


def _loading(record: SlotRecord, seen: Look) -> Verdict:
    model = _candidate(record, seen.slot)
    fault = _fault(model, EventKind.FAILED)
    if fault is not None:
        return Verdict(trouble=fault)
    if model is not None and model.state is ModelState.READY:
        return DONE
    if seen.waited_s > seen.load_limit_s:
        return Verdict(
            trouble=Trouble(
                EventKind.FAILED,
                Code.LOAD_TIMEOUT.value,
                f"the candidate was not ready within {seen.load_limit_s:g} s",
                hard=True,
            )
        )
    return WAIT


def _shadowing(record: SlotRecord, seen: Look) -> Verdict:
    model = _candidate(record, seen.slot)
    fault = _fault(model, EventKind.FAILED)
    if fault is not None:
        return Verdict(trouble=fault)
    live = (
        seen.order is not None
        and seen.order.operation == record.chain.operation
        and seen.order.mode is Mode.LIVE
    )
    if not live or seen.order is None or not seen.holds:
        return WAIT
    if model is None or model.state is not ModelState.READY:
        return WAIT
    drop = golden_drop(record, seen, model)
    if drop is None:
        return WAIT
    if drop > seen.order.golden_tolerance_points:
        return Verdict(
            waiting=Trouble(
                EventKind.ALARM,
                Code.GOLDEN_DROP.value,
                f"the candidate loses {drop:.1f} points on the golden set, more than the tolerated "
                f"{seen.order.golden_tolerance_points:g}: it is not switched to live",
            )
        )
    return DONE


def golden_drop(record: SlotRecord, seen: Look, model: ModelActual) -> float | None:
    """Points of accuracy that the candidate loses against the incumbent, on the device, on the same golden
    set; without an incumbent against the float parent (semantics section 2). 0 where the set has no labels;
    None while it is not known."""
    if seen.golden_floor is None:
        return 0.0
    if model.golden_right is None or not model.golden_total:
        return None
    accuracy = model.golden_right / model.golden_total
    if record.chain.incumbent is None:
        return _points(seen.golden_floor, accuracy)
    incumbent = _model(seen.slot, record.chain.incumbent.release)
    if incumbent is None or incumbent.golden_right is None or not incumbent.golden_total:
        return None
    return _points(incumbent.golden_right / incumbent.golden_total, accuracy)


def _points(before: float, after: float) -> float:
    # Rounded: 0.90 - 0.88 are two points, not a hair more.
    return round(100 * (before - after), 6)


def _switching(record: SlotRecord, seen: Look) -> Verdict:
    fault = _taken_back(record, seen.slot)
    if fault is not None:
        return Verdict(trouble=fault)
    if record.chain.candidate is not None and seen.slot.active == record.chain.candidate.release:
        return DONE
    return _late(seen)


def _probation(record: SlotRecord, seen: Look) -> Verdict:
    fault = _taken_back(record, seen.slot)
    if fault is not None:
        return Verdict(trouble=fault)
    if record.chain.candidate is None or seen.slot.active != record.chain.candidate.release:
        return _late(seen)
    assignment = record.assignment
    if seen.order is not None and seen.order.operation == record.chain.operation:
        assignment = seen.order
    if assignment is not None and seen.waited_s >= assignment.probation_s:
        return DONE
    return WAIT


def _rolling_back(record: SlotRecord, seen: Look) -> Verdict:
    chain = record.chain
    wanted = chain.incumbent.release if chain.incumbent is not None else None
    if seen.slot.active != wanted:
        return WAIT
    out = chain.candidate.release if chain.candidate is not None else None
    kept = {installed.release for installed in (chain.incumbent, chain.fallback()) if installed is not None}
    loaded = {model.release for model in seen.slot.models}
    return WAIT if out in loaded and out not in kept else DONE


def _late(seen: Look) -> Verdict:
    if seen.waited_s <= SWITCH_LIMIT_S:
        return WAIT
    return Verdict(
        trouble=Trouble(
            EventKind.ROLLED_BACK,
            Code.SWITCH_TIMEOUT.value,
            f"serve did not let the candidate answer within {SWITCH_LIMIT_S:g} s",
            hard=True,
        )
    )


def _taken_back(record: SlotRecord, slot: SlotActual) -> Trouble | None:
    """Serve went back by itself, or the candidate is broken for good."""
    candidate = record.chain.candidate
    if slot.fell_back is not None and (candidate is None or slot.active != candidate.release):
        code = slot.fell_back_code or Code.SERVE_FELL_BACK.value
        return Trouble(EventKind.ROLLED_BACK, code, slot.fell_back, hard=True)
    return _fault(_candidate(record, slot), EventKind.ROLLED_BACK)


def _fault(model: ModelActual | None, kind: EventKind) -> Trouble | None:
    if model is None:
        return None
    if model.self_test is not None and not model.self_test.passed:
        reason = model.self_test.reason or "the self-test against the recorded golden outputs failed"
        return Trouble(kind, Code.SELF_TEST_FAILED.value, reason, hard=True)
    if model.state is ModelState.FAILED or model.crash_loop:
        code = model.code or (Code.WORKER_CRASH_LOOP if model.crash_loop else Code.MODEL_LOAD_FAILED).value
        return Trouble(kind, code, model.reason or "the candidate's worker failed", hard=True)
    return None


def _candidate(record: SlotRecord, slot: SlotActual) -> ModelActual | None:
    candidate = record.chain.candidate
    return _model(slot, candidate.release) if candidate is not None else None


def _model(slot: SlotActual, release: str) -> ModelActual | None:
    return next((model for model in slot.models if model.release == release), None)
