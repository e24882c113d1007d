"""The search for ratio and knobs, with tries on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelfleet_build.budget import BudgetRefusal
from modelfleet_build.port import Recipe
from modelfleet_build.progress import silent
from modelfleet_build.request import Objective
from modelfleet_build.search import Choice, Knobs, Range, Space
from modelfleet_build.training import evidence
from modelfleet_build.training.contest import contest_of, reported
from modelfleet_build.training.report import ModelReport, SearchReport, TryReport
from modelfleet_build.training.request import HookSearch, PruneRequest
from modelfleet_build.training.run import again, prune
from modelfleet_build.training.search import best_of, conclusion, explored
from modelfleet_build.trials import Trial
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.manifest import Measurements, Precision

SPACE: Space = {"ratio": Range(0.0, 0.7, 0.05), "width": Range(0.5, 1.0), "size": Choice((24, 32))}
WANTED = HookSearch(tries=4)


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
        "latency_ratio": 0.8,
        "latency_ratio_high": 0.9,
    }
    return Measurements(**{**given, **changes})  # type: ignore[arg-type]  # each key has its field's type


def made(cost: float | None, *, macs: int | None = 7, seconds: float = 10.0, **changes: object) -> TryReport:
    found = measured(**changes) if macs is not None else None
    reason = "" if cost is not None else "it loses too much"
    return TryReport(
        {"ratio": 0.3}, "fp32", cost, cost is not None, reason, seconds, macs=macs, measurements=found
    )


def ended(knobs: Knobs, cost: float | None) -> TryReport:
    return TryReport(knobs, "fp32", cost, cost is not None, "", 10.0)


def test_every_try_is_within_the_space_and_none_comes_twice() -> None:
    seen: list[Knobs] = []

    def attempt(knobs: Knobs) -> TryReport:
        seen.append(knobs)
        return ended(knobs, float(len(seen)))

    tries = explored(SPACE, attempt, 12, lambda: 1e9, runs=2)
    assert [item.knobs for item in tries] == seen
    assert len({tuple(knobs.values()) for knobs in seen}) == len(seen) == 12
    for knobs in seen:
        ratio, width = float(knobs["ratio"]), float(knobs["width"])
        assert 0 <= ratio <= 0.7
        assert round(20 * ratio, 6) % 1 == 0
        assert 0.5 <= width <= 1
        assert knobs["size"] in (24, 32)
    before, seen = seen, []
    explored(SPACE, attempt, 12, lambda: 1e9, runs=2)
    assert before == seen, "the sampler is seeded"


def test_a_space_that_is_used_up_ends_the_search() -> None:
    tries = explored({"size": Choice((24, 32))}, lambda knobs: ended(knobs, 1.0), 50, lambda: 1e9, 1)
    assert sorted(int(item.knobs["size"]) for item in tries) == [24, 32]


def test_the_sampler_learns_from_what_the_tries_cost() -> None:
    """Least at ratio 0.5; over the budget beyond 0.6: late tries are nearer than early ones."""

    def attempt(knobs: Knobs) -> TryReport:
        ratio = float(knobs["ratio"])
        return ended(knobs, abs(ratio - 0.5) + float(knobs["width"]) if ratio <= 0.6 else None)

    tries = explored(SPACE, attempt, 40, lambda: 1e9, runs=1)
    costs = [item.cost for item in tries if item.cost is not None]
    assert sum(costs[-10:]) < sum(costs[:10])
    assert tries[best_of(tries, 1.0)].cost == min(costs)


def test_no_try_is_begun_that_leaves_no_time_for_the_result() -> None:
    """Tries of 10 s, three runs for the result: after six of them the 40 s of 100 s
    that are left would be used up to the last."""
    left = 100.0

    def attempt(knobs: Knobs) -> TryReport:
        nonlocal left
        left -= 10
        return ended(knobs, 1.0)

    assert len(explored(SPACE, attempt, 50, lambda: left, runs=3)) == 6
    assert left == 40, "another try and three runs need 40 s, and there are no more"
    left = 5.0
    assert len(explored(SPACE, attempt, 50, lambda: left, runs=3)) == 1, "the first is made in any case"


def test_the_cheapest_answer_wins_and_one_over_the_budget_never() -> None:
    assert best_of((made(0.9), made(None), made(0.7), made(0.7)), 1.0) == 2


def test_where_none_is_an_answer_the_nearest_is_told() -> None:
    with pytest.raises(CallerError) as caught:
        best_of(
            (made(None, drop_points=30.0), made(None, drop_points=4.0, macs=9), made(None, macs=None)), 1.0
        )
    assert caught.value.code is Code.BUDGET_EXCEEDED
    assert "none of 3 tries is an answer; the nearest (ratio 0.3): it loses too much" in caught.value.happened
    with pytest.raises(WorldError) as failed:
        best_of((made(None, macs=None),), 1.0)
    assert failed.value.code is Code.HOOK_FAILED


@pytest.mark.parametrize(
    ("parent", "best", "said"),
    [
        (1.0, made(0.8), "best: ratio 0.3, fp32"),
        (1.0, made(0.97, latency_ratio_high=1.02), "not faster than the parent beyond the noise"),
        (0.7, made(0.8), "the parent's own fp32 is no worse"),
    ],
)
def test_no_more_is_concluded_than_was_measured(parent: float, best: TryReport, said: str) -> None:
    told = conclusion(made(parent), (best, made(None)), 0, Objective.LATENCY, WANTED)
    assert told.startswith("search for latency: 2 of 4 tries made, 1 within the budget of 1 points")
    assert told.endswith(said)


@pytest.mark.parametrize(
    ("right", "said"), [((300, 295), ""), ((300, 290), "; trained again, 1 of 2 results lose")]
)
def test_a_winner_that_does_not_keep_the_budget_is_told(right: tuple[int, ...], said: str) -> None:
    searched = SearchReport("size", "", "fp32", 2.0, 1, made(1.0), (made(0.5),), 0, "found")
    old, share = np.ones(300, np.bool_), evidence.wilson(1, 2)
    models = [
        ModelReport(
            name, 0, 1, 1, 1, 0.9, share, against_parent=evidence.compare(old, np.arange(300) < count)
        )
        for name, count in (("pruned", 10), *(("result", count) for count in right))
    ]
    told = again(searched, tuple(models)).conclusion
    assert told == "found" if not said else told.startswith(f"found{said}")


def variant(name: str, refused: str = "", **changes: object) -> Trial:
    trial = Trial(f"try-1.{name}", Recipe(name, Precision.FP32), measurements=measured(**changes))
    trial.refusal = BudgetRefusal(Code.BUDGET_EXCEEDED, refused) if refused else None
    return trial


def test_a_try_is_as_good_as_its_best_variant_within_the_budget() -> None:
    trials = [
        variant("fp32"),
        variant("int8", size_bytes=30, refused="loses 9"),
        variant("fp16", size_bytes=60),
    ]
    best = reported({"ratio": 0.1}, trials, Objective.SIZE)
    assert (best.variant, best.cost, best.within, best.reason) == ("fp16", 60.0, True, "")
    none = reported(
        {},
        [variant("fp32", "loses 5", drop_points=5.0), variant("int8", "loses 9", drop_points=9.0)],
        Objective.SIZE,
    )
    assert (none.variant, none.cost, none.within, none.reason) == ("fp32", None, False, "fp32: loses 5")
    untimed = reported({}, [variant("int8", latency_us=None, latency_ratio=None)], Objective.LATENCY)
    assert (untimed.cost, untimed.within, untimed.reason) == (None, True, "latency is not measured here")


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (HookSearch(tries=0), Code.BUILD_REQUEST),
        (HookSearch(tries=1001), Code.BUILD_REQUEST),
        (HookSearch(tries=2, max_drop_points=101), Code.BUILD_REQUEST),
        (HookSearch(tries=2, device_class="x86-onnxruntim"), Code.BUILD_CLASS_UNKNOWN),
    ],
)
def test_a_search_is_refused_at_the_door(tmp_path: Path, wanted: HookSearch, code: Code) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text("")
    request = PruneRequest(hook, tmp_path / "v.npz", tmp_path / "out", tmp_path / "envs", search=wanted)
    with pytest.raises(CallerError) as caught:
        prune(request, silent, SystemClock())
    assert caught.value.code is code
    assert not (tmp_path / "envs").exists()


def test_without_a_class_it_is_fp32_in_onnx_runtime_and_with_one_its_recipes(tmp_path: Path) -> None:
    request = PruneRequest(tmp_path / "hook.py", tmp_path / "v.npz", tmp_path / "out", tmp_path / "envs")
    plain = contest_of(request, HookSearch(tries=1))
    assert ([recipe.name for recipe in plain.recipes], plain.objective) == (["fp32"], Objective.LATENCY)
    assert plain.device_class.runtime == "onnxruntime"
    micro = contest_of(request, HookSearch(tries=1, device_class="x86-onnxruntime", objective=Objective.SIZE))
    assert [recipe.name for recipe in micro.recipes] == ["fp32", "fp16", "int8", "int8-dynamic"]
    assert (micro.objective, micro.order.max_drop_points) == (Objective.SIZE, 1.0)
