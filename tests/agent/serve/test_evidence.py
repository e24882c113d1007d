"""From what happens to one report per window: nothing mixed, nothing lost, no key twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.serve.evidence import Evidence, Subject, Surroundings, score_bin
from modelfleet_agent.worker.protocol import Compared
from modelfleet_core.gates.scores import check_report
from modelfleet_core.sketch.histogram import Histogram
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import MAX_SKETCH, GoldenCount, Report

A, B, C = "a" * 64, "b" * 64, "c" * 64
SHADOW = Subject("digits", "op-1", B, A, Mode.SHADOW, 10.0)
LIVE = replace(SHADOW, mode=Mode.LIVE)
OTHER_OPERATION = replace(SHADOW, operation="op-2")
OTHER_RELEASE = replace(LIVE, release=C)
NOTHING = Surroundings()
ONE = Compared(1, 1, 1, 0, 0, 0, (0.99,), (0.42,))


def test_a_window_closes_when_it_has_ended() -> None:
    evidence = Evidence()
    assert evidence.turn_to(SHADOW, 1003.0, NOTHING) is None
    assert not evidence.is_due(1009.9)
    assert evidence.close_due(1009.9, NOTHING) is None
    assert evidence.is_due(1010.0)
    closed = evidence.close_due(1010.0, NOTHING)
    assert closed is not None
    assert (closed.window, closed.n, closed.mode, closed.served) == (100, 0, Mode.SHADOW, 0)
    assert closed.latency is None
    assert closed.agreement is None
    assert closed.coverage is not None


def test_everything_that_happened_stands_in_the_report() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    evidence.served(A, by_fallback=False)
    evidence.failed()
    for _ in range(4):
        evidence.offered()
    evidence.dropped(budget=True)
    evidence.dropped(budget=False)
    evidence.mirrored(1, candidate_failed=0, incumbent_failed=0, both=ONE)
    evidence.mirrored(
        3,
        candidate_failed=1,
        incumbent_failed=0,
        both=Compared(3, 2, 1, 1, 1, 0, (1.0, 0.0), (0.5, 0.04)),
    )
    evidence.paired(0.002, 0.001)
    golden = GoldenCount(64, 60, 61)
    closed = evidence.close_due(1010.0, Surroundings(7, 8, golden))
    assert closed is not None
    assert (closed.served, closed.served_failed, closed.candidate_answers) == (1, 1, 0)
    assert (closed.n, closed.candidate_only_failed, closed.incumbent_failed) == (4, 1, 0)
    assert closed.agreement is not None
    assert (closed.agreement.compared, closed.agreement.agreed, closed.agreement.close) == (3, 2, 1)
    assert closed.coverage is not None
    assert (closed.coverage.offered, closed.coverage.run) == (4, 2)
    assert (closed.coverage.dropped_queue, closed.coverage.dropped_budget) == (1, 1)
    assert closed.scores is not None
    assert (sum(closed.scores.candidate), closed.scores.candidate[19], closed.scores.candidate[0]) == (
        3,
        2,
        1,
    )
    assert (closed.scores.incumbent[8], closed.scores.incumbent[10], closed.scores.incumbent[0]) == (1, 1, 1)
    assert closed.latency is not None
    assert closed.latency.count == 1
    quantile = Histogram.from_wire(closed.latency.candidate).quantile(0.5)
    assert quantile is not None
    assert abs(quantile - 0.002) < 0.0001
    assert (closed.rss_candidate_bytes, closed.rss_incumbent_bytes) == (7, 8)
    assert closed.golden == golden
    check_report(closed)


def test_a_switch_in_mid_window_mixes_nothing_and_loses_nothing() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    evidence.served(A, by_fallback=False)
    before = evidence.turn_to(LIVE, 1004.0, NOTHING)
    evidence.served(B, by_fallback=False)
    assert evidence.close_due(1010.5, NOTHING) is None, "the next window began early"
    after = evidence.close_due(1020.0, NOTHING)
    assert before is not None
    assert after is not None
    assert (before.window, before.mode, before.served, before.candidate_answers) == (100, Mode.SHADOW, 1, 0)
    assert (after.window, after.mode, after.served, after.candidate_answers) == (101, Mode.LIVE, 1, 1)


def test_another_length_of_windows_counts_anew() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    longer = replace(LIVE, window_s=20.0)
    assert evidence.turn_to(longer, 1005.0, NOTHING) is not None
    closed = evidence.close_due(1020.0, NOTHING)
    assert closed is not None
    assert (closed.window, closed.window_s) == (50, 20.0)


def test_a_clock_that_was_set_back_does_not_silence_the_device() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 100_000.0, NOTHING)
    evidence.served(A, by_fallback=False)
    before = evidence.close_due(90_000.0, NOTHING)
    after = evidence.close_due(90_010.0, NOTHING)
    assert before is not None
    assert after is not None
    assert (before.window, before.served, after.window) == (10_000, 1, 9_000)


def test_the_same_subject_goes_on() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    evidence.served(A, by_fallback=False)
    assert evidence.turn_to(replace(SHADOW), 1004.0, NOTHING) is None
    closed = evidence.close_due(1010.0, NOTHING)
    assert closed is not None
    assert closed.served == 1


def test_without_an_operation_nothing_is_written_down() -> None:
    evidence = Evidence()
    evidence.served(A, by_fallback=False)
    evidence.mirrored(1, candidate_failed=0, incumbent_failed=0, both=ONE)
    assert evidence.close_due(5000.0, NOTHING) is None
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    assert evidence.turn_to(None, 1001.0, NOTHING) is not None
    assert evidence.close_due(5000.0, NOTHING) is None


def test_the_largest_window_of_a_device_fits_the_wire() -> None:
    evidence = Evidence()
    evidence.turn_to(SHADOW, 1000.0, NOTHING)
    for index in range(400):
        evidence.paired(1e-5 * 1.011 ** (index * 7919 % 700), 1e-5 * 1.011 ** (index * 104729 % 700))
    closed = evidence.close_due(1010.0, NOTHING)
    assert closed is not None
    assert closed.latency is not None
    assert max(len(closed.latency.candidate), len(closed.latency.incumbent)) <= MAX_SKETCH


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tick", "turn", "serve", "mirror"]),
            st.floats(0, 25),
            st.sampled_from(
                [SHADOW, LIVE, replace(SHADOW, operation="op-2"), replace(LIVE, release=C), None]
            ),
        ),
        max_size=12,
    ),
    st.floats(-25, 1e6),
)
def test_no_key_twice_and_every_event_in_one_report(
    steps: list[tuple[str, float, Subject | None]], jump: float
) -> None:
    evidence = Evidence()
    reports: list[Report] = []
    now, served, mirrored = 10_000.0, 0, 0
    for number, (kind, pause, subject) in enumerate(steps):
        now += pause + (jump if number == 6 else 0.0)
        closed = None
        if kind == "tick":
            closed = evidence.close_due(now, NOTHING)
        elif kind == "turn":
            closed = evidence.turn_to(subject, now, NOTHING)
        elif evidence.subject is not None and kind == "serve":
            served += 1
            evidence.served(A, by_fallback=False)
        elif evidence.subject is not None:
            mirrored += 1
            evidence.mirrored(1, candidate_failed=0, incumbent_failed=0, both=ONE)
        reports += [closed] if closed is not None else []
    last = evidence.turn_to(None, now, NOTHING)
    reports += [last] if last is not None else []
    keys = [(report.release, report.slot, report.window) for report in reports]
    assert len(set(keys)) == len(keys)
    assert sum(report.served for report in reports) == served
    assert sum(report.n for report in reports) == mirrored
    for report in reports:
        check_report(report)


def test_scores_fall_into_their_bins() -> None:
    assert [score_bin(score) for score in (-0.1, 0.0, 0.049, 0.05, 0.999, 1.0, 1.1)] == [
        0,
        0,
        0,
        1,
        19,
        19,
        19,
    ]
