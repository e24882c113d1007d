"""The demo says when something does not come out as promised: the good model wears the bad one's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fleetctl.demo.places import MODELS

from e2e.support import Process

EXAMPLES = Path(__file__).parent.parent / "examples" / "digits"


def test_a_good_model_in_place_of_the_bad_one_is_not_as_said(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("d")  # its path must stay short: Unix sockets lie in it
    models = folder / "models"
    shutil.copytree(EXAMPLES, models)
    shutil.copy(EXAMPLES / MODELS["1.1"], models / MODELS["1.2"])
    command: list[str | Path] = ["fleetctl", "demo", "--scenes", "1,2,4", "--models", models]
    command += ["--work", folder / "w", "--report", folder / "demo.json"]
    with Process(command, folder) as demo:
        code = demo.wait(400)
        shown = demo.stdout()
    report = json.loads((folder / "demo.json").read_bytes())
    assert code == 1
    assert report["ok"] is False
    broken = [check for check in report["checks"] if not check["ok"]]
    assert {check["scene"] for check in broken} == {4}
    assert any("digits:1.2 is rolled back" in check["promise"] for check in broken)
    assert [scene["ok"] for scene in report["scenes"]] == [True, True, False]
    assert "NOT AS SAID" in shown
    assert report["inferences"]["failed"] == 0
