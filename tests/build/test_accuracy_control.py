"""The rules of accuracy control, with variants that are made of numbers; and once for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.accuracy_control import MOST_KEPT, Controlled, control, protections
from modelfleet_build.child.jobs import Sensitivities, Sensitivity
from modelfleet_build.port import Recipe
from modelfleet_core.clock import ManualClock
from modelfleet_core.release.manifest import Precision

from .conftest import DIGITS, Bench
from .spiked import NODES, spike

INT8 = Recipe("int8", Precision.INT8, {"calibration": "minmax"}, needs_calibration=True)
OTHERS = tuple(replace(INT8, parameters={"calibration": name}) for name in ("percentile", "entropy"))
OPERATORS = 20


@dataclass(frozen=True)
class Variant:
    recipe: Recipe
    loss: float
    within_budget: bool


@dataclass
class Paper:
    """Attempts on paper: errors and losses by what names a recipe, and a journal of what was asked."""

    errors: Mapping[str, float | None]
    losses: Mapping[str, float]
    suffering: Sensitivities | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    step_s: float = 1.0
    asked: list[str] = field(default_factory=list)

    def error(self, recipe: Recipe) -> float | None:
        self.clock.advance(self.step_s)
        self.asked.append(f"error {key(recipe)}")
        return self.errors.get(key(recipe), 1.0)

    def judge(self, recipe: Recipe) -> Variant:
        self.clock.advance(self.step_s)
        self.asked.append(f"judge {key(recipe)}")
        return self.variant(recipe)

    def sensitivities(self, seconds: float) -> Sensitivities | None:
        self.clock.advance(self.step_s)
        self.asked.append("sensitivities")
        return self.suffering

    def variant(self, recipe: Recipe) -> Variant:
        loss = self.losses.get(key(recipe), 9.0)
        return Variant(recipe, loss, loss <= 1.0)


def key(recipe: Recipe) -> str:
    return "+".join([recipe.parameters["calibration"], *recipe.keep_float])


def run(paper: Paper, seconds: float = 100.0) -> Controlled[Variant]:
    return control(paper.variant(INT8), OTHERS, paper, paper.clock, seconds, OPERATORS, lambda text: None)


def suffering(*errors: float, baseline: float = 1.0) -> Sensitivities:
    """Values a, b, ... whose protection leaves these errors."""
    found = [Sensitivity(chr(97 + i), (chr(97 + i),), error) for i, error in enumerate(errors)]
    return Sensitivities(baseline, tuple(sorted(found, key=lambda item: item.error)), len(found))


def test_another_calibration_that_is_nearer_is_judged_and_enough() -> None:
    paper = Paper({"minmax": 0.5, "percentile": 0.1, "entropy": 0.3}, {"percentile": 0.4})
    ended = run(paper)
    assert ended.best.recipe.parameters["calibration"] == "percentile"
    assert paper.asked == ["error minmax", "error percentile", "error entropy", "judge percentile"]
    assert ended.looks == 2
    assert "met the budget" in ended.sentence
    assert "percentile" in ended.sentence


def test_settings_that_are_no_nearer_are_never_judged() -> None:
    paper = Paper({"minmax": 0.1, "percentile": 0.1, "entropy": None}, {"percentile": 0.0})
    ended = run(paper)
    assert [line for line in paper.asked if line.startswith("judge")] == []
    assert not ended.best.within_budget


def test_the_worst_values_are_protected_one_two_four_until_it_is_enough() -> None:
    paper = Paper(
        {"minmax": 0.5, "minmax+a": 0.4, "minmax+a+b": 0.3, "minmax+a+b+c+d": 0.2},
        {"minmax+a": 5.0, "minmax+a+b": 3.0, "minmax+a+b+c+d": 0.9},
        suffering(0.1, 0.2, 0.3, 0.4, 0.5),
    )
    ended = run(paper)
    assert ended.best.recipe.keep_float == ("a", "b", "c", "d")
    assert ended.looks == 4
    assert paper.asked[-1] == "judge minmax+a+b+c+d"


def test_a_step_that_brings_nothing_is_not_judged() -> None:
    paper = Paper(
        {"minmax": 0.5, "minmax+a": 0.6, "minmax+a+b": 0.3}, {"minmax+a+b": 0.5}, suffering(0.1, 0.2)
    )
    ended = run(paper)
    assert "judge minmax+a" not in paper.asked
    assert ended.best.recipe.keep_float == ("a", "b")


def test_when_nothing_helps_the_best_is_told() -> None:
    paper = Paper({"minmax": 0.5, "minmax+a": 0.4}, {"minmax": 7.0, "minmax+a": 3.25}, suffering(0.1, 0.999))
    ended = run(paper)
    assert not ended.best.within_budget
    assert ended.sentence.startswith("not reachable with anything there is to try: best was 3.25 points")
    assert "1 operators in float (a)" in ended.sentence


def test_nothing_is_begun_when_time_is_up() -> None:
    paper = Paper({"minmax": 0.5, "percentile": 0.1}, {"percentile": 0.4}, suffering(0.1), step_s=60)
    ended = run(paper, seconds=50)
    assert paper.asked == ["error minmax"]
    assert ended.sentence.startswith("not reachable within 50 s: best was 9.00 points")


def test_a_worse_variant_never_replaces_a_better_one() -> None:
    paper = Paper(
        {"minmax": 0.5, "minmax+a": 0.4, "minmax+a+b": 0.3},
        {"minmax": 7.0, "minmax+a": 2.0, "minmax+a+b": 4.0},
        suffering(0.1, 0.2),
    )
    assert run(paper).best.loss == 2.0


def test_what_could_not_be_tried_is_told() -> None:
    found = replace(suffering(0.9), groups=3, refused=2, reason="c: no such exclusion")
    told: list[str] = []
    paper = Paper({"minmax": 0.5}, {"minmax": 7.0}, found)
    control(paper.variant(INT8), (), paper, paper.clock, 100.0, OPERATORS, told.append)
    assert any("measured 1 of 3" in line and "2 cannot be left in float (c: no" in line for line in told)


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(1, 40))
def test_protections_grow_and_leave_most_of_the_model_quantized(errors: list[float], operators: int) -> None:
    found = Sensitivities(
        1.0, tuple(Sensitivity(f"v{i}", (f"n{i}",), e) for i, e in enumerate(sorted(errors))), len(errors)
    )
    kept = [set(recipe.keep_float) for recipe in protections(INT8, found, operators)]
    assert all(small < large for small, large in zip(kept, kept[1:], strict=False))
    assert all(len(item) <= MOST_KEPT * operators for item in kept)
    assert all(found.found[int(name[1:])].error <= 0.98 for item in kept for name in item)


@pytest.mark.slow
def test_a_spiked_model_is_healed_where_it_suffers(bench: Bench, tmp_path: Path) -> None:
    """int8 loses nine of ten points; two operators in float bring it back; the report says which."""
    result = bench.build(
        model=spike(DIGITS / "digits-1.1.onnx", tmp_path / "spiked.onnx"),
        name="spiked",
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        precisions=(Precision.INT8,),
    )
    assert result.manifest is not None
    int8 = result.manifest.variant("x86-onnxruntime.int8")
    assert int8 is not None
    assert int8.parameters["keep_float"].split() == sorted(NODES)
    assert int8.measurements.drop_points <= 1.0
    report = next(v for v in result.report.classes[0].variants if v.name == int8.name)
    assert any("accuracy control met the budget" in note and "spiked" in note for note in report.notes)

    given_up = bench.build(
        model=tmp_path / "spiked.onnx",
        output=tmp_path / "out" / "without",
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        precisions=(Precision.INT8,),
        limits=replace(bench.request.limits, tuning_s=0.0),
    )
    refused = next(v for v in given_up.report.classes[0].variants if not v.accepted)
    assert refused.measurements is not None
    assert refused.measurements.drop_points > 50
