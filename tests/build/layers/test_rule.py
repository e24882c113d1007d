"""The rule and the diagnoses on numbers made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.layers import rule
from modelfleet_build.layers.diagnosis import Evidence, diagnose
from modelfleet_build.layers.parent import Place
from modelfleet_build.layers.report import Layer
from modelfleet_build.layers.statistics import LayerSums
from modelfleet_build.layers.tap import stored_range
from modelfleet_core.release.manifest import Precision

INT8 = Precision.INT8


def layer(name: str, own: float, **changes: Any) -> Layer:
    made = Layer(
        value=name,
        node=f"/{name}",
        operators=("Conv",),
        own_error=own,
        total_error=own,
        channel_error=own,
        cosine=1.0,
        sqnr_db=None,
        step=None,
        low=None,
        high=None,
        parent_low=-1.0,
        parent_high=1.0,
        saturated=None,
        beyond=None,
        not_finite=0,
    )
    return replace(made, **changes)


def judged(layers: list[Layer], effect: float | None = 1.0) -> tuple[list[str], str | None]:
    """Names of the suspects, and of the one that diverges, where each suspect has that effect."""
    bounds = rule.limits(INT8, layers)
    marked = [
        replace(item, suspect=True, effect=effect if item.effect is None else item.effect)
        if rule.is_suspect(item, bounds)
        else item
        for item in layers
    ]
    found = rule.first(marked, bounds)
    return [item.value for item in marked if item.suspect], found.value if found is not None else None


HEALTHY = [layer(name, 0.01) for name in "abcdef"]


def test_the_first_of_two_is_named() -> None:
    assert judged([*HEALTHY, layer("x", 0.3), layer("y", 0.9)]) == (["x", "y"], "x")


def test_an_error_below_the_floor_is_none() -> None:
    assert judged([*HEALTHY, layer("x", 0.099)]) == ([], None)


def test_a_network_that_is_coarse_everywhere_has_no_outlier() -> None:
    coarse = [layer(name, 0.09) for name in "abcdef"]
    assert judged([*coarse, layer("x", 0.3)]) == ([], None)
    assert judged([*coarse, layer("x", 0.37)]) == (["x"], "x")


def test_one_wrong_channel_is_enough() -> None:
    assert judged([*HEALTHY, layer("x", 0.05, channel_error=0.31)]) == (["x"], "x")
    assert judged([*HEALTHY, layer("x", 0.05, channel_error=0.29)]) == ([], None)


def test_damage_that_no_output_feels_diverges_nowhere() -> None:
    layers = [*HEALTHY, layer("x", 0.5, effect=0.01), layer("y", 0.4)]
    assert judged(layers) == (["x", "y"], "y")
    bounds = rule.limits(INT8, layers[:-1])
    alone = [replace(item, suspect=item.value == "x") for item in layers[:-1]]
    assert rule.first(alone, bounds) is None
    assert "Conv /x stands out, but no output feels it" in rule.verdict(alone, bounds, None)


def test_nan_needs_no_effect() -> None:
    assert judged([*HEALTHY, layer("x", 0.0, not_finite=3, effect=0.0)]) == (["x"], "x")


def test_nothing_to_compare_is_said() -> None:
    assert rule.verdict([], rule.limits(INT8, []), None) == "nothing could be compared"


# ------------------------------------------------------------------------------------------ diagnoses
RANDOM = np.random.default_rng(11)
IMAGE = RANDOM.normal(0, 1, (4, 8, 12, 12)).astype(np.float32)


def kind(variant: Any, forced: Any = IMAGE, **changes: Any) -> tuple[str, str]:
    stored = changes.pop("stored", None)
    evidence = Evidence(np.asarray(variant, np.float32), np.asarray(forced, np.float32), stored)
    found = diagnose(layer("x", 0.5, **changes), evidence)
    assert found.todo
    return found.kind, found.why


def test_every_kind_is_told() -> None:
    assert kind(2 * IMAGE) == ("gain", "its values are 2 times what they should be: a scale is wrong")
    assert kind(IMAGE + 0.7)[0] == "offset"
    assert "shifted by 0.7" in kind(IMAGE + 0.7)[1]
    assert kind(np.roll(IMAGE, (1, -1), (2, 3))) == (
        "displaced",
        "its image is displaced by -1 rows and 1 columns: the padding is another",
    )
    frame = IMAGE.copy()
    frame[:, :, 0] = 0
    frame[:, :, :, -1] = 0
    assert kind(frame)[0] == "border"
    swapped = IMAGE.copy()
    swapped[:, [2, 5]] = IMAGE[:, [5, 2]]
    told = kind(swapped)
    assert told[0] == "channels"
    assert (
        "channels 2, 5 of 8 carry 100 % of its error; channel 2 holds what belongs into channel 5" in told[1]
    )
    assert kind(RANDOM.normal(0, 1, IMAGE.shape))[0] == "values"
    assert kind(IMAGE, not_finite=5)[0] == "not_finite"


def test_a_clipped_range_is_told_with_its_end() -> None:
    stored = stored_range(1.0 / 127, 0, np.int8)
    found, why = kind(np.clip(IMAGE, -1, 1), stored=stored)
    assert found == "range"
    assert "its range is clipped at " in why
    assert " % of its values lie beyond" in why


def test_a_range_that_is_far_too_wide_is_told() -> None:
    step = 3.0
    stored = stored_range(step, 0, np.int8)
    found, why = kind(np.rint(IMAGE / step) * step, stored=stored)
    assert found == "step"
    assert "in steps of 3, range -384 to 381, while the float model stays within -1 to 1" in why


# ------------------------------------------------------------------------------------------ numbers
@given(st.integers(1, 5), st.floats(0.0, 2.0), st.integers(0, 2**32 - 1))
def test_sums_over_samples_are_those_of_all_at_once(samples: int, noise: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    parent, forced = (random.normal(0, 1, (samples, 3, 4, 4)).astype(np.float32) for _ in (0, 1))
    variant = (forced + noise * random.normal(0, 1, forced.shape)).astype(np.float32)
    sums = LayerSums(stored_range(0.01, 0, np.int8))
    for row in range(samples):
        sums.add(parent[row : row + 1], variant[row : row + 1], forced[row : row + 1])
    found = sums.layer("x", Place("n", ("Conv",)))
    p, v, f = (item.astype(np.float64) for item in (parent, variant, forced))
    rms = np.sqrt((p**2).mean())
    assert found.total_error == pytest.approx(np.sqrt(((v - p) ** 2).mean()) / rms, rel=1e-6)
    assert found.own_error == pytest.approx(np.sqrt(((v - f) ** 2).mean()) / rms, rel=1e-6, abs=1e-12)
    worst = max(np.sqrt(((v - f)[:, c] ** 2).mean()) for c in range(3)) / rms
    assert found.channel_error == pytest.approx(worst, rel=1e-6, abs=1e-12)
    assert found.cosine == pytest.approx((p * v).sum() / np.sqrt((p**2).sum() * (v**2).sum()))
    assert found.low == pytest.approx(-1.28)
    assert found.high == pytest.approx(1.27)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    sums = LayerSums(None)
    forced = np.ones((1, 2, 2), np.float32)
    variant = forced.copy()
    variant[0, 0, 0] = np.nan
    sums.add(forced, variant, forced)
    found = sums.layer("x", Place("n", ("Div",)))
    assert (found.not_finite, found.own_error) == (1, 0.0)
    # Where the parent itself is not finite nothing is held against the variant.
    again = LayerSums(None)
    again.add(variant, variant, variant)
    assert again.layer("x", Place("n", ("Div",))).not_finite == 0
