"""What may be claimed of two models on the same samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.training import evidence
from modelfleet_build.training.evidence import Difference, Flags, Verdict
from modelfleet_build.training.run import conclusion


def flags(right: int, samples: int) -> Flags:
    return np.arange(samples) < right


@pytest.mark.parametrize(
    ("won", "lost", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (0, 6, 2 / 64),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
        (7, 7, 1.0),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int, p_value: float) -> None:
    assert evidence.mcnemar(won, lost) == pytest.approx(p_value)
    assert evidence.mcnemar(lost, won) == pytest.approx(p_value)


def test_wilson_by_hand() -> None:
    # 297 of 300: the textbook's formula with z = 1.96
    interval = evidence.wilson(297, 300)
    assert (interval.low, interval.high) == pytest.approx((0.9710, 0.9966), abs=1e-4)
    assert evidence.wilson(300, 300).high == pytest.approx(1.0)
    assert evidence.wilson(0, 300).low == pytest.approx(0.0)


def test_one_image_of_300_is_noise_and_twenty_are_not() -> None:
    old = flags(290, 300)
    assert evidence.compare(old, flags(291, 300)).verdict is Verdict.NOISE
    assert evidence.compare(old, flags(295, 300)).verdict is Verdict.NOISE, "5 of 5 pairs: p = 0.0625"
    better = evidence.compare(flags(270, 300), flags(290, 300))
    assert (better.verdict, better.won, better.lost) == (Verdict.BETTER, 20, 0)
    assert better.points == pytest.approx(100 * 20 / 300)
    assert better.interval.low < better.points < better.interval.high
    assert evidence.compare(flags(290, 300), flags(270, 300)).verdict is Verdict.WORSE


@given(
    st.integers(2, 60).flatmap(
        lambda n: st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n)
    )
)
def test_a_difference_turned_round_is_the_opposite(pairs: list[tuple[bool, bool]]) -> None:
    old, new = (np.array(side, np.bool_) for side in zip(*pairs, strict=True))
    there, back = evidence.compare(old, new), evidence.compare(new, old)
    assert there.points == pytest.approx(-back.points)
    assert (there.won, there.lost, there.p_value) == (back.lost, back.won, back.p_value)
    assert evidence.compare(old, old).verdict is Verdict.NOISE
    if there.verdict is not Verdict.NOISE:
        assert (there.verdict is Verdict.BETTER) == (there.points > 0)
        assert there.p_value < 0.05


def test_equal_models_are_hardly_ever_called_different() -> None:
    """The rate of false claims: two models of the same accuracy, 400 times; 5 % would be 20."""
    random = np.random.default_rng(7)
    claims = 0
    for _ in range(400):
        old, new = random.random((2, 300)) < 0.95
        claims += evidence.compare(old, new).verdict is not Verdict.NOISE
    assert claims <= 20


def test_a_gain_needs_every_seed_and_a_loss_one() -> None:
    better = evidence.compare(flags(270, 300), flags(290, 300))
    same = evidence.compare(flags(290, 300), flags(291, 300))
    assert evidence.together([better, better]) is Verdict.BETTER
    assert evidence.together([better, same]) is Verdict.NOISE
    worse = evidence.compare(flags(290, 300), flags(270, 300))
    assert evidence.together([same, worse, better]) is Verdict.WORSE
    told = conclusion([same, worse], Verdict.WORSE, None)
    assert told == "accuracy is worse than the parent's (-6.67 to +0.33 points over 2 seeds)"


@pytest.mark.parametrize(
    ("verdict", "beside", "said"),
    [
        (Verdict.NOISE, Verdict.NOISE, "within noise"),
        (Verdict.BETTER, None, "it may come from the training alone, no control was run"),
        (Verdict.BETTER, Verdict.NOISE, "it comes from the training, not from pruning"),
        (Verdict.BETTER, Verdict.BETTER, "accuracy is better than the parent's (+6.67 points"),
        (Verdict.WORSE, None, "accuracy is worse than the parent's"),
    ],
)
def test_no_gain_is_credited_to_pruning_that_training_alone_brings(
    verdict: Verdict, beside: Verdict | None, said: str
) -> None:
    difference: Difference = evidence.compare(flags(270, 300), flags(290, 300))
    assert said in conclusion([difference], verdict, beside)
