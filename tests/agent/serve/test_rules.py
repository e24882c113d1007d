"""The data plane's pure rules: crashes, budget, sampling, probation, swap gaps, closed windows, the pair
lock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.serve.budget import BURST_S, ComputeBudget
from modelfleet_agent.serve.crashes import MAX_BACKOFF_S, CrashRecord
from modelfleet_agent.serve.pair_lock import PairLock
from modelfleet_agent.serve.probation import MAX_FAILURE_SHARE, Probation
from modelfleet_agent.serve.sampling import is_mirrored
from modelfleet_agent.serve.swap import OBSERVED_S, SwapGaps
from modelfleet_agent.serve.windows import ClosedWindows
from modelfleet_core.error_codes import Code
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import Report


def test_three_deaths_within_a_minute_are_a_loop() -> None:
    record = CrashRecord()
    assert record.died(0.0) == 0.0
    assert record.died(30.0) == 0.5
    assert not record.looping(30.0)
    assert record.died(60.0) == 1.0
    assert record.looping(60.0)
    assert not record.looping(90.5)


def test_deaths_far_apart_are_no_loop() -> None:
    record = CrashRecord()
    for instant in (0.0, 61.0, 122.0, 183.0):
        assert record.died(instant) == 0.0
        assert not record.looping(instant)
    assert record.total == 4


def test_back_off_is_bounded() -> None:
    record = CrashRecord()
    delays = [record.died(float(second)) for second in range(40)]
    assert delays == sorted(delays)
    assert delays[-1] == MAX_BACKOFF_S


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5)), max_size=60), st.floats(0.01, 1.0))
def test_the_budget_is_kept_over_any_time(jobs: list[tuple[float, float]], share: float) -> None:
    budget = ComputeBudget(share, 0.0)
    now, spent, largest = 0.0, 0.0, 0.0
    for pause, cost in jobs:
        now += pause
        if budget.may_begin(now):
            budget.spend(cost)
            spent += cost
            largest = max(largest, cost)
    assert spent <= share * (now + BURST_S) + largest + 1e-9


def test_without_a_budget_nothing_begins() -> None:
    assert not ComputeBudget(0.0, 0.0).may_begin(1000.0)


@given(st.binary(min_size=1, max_size=64), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_mirrors_what_a_smaller_one_does(data: bytes, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_mirrored(data, large) or not is_mirrored(data, small)
    assert is_mirrored(data, small) == is_mirrored(memoryview(data), small)


def test_the_share_is_about_the_share() -> None:
    chosen = sum(is_mirrored(number.to_bytes(4, "big") * 8, 0.05) for number in range(20_000))
    assert 850 <= chosen <= 1150
    assert not is_mirrored(b"x", 0.0)
    assert is_mirrored(b"x", 1.0)


def test_a_hang_ends_probation_at_once() -> None:
    fall = Probation().failed(Code.WORKER_HUNG)
    assert fall is not None
    assert fall.code is Code.WORKER_HUNG


def test_two_failures_are_an_accident_and_three_are_not() -> None:
    probation = Probation()
    assert probation.failed(Code.OUTPUT_NOT_FINITE) is None
    assert probation.failed(Code.OUTPUT_NOT_FINITE) is None
    fall = probation.failed(Code.OUTPUT_NOT_FINITE)
    assert fall is not None
    assert fall.code is Code.OUTPUT_NOT_FINITE
    assert "3 of 3" in fall.reason


def test_a_tolerated_share_of_failures_is_tolerated() -> None:
    probation = Probation()
    for _ in range(round(3 / MAX_FAILURE_SHARE)):
        probation.answered()
    assert [probation.failed(Code.INFERENCE_FAILED) for _ in range(3)] == [None] * 3
    fall = probation.failed(Code.INFERENCE_FAILED)
    assert fall is not None
    assert fall.code is Code.TOO_MANY_FAILURES


def test_the_gap_is_what_a_request_waited_without_being_worked_on() -> None:
    gaps = SwapGaps()
    gaps.answered(0.0, 0.5, 0.1)
    assert gaps.worst_s == 0.0, "no swap yet"
    gaps.flipped(1.0)
    gaps.answered(0.9, 1.2, 0.25)
    assert gaps.worst_s == pytest.approx(0.05)
    gaps.answered(1.1, 1.3, 0.19)
    assert gaps.worst_s == pytest.approx(0.05), "a smaller one changes nothing"
    gaps.answered(1.0 + OBSERVED_S + 0.01, 9.0, 0.0)
    assert gaps.worst_s == pytest.approx(0.05), "too late to have met the swap"
    assert gaps.count == 1


def report(window: int) -> Report:
    return Report(window, 1.0, "digits", "op", "a" * 64, None, Mode.SHADOW)


def test_windows_are_kept_until_acknowledged() -> None:
    windows = ClosedWindows(first=5000)
    for index in range(5):
        windows.add(report(index))
    first = windows.take(0, limit=3)
    assert [item.report.window for item in first] == [0, 1, 2]
    assert windows.take(0, limit=3) == first, "not acknowledged: given again"
    assert [item.report.window for item in windows.take(first[1].cursor)] == [2, 3, 4]
    assert len(windows) == 3


def test_the_oldest_window_is_dropped_and_counted() -> None:
    windows = ClosedWindows(kept=2)
    for index in range(5):
        windows.add(report(index))
    assert [item.report.window for item in windows.take(0)] == [3, 4]
    assert windows.lost == 3


def test_an_acknowledgement_of_another_boot_forgets_nothing() -> None:
    windows = ClosedWindows(first=5000)
    windows.add(report(1))
    assert len(windows.take(4999)) == 1, "an earlier boot"
    assert len(windows.take(9000)) == 1, "a later one"


def test_one_pair_at_a_time(tmp_path: Path) -> None:
    async def race() -> tuple[bool, bool, bool]:
        one, other = PairLock(tmp_path / "pair.lock"), PairLock(tmp_path / "pair.lock")
        async with one.held() as first, other.held(wait_s=0.005) as second:
            pass
        async with other.held() as third:
            pass
        one.close()
        other.close()
        return first, second, third

    assert asyncio.run(race()) == (True, False, True)
