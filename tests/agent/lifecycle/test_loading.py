"""How long a candidate may load: longer where its engine is built on the device first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelfleet_agent.control.protocol import ModelActual, ModelState, SlotActual
from modelfleet_agent.lifecycle.observe import LOAD_LIMIT_S, WAIT, Look, look
from modelfleet_agent.lifecycle.slot import Slot
from modelfleet_core.error_codes import Code
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.release.engine_spec import BUILD_LIMIT_S, ENGINE_SPEC_NAME

from .test_rules import C, running


def seen(waited_s: float, **more: Any) -> Look:
    starting = ModelActual(release=C.release, variant=C.variant, state=ModelState.STARTING)
    return Look(SlotActual("digits", None, (starting,)), waited_s, None, True, None, **more)


@pytest.mark.parametrize("limit", [LOAD_LIMIT_S, BUILD_LIMIT_S])
def test_a_candidate_has_its_limit_and_no_more(limit: float) -> None:
    record = running(State.LOADING)
    assert look(record, seen(limit, load_limit_s=limit)) == WAIT
    trouble = look(record, seen(limit + 1, load_limit_s=limit)).trouble
    assert trouble is not None
    assert trouble.code == Code.LOAD_TIMEOUT.value
    assert f"within {limit:g} s" in trouble.reason


def test_a_build_spec_in_its_folder_says_that_an_engine_is_built(tmp_path: Path) -> None:
    slot: Any = SimpleNamespace(_record=running(State.LOADING), _folder=lambda installed: tmp_path)
    assert Slot._load_limit_s(slot) == LOAD_LIMIT_S
    (tmp_path / ENGINE_SPEC_NAME).touch()
    assert Slot._load_limit_s(slot) == BUILD_LIMIT_S
