"""The report is spelled as surfaces prescribe, and written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.demo import report as reports
from fleetctl.demo.report import (
    Check,
    ClassRow,
    Inferences,
    KillRow,
    RefusalRow,
    Report,
    RolloutRow,
    SceneRow,
)


def example(ok: bool = True) -> Report:
    row = ClassRow(
        device_class="x86-openvino",
        outcome="rolled_back",
        stopped_in="shadow",
        gate="golden",
        reason="golden accuracy 17 pt lower",
        evidence=1.0,
        stages=("shadow",),
        live_answers_by_candidate=0,
        live_answers_told=0,
        devices={"rolled_back": 2},
        served=100,
        failed=0,
        dropped=0,
        worst_swap_gap_ms=None,
    )
    return Report(
        ok=ok,
        seconds=12.5,
        evidence="small-fleet plan: weaker evidence",
        scenes=(SceneRow(number=4, title="labels", ok=ok, seconds=3.0),),
        rollouts=(
            RolloutRow(
                release="digits:1.2", outcome="rolled_back", classes=(row,), bytes_sent=9, seconds=3.0
            ),
        ),
        inferences=Inferences(
            served=100, failed=0, dropped=0, worst_swap_gap_ms=1.5, swaps=2, asked=100, answered=100
        ),
        kills=(KillRow(where="serve, a", recovered=True, placed_by="idle", said="fine"),),
        refusals=(RefusalRow(what="a tampered blob", where="ort-2", code="MF-3102", reason="digest"),),
        checks=(Check(scene=4, promise="p", ok=ok, seen="s"),),
    )


def test_json_has_the_prescribed_keys() -> None:
    body = json.loads(reports.to_json(example()))
    assert {"ok", "seconds", "rollouts", "inferences", "kills", "refusals"} <= set(body)
    (rollout,) = body["rollouts"]
    assert {"release", "outcome", "classes", "bytes_sent"} <= set(rollout)
    (row,) = rollout["classes"]
    assert {
        "class",
        "outcome",
        "stopped_in",
        "gate",
        "reason",
        "evidence",
        "stages",
        "live_answers_by_candidate",
    } <= set(row)
    assert row["class"] == "x86-openvino"
    assert {"served", "failed", "dropped", "worst_swap_gap_ms", "swaps"} <= set(body["inferences"])
    assert set(body["refusals"][0]) == {"what", "where", "code", "reason"}
    assert body["kills"][0]["recovered"] is True


@pytest.mark.parametrize("ok", [True, False])
def test_ok_is_what_the_demo_found(ok: bool) -> None:
    assert json.loads(reports.to_json(example(ok)))["ok"] is ok


def test_write_leaves_no_partial_file(tmp_path: Path) -> None:
    reports.write(example(), tmp_path / "demo.json")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]
    with pytest.raises(OSError, match="missing"):
        reports.write(example(), tmp_path / "missing" / "demo.json")
