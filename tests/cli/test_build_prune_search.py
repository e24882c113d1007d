"""`fleetctl build prune --search`: its doors, and how its tries are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.build.prune import TRY_TITLES, blocks
from fleetctl.output import Table
from modelfleet_build.training.evidence import Verdict
from modelfleet_build.training.report import PruneReport, SearchReport, TryReport
from modelfleet_core.release.manifest import Measurements

from tests.cli.kit import Cli

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--search", "1001"], "MF-1423"),
        (["--search", "2", "--max-drop", "101pt"], "MF-1423"),
        (["--search", "2", "--max-drop", "much"], "--max-drop"),
        (["--search", "2", "--class", "x86-onnxruntim"], "did you mean x86-onnxruntime?"),
        (["--search", "2", "--ratio", "0.3"], "--ratio does not go with --search"),
        (["--class", "x86-onnxruntime"], "need --search"),
        (["--objective", "size"], "need --search"),
        (["--max-drop", "2pt"], "need --search"),
    ],
)
def test_a_search_is_refused_at_the_door(cli: Cli, tmp_path: Path, options: list[str], said: str) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text("")
    usual = ["--hook", hook, "--validation", DIGITS / "validation.npz", "-O", tmp_path / "out"]
    ended = cli("build", "prune", *usual, *options)
    assert ended.code != 0
    assert said in " ".join(ended.err.split()), ended.err
    assert not (cli.home / ".cache").exists()


def test_the_tries_are_shown_with_the_chosen_one_marked_and_reasons_below() -> None:
    def measured(value: float, ratio: float | None, high: float | None) -> Measurements:
        return Measurements(
            metric="top1",
            value=value,
            parent_value=0.99,
            drop_points=100 * (0.99 - value),
            agreement=1.0,
            size_bytes=1000,
            samples=100,
            latency_ratio=ratio,
            latency_ratio_low=ratio,
            latency_ratio_high=high,
            control_ratio=1.0,
        )

    parent = TryReport(
        {}, "fp32", 1.0, within=True, reason="", seconds=1, measurements=measured(0.99, None, None)
    )
    tries = (
        TryReport(
            {"ratio": 0.65}, "fp32", None, False, "fp32: loses 9", 1, measurements=measured(0.9, 0.6, 0.7)
        ),
        TryReport(
            {"ratio": 0.3, "width": 0.75}, "int8", 0.8, True, "", 1, measurements=measured(0.98, 0.8, 0.9)
        ),
        TryReport({"ratio": 0.1}, "", None, False, "OSError: no data", 1),
    )
    search = SearchReport("latency", "c", "fp32", 1.0, 3, parent, tries, 1, "found it")
    report = PruneReport(
        ratio=0.3,
        round_to=8,
        epochs=2,
        distil=False,
        samples=100,
        models=(),
        against_parent=Verdict.NOISE,
        against_control=None,
        seed=0,
        conclusion="",
        tools={},
        seconds=1.0,
        knobs={"width": 0.75},
        search=search,
    )
    table, *told = blocks(report, Path("out"))
    assert isinstance(table, Table)
    assert table.columns == TRY_TITLES
    rows = [[str(cell) for cell in row] for row in table.rows]
    assert rows[0] == ["parent", "-", "fp32", "99.00 %", "+0.00pt", "1.0 kB", "-", "-", "1.00", "1", "yes"]
    assert rows[1][4:] == ["-9.00pt", "1.0 kB", "x0.60", "0.60-0.70", "1.00", "-", "no"]
    assert rows[2][:4] == ["2 *", "ratio=0.3 width=0.75", "int8", "98.00 %"]
    assert rows[3] == ["3", "ratio=0.1", *("-",) * 8, "no"]
    assert told[:3] == ["1: fp32: loses 9", "3: OSError: no data", "found it"]
    assert "pruned 30 % of the channels (multiples of 8), width 0.75, 2 epochs" in str(told[4])
