"""What undo means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.rollout.baseline import UndoTarget, undo_targets
from modelfleet_core.rollout.plan import RolloutPlan, Stage
from modelfleet_core.rollout.progress import ClassProgress, ClassState
from modelfleet_core.wire.director import Mode

PLAN = RolloutPlan("digits:1.1", (Stage("all", Mode.LIVE, percent=100),))
START = datetime(2026, 1, 1, tzinfo=UTC)


def ended(name: str, state: ClassState, baseline: str | None) -> ClassProgress:
    return ClassProgress(name, START, state=state, baseline=baseline)


CLASSES = (
    ended("a", ClassState.COMPLETED, "digits:1.0"),
    ended("b", ClassState.ROLLED_BACK, "digits:1.0"),
    ended("c", ClassState.COMPLETED, "digits:0.9"),
    ended("d", ClassState.COMPLETED, None),
    ended("e", ClassState.COMPLETED, "digits:1.0"),
    ended("f", ClassState.ROLLED_BACK, None),
)


def test_undo_goes_back_to_what_each_class_had() -> None:
    assert undo_targets(PLAN, CLASSES) == (
        UndoTarget("digits:0.9", ("c",)),
        UndoTarget("digits:1.0", ("a", "e")),
    )


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (CLASSES[1:2], "completed in no class"),
        (CLASSES[3:4], "nothing in the slot before it"),
        ((ended("a", ClassState.COMPLETED, "digits:1.1"),), "nothing in the slot before it"),
        ((CLASSES[0], ended("x", ClassState.RUNNING, None)), "has not ended in x"),
        ((CLASSES[0], ended("x", ClassState.HELD, None)), "has not ended in x"),
    ],
)
def test_undo_of_what_changed_nothing_is_refused(classes: tuple[ClassProgress, ...], why: str) -> None:
    with pytest.raises(CallerError, match=why) as refused:
        undo_targets(PLAN, classes)
    assert refused.value.code is Code.NOTHING_TO_UNDO
