"""The generated page of variants: a row per class and recipe, reasons below, nothing that breaks a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime

from bench._light_models import light_model
from bench._variants_page import page
from tests.cli.build.reports import report


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_one_row_per_class_and_recipe() -> None:
    text = page([report()])
    assert "## Classification: digits" in text
    found = rows(text)
    assert [row[:3] for row in found] == [
        ["desk", "fp32", "kept"],
        ["desk", "int8", "**chosen**"],
        ["desk", "int8-dynamic", "refused (MF-1440)"],
        ["desk", "fp16", "refused (MF-1432)"],
        ["chip", "int8", "**chosen**"],
        ["phone", "-", "not built (MF-1430)"],
    ]
    assert {len(row) for row in found} == {11}
    assert found[0][7] == "reference"
    assert found[1][3:9] == ["98.33 %", "0.67 pt", "98.00 %", "101.9 kB", "0.55 [0.50 to 0.61]", "70.0 MB"]
    assert found[4][7:] == ["-", "29.4 kB arena", "94 % of operators, 99.8 % of MACs", "litert"]
    assert set(found[3][3:]) == {"-"}


def test_reasons_stand_below_and_cannot_break_the_page() -> None:
    text = page([report()], ["## Detection\n\nNot built: it cannot be."])
    assert "- **desk**: desk.int8 is chosen: it takes 0.55 of the float time" in text
    assert "  - int8-dynamic was refused (MF-1440): it loses &lt;script>alert(1)&lt;/script> 4 points" in text
    assert "  - int8 on the processor: MEAN /pool: its axes" in text
    assert text.rstrip().endswith("Not built: it cannot be.")
    odd = replace(report(), name="a|b\n*c*")
    assert "## Classification: a\\|b \\*c\\*" in page([odd])


def test_the_model_of_real_size_runs_and_answers_differ() -> None:
    model = light_model("squeezenet")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    name = session.get_inputs()[0].name
    answers = [
        np.asarray(session.run(None, {name: random.random((1, 3, 224, 224), np.float32)})[0]) for _ in (0, 1)
    ]
    assert np.isfinite(answers[0]).all()
    assert len(np.unique(answers[0])) > 100, "constant weights would give one value only"
    assert not np.array_equal(answers[0], answers[1])
