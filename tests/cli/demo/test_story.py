"""Which scenes run and which releases they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fleetctl.demo import places, rollouts
from fleetctl.demo.story import SCENES, chosen, needed
from modelfleet_core.errors import CallerError
from modelfleet_core.files.resource import from_json, read_rollout


def test_seven_scenes() -> None:
    assert tuple(SCENES) == (1, 2, 3, 4, 5, 6, 7)


def test_every_scene_stands_on_the_first_two() -> None:
    assert chosen([4]) == (1, 2, 4)
    assert chosen([7, 3]) == (1, 2, 3, 7)


def test_builds_come_in_the_order_of_need_and_10_is_built_in_view() -> None:
    assert needed(tuple(SCENES)) == ("1.1", "1.2", "1.3", "1.4")
    assert needed((1, 2, 4)) == ("1.2",)


@pytest.mark.parametrize("name", ["first-install", "small-fleet", "slow-is-fine"])
def test_every_plan_is_a_small_fleet_plan_that_the_product_accepts(name: str) -> None:
    text = rollouts.resource(name, "digits:1.1", "digits-1-1", {"selector": {"matchLabels": {"a": "b"}}})
    plan = read_rollout(from_json(text)).plan
    assert plan.small_fleet
    assert plan.release == "digits:1.1"
    assert plan.match_labels == {"a": "b"}
    body = (rollouts.PLANS / f"{name}.yaml").read_text()
    assert "WEAKER EVIDENCE" in body
    assert yaml.safe_load(body)["spec"]["release"] == "RELEASE"


def test_a_work_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("do not touch")
    with pytest.raises(CallerError, match="MF-6050"):
        places.make(tmp_path)


def test_a_work_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="MF-6050"):
        places.make(tmp_path / ("x" * 80))
    assert list(tmp_path.iterdir()) == []


def test_missing_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"digits-1\.0\.onnx"):
        places.find_models(tmp_path)


def test_the_checkouts_models_are_found() -> None:
    found = places.find_models(None)
    assert all(found.model(version).is_file() for version in places.MODELS)
