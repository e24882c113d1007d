"""Which table serve shall make true, given where a slot stands. Pure.

Serve identifies models by release, so a release stands in at most one place: the candidate before the
incumbent's fallback, the incumbent before the previous."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelfleet_agent.control.protocol import ModelRef, SlotDesired
from modelfleet_core.lifecycle.chain import Chain, Installed
from modelfleet_core.lifecycle.machine import CANDIDATE_ANSWERS, State
from modelfleet_core.wire.director import Mode, SlotAssignment

from .record import SlotRecord

Folder = Callable[[Installed], Path]
_COMPARING = frozenset({State.LOADING, State.SHADOWING, *CANDIDATE_ANSWERS})


def desired_of(record: SlotRecord, order: SlotAssignment | None, folder: Folder) -> SlotDesired:
    """The table's row of one slot.

    Args:
        record: where the slot stands.
        order: what the last statement says of it, or None.
        folder: where a variant's complete folder lies.
    """
    chain = record.chain
    if record.state in _COMPARING and chain.candidate is not None and record.assignment is not None:
        return _comparing(record, chain.candidate, _current(record.assignment, order), folder)
    return _settled(record, order, folder)


def _current(assignment: SlotAssignment, order: SlotAssignment | None) -> SlotAssignment:
    """The running operation as the newest statement words it."""
    same = order is not None and order.operation == assignment.operation and order.mode is not Mode.WITHDRAWN
    return order if same and order is not None else assignment


def _comparing(
    record: SlotRecord, candidate: Installed, assignment: SlotAssignment, folder: Folder
) -> SlotDesired:
    chain = record.chain
    answers = record.state in CANDIDATE_ANSWERS
    incumbent = chain.incumbent
    previous = chain.fallback()
    if previous in (candidate, incumbent) or (previous is not None and previous.release == candidate.release):
        previous = None
    if answers:
        mirror_to, share = (incumbent.release if incumbent is not None else None), assignment.reverse_share
    else:
        mirror_to, share = (None if record.state is State.LOADING else candidate.release), 1.0
    return SlotDesired(
        slot=record.slot,
        active=candidate.release if answers else (incumbent.release if incumbent is not None else None),
        incumbent=_ref(incumbent, folder),
        candidate=_ref(candidate, folder),
        previous=_ref(previous, folder),
        mirror_to=mirror_to,
        mirror_share=share,
        operation=assignment.operation,
        window_s=assignment.window_s,
        golden_folder=str(folder(golden_of(chain, candidate, assignment.baseline))),
        probation=answers,
    )


def _settled(record: SlotRecord, order: SlotAssignment | None, folder: Folder) -> SlotDesired:
    """The committed chain; evidence goes on while the operation that was committed last is still assigned."""
    chain = record.chain
    incumbent, previous = chain.incumbent, chain.fallback()
    if incumbent is not None and previous is not None and previous.release == incumbent.release:
        previous = None
    row = SlotDesired(
        slot=record.slot,
        active=incumbent.release if incumbent is not None else None,
        incumbent=_ref(incumbent, folder),
        candidate=None,
        previous=_ref(previous, folder),
    )
    observed = (
        record.state in (State.IDLE, State.CLEANING)
        and order is not None
        and order.mode is Mode.LIVE
        and order.rollout is not None
        and incumbent is not None
        and incumbent.release == order.release
        and chain.before is not None
        and chain.before.operation == order.operation
    )
    if not observed or order is None or incumbent is None:
        return row
    return SlotDesired(
        slot=row.slot,
        active=row.active,
        incumbent=row.incumbent,
        candidate=None,
        previous=row.previous,
        mirror_to=previous.release if previous is not None else None,
        mirror_share=order.reverse_share,
        operation=order.operation,
        window_s=order.window_s,
        golden_folder=str(folder(golden_of(chain, incumbent, order.baseline))),
    )


def golden_of(chain: Chain, tested: Installed, baseline: str | None) -> Installed:
    """Whose golden set judges: the baseline release's (semantics section 2), where the device holds it.

    Where it does not, the incumbent's; on a first install the tested release's own.
    """
    for installed in chain.held():
        if installed.release == baseline:
            return installed
    if baseline is not None and chain.incumbent is not None and chain.incumbent != tested:
        return chain.incumbent
    if chain.incumbent == tested and chain.previous is not None and baseline is not None:
        return chain.previous
    return tested


def _ref(installed: Installed | None, folder: Folder) -> ModelRef | None:
    if installed is None:
        return None
    return ModelRef(installed.release, installed.reference, installed.variant, str(folder(installed)))
