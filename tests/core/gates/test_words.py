"""Numbers in plain words."""

from __future__ import annotations

import pytest

from modelfleet_core.gates import words
from modelfleet_core.gates.wealth import HUGE
from modelfleet_core.rollout.gate import Metric


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (words.duration(0.4), "0.4 s"),
        (words.duration(40), "40 s"),
        (words.duration(119), "119 s"),
        (words.duration(720), "12 min"),
        (words.duration(5400), "90 min"),
        (words.duration(9000), "2.5 h"),
        (words.duration(3 * 86_400), "3 d"),
        (words.duration(-5), "0 s"),
        (words.odds(41.2), "41:1"),
        (words.odds(6.04), "6:1"),
        (words.odds(0.034), "0.034:1"),
        (words.odds(279_649.0), "279649:1"),
        (words.odds(4.2e9), "4e9:1"),
        (words.odds(HUGE), "over 1e300:1"),
        (words.amount(Metric.LATENCY_P95, 0.18), "+18 %"),
        (words.amount(Metric.LATENCY_P95, -0.004), "-0.4 %"),
        (words.amount(Metric.ERRORS, 0.005), "0.5 %"),
        (words.amount(Metric.GOLDEN, 0.02), "2 pt"),
        (words.share(0.95), "95 %"),
        (words.count(1, "device"), "1 device"),
        (words.count(0, "device"), "0 devices"),
        (words.listed(["a", "b"]), "a, b"),
        (words.listed([str(k) for k in range(8)]), "0, 1, 2, 3, 4 and 3 more"),
    ],
)
def test_numbers_are_said_plainly(said: str, text: str) -> None:
    assert said == text


def test_every_metric_has_a_name() -> None:
    assert len({words.name_of(metric) for metric in Metric}) == len(Metric)
