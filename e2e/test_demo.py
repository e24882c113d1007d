"""The demo is the first end-to-end test: what `make demo` shows a newcomer, asserted on its report.

Rule: nothing here repeats what the demo checks about itself; these tests read the report as a stranger would.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from e2e.support import Process

CLASSES = {"x86-onnxruntime", "x86-openvino", "arm-litert"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one whole demo."""
    folder = tmp_path_factory.mktemp("demo")
    command: list[str | Path] = ["fleetctl", "demo", "--report", folder / "demo.json", "--work", folder / "w"]
    with Process(command, folder) as demo:
        code = demo.wait(850)
        shown = demo.stdout()
    assert (folder / "demo.json").exists(), shown[-4_000:]
    body = cast(dict[str, Any], json.loads((folder / "demo.json").read_bytes()))
    broken = [check for check in body["checks"] if not check["ok"]]
    assert not broken, json.dumps(broken, indent=2)
    assert code == 0
    return body | {"shown": shown, "work": str(folder / "w")}


def rollout(report: dict[str, Any], release: str) -> dict[str, Any]:
    return next(row for row in report["rollouts"] if row["release"] == release)


def test_all_seven_came_out_as_said(report: dict[str, Any]) -> None:
    assert report["ok"] is True
    assert [scene["number"] for scene in report["scenes"]] == [1, 2, 3, 4, 5, 6, 7]
    assert "small-fleet plan: weaker evidence" in report["shown"]


@pytest.mark.parametrize("release", ["digits:1.0", "digits:1.1"])
def test_good_releases_complete_in_every_class(report: dict[str, Any], release: str) -> None:
    row = rollout(report, release)
    assert row["outcome"] == "completed"
    assert {one["class"] for one in row["classes"]} == CLASSES
    for one in row["classes"]:
        assert one["outcome"] == "completed"
        assert one["devices"] == {"committed": 2}
        assert one["live_answers_by_candidate"] > 0
        assert one["failed"] == one["dropped"] == 0
    assert row["bytes_sent"] > 0


def test_the_better_release_went_through_every_stage(report: dict[str, Any]) -> None:
    for one in rollout(report, "digits:1.1")["classes"]:
        assert one["stages"] == ["shadow", "canary", "all"]


@pytest.mark.parametrize(
    ("release", "gates"),
    [("digits:1.2", {"disagreement", "golden"}), ("digits:1.3", {"latency_p50"})],
)
def test_bad_releases_are_stopped_in_shadow(report: dict[str, Any], release: str, gates: set[str]) -> None:
    row = rollout(report, release)
    assert row["outcome"] == "rolled_back"
    for one in row["classes"]:
        assert one["stopped_in"] == "shadow"
        assert one["gate"] in gates
        assert one["live_answers_by_candidate"] == 0
        assert one["reason"].startswith("ROLLED BACK")


def test_the_daylight_release_is_stopped_live(report: dict[str, Any]) -> None:
    row = rollout(report, "digits:1.4")
    assert row["outcome"] == "rolled_back"
    for one in row["classes"]:
        assert one["stopped_in"] == "live"
        assert one["gate"] == "disagreement"
        assert one["live_answers_by_candidate"] > 0


def test_no_inference_failed(report: dict[str, Any]) -> None:
    inferences = report["inferences"]
    assert inferences["failed"] == inferences["dropped"] == 0
    assert inferences["served"] > 5_000
    assert inferences["swaps"] >= 6 * 3
    assert 0 <= inferences["worst_swap_gap_ms"] < 1_000


def test_every_kill_was_survived(report: dict[str, Any]) -> None:
    assert len(report["kills"]) == 3
    assert all(kill["recovered"] for kill in report["kills"])
    assert {kill["placed_by"] for kill in report["kills"]} == {"downloading", "switching", "idle"}


def test_every_attack_was_refused_on_the_device(report: dict[str, Any]) -> None:
    on_device = [row for row in report["refusals"] if row["where"] != "controller"]
    assert len(on_device) == 3
    assert len({row["code"] for row in on_device}) == 3
    assert all(row["code"].startswith("MF-") and row["reason"] for row in on_device)


def test_nothing_is_left_running(report: dict[str, Any]) -> None:
    """The demo has ended, and so has everything that named its work folder."""
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if report["work"].encode() in words:
            left.append(words.replace(b"\0", b" ").decode())
    assert left == []
