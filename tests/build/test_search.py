"""The search for a better variant, with variants on paper; and once for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfleet_build.budget import BudgetRefusal
from modelfleet_build.child.jobs import Sensitivities, Sensitivity
from modelfleet_build.classes import ClassBuilder
from modelfleet_build.optimizers.onnxruntime import plugin
from modelfleet_build.pipeline import build
from modelfleet_build.port import Recipe
from modelfleet_build.progress import Happening, ProgressEvent, Step
from modelfleet_build.registry import recipe_of
from modelfleet_build.request import Objective
from modelfleet_build.search import cost, search, space
from modelfleet_build.trials import Trial
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, WorldError
from modelfleet_core.release.manifest import FLOATS, AcceleratorUse, Measurements, Precision

from .conftest import DIGITS, Bench

RECIPES = tuple(Recipe(f"r{i}", Precision.INT8, {"step": str(i)}) for i in range(12))


def measured(**changes: object) -> Measurements:
    given = {
        "metric": "top1",
        "value": 0.9,
        "parent_value": 0.9,
        "drop_points": 0.0,
        "agreement": 1.0,
        "size_bytes": 100,
        "samples": 10,
        "latency_us": 5.0,
    }
    return Measurements(**{**given, **changes})  # type: ignore[arg-type]  # each key has its field's type


def trial(recipe: Recipe, *, over: bool = False, **changes: object) -> Trial:
    made = Trial("c.searched", recipe, measurements=measured(**changes))
    made.refusal = BudgetRefusal(Code.BUDGET_EXCEEDED, "too much") if over else None
    return made


def test_the_cheapest_within_the_budget_is_found() -> None:
    """r3 is the fastest and over the budget; of the others r7 is."""
    ratios = {name: 1.0 for name in range(12)} | {3: 0.1, 7: 0.5}

    def attempt(recipe: Recipe) -> Trial:
        step = int(recipe.parameters["step"])
        return trial(recipe, over=step == 3, latency_ratio=ratios[step])

    found = search(RECIPES, attempt, Objective.LATENCY, tries=12)
    assert found.best is not None
    assert found.best.recipe.name == "r7"
    assert (found.tries, found.within) == (12, 11)
    assert "12 variants tried, 11 within the budget; best: r7" in found.sentence(Objective.LATENCY)


@pytest.mark.parametrize("tries", [1, 5, 100])
def test_no_variant_is_tried_twice_and_none_beyond_the_number(tries: int) -> None:
    seen: list[str] = []

    def attempt(recipe: Recipe) -> Trial:
        seen.append(recipe.name)
        return trial(recipe, latency_ratio=1.0 + len(seen))

    found = search(RECIPES, attempt, Objective.LATENCY, tries)
    assert len(seen) == len(set(seen)) == found.tries <= min(tries, len(RECIPES))


def test_the_same_search_tries_the_same() -> None:
    runs: list[list[str]] = []
    for _ in range(2):
        seen: list[str] = []

        def attempt(recipe: Recipe, seen: list[str] = seen) -> Trial:
            seen.append(recipe.name)
            return trial(recipe, latency_ratio=float(recipe.parameters["step"]))

        search(RECIPES, attempt, Objective.LATENCY, 6)
        runs.append(seen)
    assert runs[0] == runs[1]


def test_where_nothing_is_within_the_budget_nothing_is_found() -> None:
    found = search(RECIPES, lambda recipe: trial(recipe, over=True), Objective.SIZE, 4)
    assert (found.best, found.within, found.tries) == (None, 0, 4)


def test_what_an_objective_costs() -> None:
    npu = AcceleratorUse(10, 9, cycles=1234)
    assert cost(trial(RECIPES[0], latency_ratio=0.7), Objective.LATENCY) == 0.7
    assert cost(trial(RECIPES[0]), Objective.LATENCY) == 1.0
    assert cost(trial(RECIPES[0], latency_us=None, accelerator=npu), Objective.LATENCY) == 1234
    assert cost(trial(RECIPES[0], latency_us=None), Objective.LATENCY) is None
    assert cost(trial(RECIPES[0]), Objective.SIZE) == 100
    assert cost(trial(RECIPES[0], value=0.8), Objective.ACCURACY) == -0.8
    assert cost(trial(RECIPES[0], arena_bytes=7, rss_bytes=9), Objective.MEMORY) == 7
    assert cost(trial(RECIPES[0]), Objective.MEMORY) is None
    assert cost(trial(RECIPES[0], over=True), Objective.SIZE) is None


def test_the_space_is_recipes_times_settings_times_protection() -> None:
    found = Sensitivities(1.0, (Sensitivity("a", ("a",), 0.1), Sensitivity("b", ("b",), 0.2)), 2)
    recipes = (recipe_of(plugin, "fp16"), recipe_of(plugin, "int8"))
    points = space(plugin, recipes, found, operators=10)
    methods = {"minmax", *(item.parameters["calibration"] for item in plugin.alternatives(recipes[1]))}
    assert len(methods) > 2
    assert len(points) == 1 + 3 * len(methods)
    assert all(not point.keep_float for point in points if point.precision in FLOATS)
    assert {point.parameters["calibration"] for point in points[1:]} == methods
    assert len({(p.name, str(p.parameters), p.keep_float) for p in points}) == len(points)


def test_a_search_without_optuna_is_refused_before_anything_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfleet_build.search.find_spec", lambda name: None)
    with pytest.raises(WorldError) as caught:
        bench.build(search=1)
    assert caught.value.code is Code.OPTIMIZER_MISSING
    assert bench.events == []


def test_what_a_search_found_and_cannot_be_kept_fails_no_build(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = ClassBuilder._accepted

    def unable(self: ClassBuilder, trial: Trial) -> Any:
        if trial.name.endswith(".searched"):
            raise IntegrityError(Code.VARIANT_NOT_FINITE, "no finite answer", expected="one", todo="none")
        return accepted(self, trial)

    tried: list[list[str]] = []

    def watch(event: ProgressEvent) -> None:
        bench.events.append(event)
        if event.step is Step.TUNE and event.happening is Happening.DONE:
            (space,) = (bench.folder / "out").iterdir()
            tried.append([path.name for path in space.iterdir() if ".searched" in path.name])

    monkeypatch.setattr(ClassBuilder, "_accepted", unable)
    result = build(replace(bench.request, search=1), watch, SystemClock())
    assert [[name for name in names if name.startswith(("files-", "golden-"))] for names in tried] == [[]]
    assert result.manifest is not None
    assert [item.name for item in result.manifest.variants] == ["x86-onnxruntime.fp32"]
    assert "not kept: no finite answer" in [event.detail for event in bench.events]


@pytest.mark.slow
def test_a_search_adds_a_variant_that_was_measured_again(bench: Bench, tmp_path: Path) -> None:
    result = bench.build(
        model=DIGITS / "digits-1.1.onnx",
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        objective=Objective.SIZE,
        search=3,
        limits=replace(bench.request.limits, tuning_s=20),
        output=tmp_path / "out" / "searched",
    )
    assert result.manifest is not None
    searched = result.manifest.variant("x86-onnxruntime.searched")
    assert searched is not None
    report = next(v for v in result.report.classes[0].variants if v.name == searched.name)
    assert any("search for size: 3 variants tried" in note for note in report.notes)
    smallest = min(v.measurements.size_bytes for v in result.manifest.variants)
    assert (
        result.report.classes[0].choice.endswith("searched") or searched.measurements.size_bytes >= smallest
    )
    assert searched.recipe in {recipe.name for recipe in plugin.recipes}
