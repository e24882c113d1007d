"""The Pareto view in plain text, and the table that grows with what was measured."""

from __future__ import annotations

from fleetctl.build import pareto, render
from fleetctl.output import Table

from .reports import report


def test_a_line_for_each_variant_on_one_axis() -> None:
    scale, *lines = pareto.lines(report().classes[0])
    assert [line.split("  ")[-1] for line in lines] == [
        "fp32 (front)",
        "int8 (chosen, front)",
        "int8-dynamic (refused)",
    ]
    assert max(map(len, [scale, *lines])) <= 100
    one = scale.index("x1")
    marks = [next(i for i, c in enumerate(line) if c in "●○×") for line in lines]
    assert marks[0] == one, "the float variant is what the others are compared with"
    assert marks[1] < one < marks[2]
    assert lines[1].index("─") < marks[1] < lines[1].rindex("─"), "the spread lies around the median"


def test_nothing_where_no_time_was_compared() -> None:
    assert pareto.lines(report().classes[1]) == []
    assert pareto.lines(report().classes[2]) == []


def test_columns_come_with_what_was_measured() -> None:
    desk, chip = (b for b in render.report(report(), None) if isinstance(b, Table))
    assert desk.columns == (
        "VARIANT", "STATE", "TOP1", "DROP", "AGREE", "SIZE", "LATENCY", "SPREAD", "MEMORY", "PARETO",
    )  # fmt: skip
    assert chip.columns == (
        "VARIANT", "STATE", "TOP1", "DROP", "AGREE", "SIZE", "MEMORY", "ON ACCELERATOR", "MEASURED WITH",
        "PARETO",
    )  # fmt: skip
    assert chip.rows[0][6:9] == ["29.4 kB arena", "94 % of operators, 99.8 % of MACs", "litert"]
    text = [b for b in render.report(report(), None) if isinstance(b, str)]
    assert "  chip.int8 on the processor: MEAN /pool: its axes" in text
    assert any(line.startswith("  desk.int8-dynamic refused: MF-1440: ") for line in text)
