"""Verdicts: each answer of a gate, and the words it comes with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelfleet_core.gates.evidence import (
    CARRIED_ONLY,
    ClassEvidence,
    DeviceSum,
    GoldenResult,
    Heartbeat,
    Stratum,
)
from modelfleet_core.gates.judge import judge_class, judge_rows, needed_for_worse
from modelfleet_core.gates.scores import score
from modelfleet_core.gates.silence import silent_windows
from modelfleet_core.gates.verdict import Judgement, Verdict
from modelfleet_core.rollout.gate import DEFAULT_GATES, SILENCE_GATE, Gate, Metric, Unless
from modelfleet_core.rollout.plan import RolloutPlan, Stage
from modelfleet_core.wire.codec import decode, encode
from modelfleet_core.wire.director import Mode

START = datetime(2026, 1, 1, tzinfo=UTC)
LATENCY, ERRORS, DISAGREEMENT, GOLDEN, SILENCE = DEFAULT_GATES
STAGES = (Stage("shadow", Mode.SHADOW, devices=10), Stage("all", Mode.LIVE, percent=100))


def plan(*gates: Gate, min_devices: int = 10) -> RolloutPlan:
    return RolloutPlan("digits:1.1", STAGES, gates=gates or DEFAULT_GATES, min_devices=min_devices)


def rows(
    gate: Gate,
    devices: Sequence[Sequence[float]],
    stage: int = 0,
    stratum: Stratum = Stratum.WITH_INCUMBENT,
) -> tuple[DeviceSum, ...]:
    found = []
    for index, values in enumerate(devices):
        row = DeviceSum(f"d{index:02}", stratum)
        for value in values:
            row = row.plus(score(gate, value), stage)
        found.append(row)
    return tuple(found)


def judge(gate: Gate, found: Sequence[DeviceSum], *, needed: float = 240.0, stage: int = 0) -> Verdict:
    return judge_rows(gate, found, stage, Stratum.WITH_INCUMBENT, needed, 10, 6)


def beats(count: int, reports: int = 10, **changes: object) -> tuple[Heartbeat, ...]:
    one = Heartbeat("", START, START + timedelta(minutes=5 * reports), reports)
    return tuple(replace(one, device=f"d{index:02}", **changes) for index in range(count))  # type: ignore[arg-type]


def by_metric(found: Sequence[Verdict]) -> dict[Metric, Verdict]:
    return {verdict.metric: verdict for verdict in found}


def test_a_slow_release_is_worse_and_says_so() -> None:
    devices = [[math.log(1.2)] * 3] * 9 + [[math.log(3.0)] * 3]
    found = judge(LATENCY, rows(LATENCY, devices))
    assert found.judgement is Judgement.WORSE
    assert found.evidence > 240
    assert found.set_aside == ("d09",)
    assert found.worse_devices == 10
    assert found.sentence.startswith("p95 latency +32 % vs incumbent on the same inputs (tolerated +5 %); ")
    assert "10 of 10 devices worse, worst 1 set aside; evidence" in found.sentence
    assert found.sentence.endswith("(needs 240:1) after 30 reports")


@pytest.mark.parametrize("needed", [20.0, 80.0, 240.0])
def test_worse_and_fine_are_said_exactly_when_their_evidence_is_reached(needed: float) -> None:
    for count in range(1, 40):
        slow = judge(LATENCY, rows(LATENCY, [[0.15] * count]), needed=needed)
        assert (slow.judgement is Judgement.WORSE) == (slow.evidence >= needed)
        same = judge(LATENCY, rows(LATENCY, [[0.0] * count]), needed=needed)
        assert (same.judgement is Judgement.FINE) == (same.promote_evidence >= 20.0 and count >= 6)


def test_an_equal_release_is_fine_after_enough_rounds() -> None:
    five = judge(LATENCY, rows(LATENCY, [[0.0] * 5] * 10))
    assert five.judgement is Judgement.UNDECIDED
    assert five.sentence.endswith("5 of 6 rounds")
    six = judge(LATENCY, rows(LATENCY, [[0.0] * 6] * 10))
    assert six.judgement is Judgement.FINE
    assert "against unacceptable (needs 20:1) after 60 reports of 10 devices" in six.sentence


def test_rounds_are_those_that_enough_devices_have_all_reported() -> None:
    busy = judge(LATENCY, rows(LATENCY, [[0.0] * 30] * 9 + [[0.0] * 2]))
    assert (busy.rounds, busy.judgement) == (2, Judgement.UNDECIDED)
    more = judge(LATENCY, rows(LATENCY, [[0.0] * 30] * 10 + [[0.0] * 2]))
    assert (more.rounds, more.judgement) == (30, Judgement.FINE)


def test_between_tolerance_and_limit_nothing_is_decided() -> None:
    between = math.log(1.06)
    found = judge(LATENCY, rows(LATENCY, [[between + 0.1, between - 0.1] * 8] * 10))
    assert found.promote_evidence > found.promote_needed
    assert found.evidence < found.needed
    assert found.judgement is Judgement.UNDECIDED
    assert "measured beyond tolerance, which is never fine" in found.sentence


def test_undecided_says_how_far_it_is() -> None:
    found = judge(LATENCY, rows(LATENCY, [[0.12]]))
    assert found.judgement is Judgement.UNDECIDED
    assert "of 240:1 for worse" in found.sentence
    assert "more reports" in found.sentence


def test_the_forecast_is_about_right() -> None:
    first = judge(LATENCY, rows(LATENCY, [[0.15] * 6]))
    said = int(first.sentence.rsplit("about ", 1)[1].split(" ")[0])
    needed = next(
        n for n in range(1, 400) if judge(LATENCY, rows(LATENCY, [[0.15] * n])).judgement is Judgement.WORSE
    )
    assert 0.7 <= (6 + said) / needed <= 1.3


def test_one_rogue_device_in_ten_is_set_aside() -> None:
    found = judge(LATENCY, rows(LATENCY, [[0.0] * 30] * 9 + [[0.47] * 30]))
    assert found.judgement is not Judgement.WORSE
    assert found.set_aside == ("d09",)


def test_below_five_devices_one_bad_device_can_decide_and_it_is_said() -> None:
    found = judge(LATENCY, rows(LATENCY, [[0.0] * 30] + [[0.47] * 30]))
    assert found.judgement is Judgement.WORSE
    assert "below 5 devices one bad device can decide" in found.sentence


def test_no_reports_are_no_pass() -> None:
    found = judge(LATENCY, ())
    assert (found.judgement, found.evidence, found.effect) == (Judgement.UNDECIDED, 1.0, None)
    assert found.sentence == "p95 latency: nothing reported yet"


def test_shadow_evidence_never_makes_a_live_stage_fine() -> None:
    shadow = rows(LATENCY, [[0.0] * 50] * 10, stage=0)
    assert judge(LATENCY, shadow, stage=0).judgement is Judgement.FINE
    live = judge(LATENCY, shadow, stage=1)
    assert (live.judgement, live.promote_evidence, live.stage_reports) == (Judgement.UNDECIDED, 1.0, 0)


def test_shadow_evidence_against_the_release_is_carried() -> None:
    devices = [row.plus(score(LATENCY, 0.2), CARRIED_ONLY) for row in rows(LATENCY, [[0.2]] * 10)]
    assert judge(LATENCY, devices, stage=1).judgement is Judgement.WORSE


def test_a_failure_rate_is_not_hidden_by_its_cap() -> None:
    """Half of the reports at 100 % errors: worse; and far from fine however many there are."""
    found = judge(ERRORS, rows(ERRORS, [[0.0, 0.0, 0.0, 1.0] * 20] * 10))
    assert found.judgement is Judgement.WORSE
    assert found.promote_evidence < 1.0


@pytest.mark.parametrize("every", [4, 5, 10, 20])
def test_a_few_very_slow_windows_are_not_hidden_by_the_cap(every: int) -> None:
    """Four times as slow in one window of `every`: the capped bets like it, its measured mean does not."""
    devices = [[math.log(4.0) if (k + d) % every == 0 else 0.0 for k in range(100)] for d in range(10)]
    found = judge(LATENCY, rows(LATENCY, devices))
    assert found.promote_evidence > found.promote_needed
    assert found.judgement is Judgement.UNDECIDED


def test_alpha_is_split_over_bets_and_classes() -> None:
    assert needed_for_worse(plan(), classes=3) == pytest.approx(4 * 3 / 0.05)  # golden is no bet
    assert needed_for_worse(plan(LATENCY), classes=1) == pytest.approx(20.0)
    assert needed_for_worse(plan(), classes=3, strata=2) == pytest.approx(480.0)


def test_the_whole_class_is_judged_gate_by_gate() -> None:
    evidence = ClassEvidence(
        "x86",
        {
            Metric.LATENCY_P95: rows(LATENCY, [[0.0] * 10] * 10),
            Metric.ERRORS: rows(ERRORS, [[0.0] * 10] * 10),
            Metric.DISAGREEMENT: rows(DISAGREEMENT, [[0.01] * 10] * 10),
        },
        golden=tuple(GoldenResult(f"d{k:02}", 64, 63, 62) for k in range(10)),
        heartbeats=beats(10),
    )
    now = START + timedelta(minutes=55)
    found = by_metric(judge_class(plan(), 0, START, evidence, 3, now))
    assert {metric: verdict.judgement for metric, verdict in found.items()} == dict.fromkeys(
        found, Judgement.FINE
    )
    assert set(found) == {gate.metric for gate in DEFAULT_GATES}
    assert found[Metric.LATENCY_P95].needed == pytest.approx(240.0)
    assert found[Metric.SILENCE].needed == pytest.approx(480.0)  # split over the two stages besides


def test_verdicts_pass_the_wire() -> None:
    found = judge(LATENCY, rows(LATENCY, [[0.3] * 300] * 10))
    assert decode(encode(found), Verdict, what="verdict") == found


# ------------------------------------------------------------------------------------- without an incumbent


def test_paired_gates_do_not_apply_without_an_incumbent_and_say_so() -> None:
    alone = Stratum.WITHOUT_INCUMBENT
    evidence = ClassEvidence(
        "x86",
        {Metric.ERRORS: rows(ERRORS, [[0.0] * 10] * 10, stratum=alone)},
        heartbeats=beats(10, stratum=alone),
    )
    found = by_metric(judge_class(plan(), 0, START, evidence, 1, START + timedelta(minutes=55)))
    for metric in (Metric.LATENCY_P95, Metric.DISAGREEMENT):
        assert found[metric].judgement is Judgement.NOT_APPLICABLE
        assert "not applicable, no incumbent" in found[metric].sentence
    assert found[Metric.ERRORS].judgement is Judgement.FINE
    assert found[Metric.SILENCE].judgement is Judgement.FINE


def test_a_first_install_in_shadow_is_left_to_silence_and_bake() -> None:
    alone = Stratum.WITHOUT_INCUMBENT
    evidence = ClassEvidence("x86", {}, heartbeats=beats(10, stratum=alone))
    now = START + timedelta(minutes=55)
    in_shadow = by_metric(judge_class(plan(), 0, START, evidence, 1, now))
    assert in_shadow[Metric.ERRORS].judgement is Judgement.NOT_APPLICABLE
    assert "no incumbent to shadow" in in_shadow[Metric.ERRORS].sentence
    assert in_shadow[Metric.SILENCE].judgement is Judgement.FINE
    live = by_metric(judge_class(plan(), 1, START, evidence, 1, now))
    assert live[Metric.ERRORS].judgement is Judgement.UNDECIDED


def test_strata_are_judged_apart_and_share_alpha() -> None:
    errors = rows(ERRORS, [[0.0] * 10] * 10)
    broken = tuple(replace(row, device=f"n{row.device}") for row in rows(ERRORS, [[0.2] * 10] * 5))
    broken = tuple(replace(row, stratum=Stratum.WITHOUT_INCUMBENT) for row in broken)
    found = judge_class(
        plan(ERRORS), 0, START, ClassEvidence("x86", {Metric.ERRORS: errors + broken}), 1, START
    )
    assert [(v.stratum, v.judgement) for v in found] == [
        (Stratum.WITH_INCUMBENT, Judgement.FINE),
        (Stratum.WITHOUT_INCUMBENT, Judgement.WORSE),
    ]
    assert {v.needed for v in found} == {40.0}


def test_one_newcomer_does_not_decide_over_a_large_class() -> None:
    errors = rows(ERRORS, [[0.0] * 10] * 20)
    newcomer = (replace(rows(ERRORS, [[1.0] * 50])[0], device="new", stratum=Stratum.WITHOUT_INCUMBENT),)
    found = judge_class(
        plan(ERRORS), 0, START, ClassEvidence("x86", {Metric.ERRORS: errors + newcomer}), 1, START
    )
    assert [(v.stratum, v.judgement) for v in found] == [(Stratum.WITH_INCUMBENT, Judgement.FINE)]


# --------------------------------------------------------------------------------------------------- golden


def golden(*drops: int, devices: int | None = None, gate: Gate = GOLDEN) -> Verdict:
    results = tuple(GoldenResult(f"d{k:02}", 64, 60 - drop, 60) for k, drop in enumerate(drops))
    evidence = ClassEvidence("x86", {}, golden=results, heartbeats=beats(devices or len(drops)))
    return judge_class(plan(gate), 0, START, evidence, 1, START)[0]


@pytest.mark.parametrize(
    ("drops", "judgement"),
    [
        ((0,) * 10, Judgement.FINE),
        ((1,) * 10, Judgement.FINE),  # 1 of 64 = 1.6 pt, tolerated 2 pt
        ((2,) + (0,) * 9, Judgement.FINE),  # one device of ten
        ((2, 2) + (0,) * 8, Judgement.WORSE),
        ((2, 0, 0, 0), Judgement.WORSE),  # fewer than five: one is enough
        ((2, 0, 0, 0, 0), Judgement.FINE),
    ],
)
def test_golden_is_counted_not_bet(drops: tuple[int, ...], judgement: Judgement) -> None:
    assert golden(*drops).judgement is judgement


def test_golden_in_a_small_cohort_of_a_large_class_needs_two_devices() -> None:
    results = tuple(GoldenResult(f"d{k:02}", 64, 60 - drop, 60) for k, drop in enumerate((2, 0, 0)))
    evidence = ClassEvidence("x86", {}, golden=results, heartbeats=beats(3), size=1000)
    few = plan(GOLDEN, min_devices=3)
    assert judge_class(few, 0, START, evidence, 1, START)[0].judgement is Judgement.FINE
    alone = replace(evidence, size=3)
    assert judge_class(few, 0, START, alone, 1, START)[0].judgement is Judgement.WORSE


def test_golden_waits_for_the_devices_it_needs() -> None:
    found = golden(0, 0, 0, devices=10)
    assert found.judgement is Judgement.UNDECIDED
    assert "10 devices needed" in found.sentence


def test_golden_without_any_result_is_no_pass() -> None:
    found = golden(devices=4)
    assert found.judgement is Judgement.UNDECIDED
    assert "no labelled result" in found.sentence


def test_golden_says_what_a_sample_is_worth() -> None:
    found = golden(*[8] * 6)
    assert (
        "golden accuracy -12 pt vs incumbent (tolerated -2 pt; one of 64 samples is worth 1.6 pt)"
        in found.sentence
    )
    assert "6 beyond tolerance" in found.sentence


@pytest.mark.parametrize(
    ("floor", "right", "judgement"),
    [(None, 10, Judgement.NOT_APPLICABLE), (0.9, 60, Judgement.FINE), (0.9, 50, Judgement.WORSE)],
)
def test_golden_without_an_incumbent_needs_a_floor(
    floor: float | None, right: int, judgement: Judgement
) -> None:
    results = tuple(GoldenResult(f"d{k:02}", 64, right, None) for k in range(10))
    evidence = ClassEvidence(
        "x86", {}, golden=results, heartbeats=beats(10, stratum=Stratum.WITHOUT_INCUMBENT)
    )
    found = judge_class(plan(replace(GOLDEN, floor=floor)), 0, START, evidence, 1, START)
    assert [v.judgement for v in found] == [judgement]


EXCUSABLE = Gate(Metric.DISAGREEMENT, 0.02, unless=Unless.GOLDEN_BETTER)


@pytest.mark.parametrize(
    ("gate", "disagreement", "candidate_right", "judgement"),
    [
        (EXCUSABLE, 0.10, 62, Judgement.EXCUSED),
        (EXCUSABLE, 0.10, 60, Judgement.WORSE),  # not better, merely as good
        (EXCUSABLE, 0.10, 60.05, Judgement.WORSE),  # scores in part: 0.08 points are no improvement
        (EXCUSABLE, 0.10, 50, Judgement.WORSE),
        (EXCUSABLE, 0.0, 62, Judgement.FINE),
        (EXCUSABLE, 0.025, 62, Judgement.EXCUSED),  # a little beyond, for long enough
        (DISAGREEMENT, 0.10, 62, Judgement.WORSE),  # not asked for
    ],
)
def test_disagreement_is_excused_only_where_the_golden_set_shows_improvement(
    gate: Gate, disagreement: float, candidate_right: float, judgement: Judgement
) -> None:
    evidence = ClassEvidence(
        "x86",
        {Metric.DISAGREEMENT: rows(gate, [[disagreement] * 10] * 10)},
        golden=tuple(GoldenResult(f"d{k:02}", 64, candidate_right, 60) for k in range(10)),
        heartbeats=beats(10),
    )
    found = by_metric(judge_class(plan(gate, GOLDEN), 0, START, evidence, 1, START))
    assert found[Metric.DISAGREEMENT].judgement is judgement
    if judgement is Judgement.EXCUSED:
        assert (
            "excused: golden accuracy is 3.1 pt better on 10 devices" in found[Metric.DISAGREEMENT].sentence
        )


@pytest.mark.parametrize(
    "results",
    [
        [GoldenResult("d00", 64, 50, 60)] + [GoldenResult(f"d{k:02}", 64, 64, 60) for k in range(1, 10)],
        [GoldenResult("d00", 64, 64, 60)],
        [],
    ],
    ids=["one device beyond tolerance", "one of ten devices", "none"],
)
def test_a_golden_set_that_does_not_speak_for_all_excuses_nothing(results: list[GoldenResult]) -> None:
    evidence = ClassEvidence(
        "x86",
        {Metric.DISAGREEMENT: rows(EXCUSABLE, [[0.1] * 10] * 10)},
        golden=tuple(results),
        heartbeats=beats(10),
    )
    found = by_metric(judge_class(plan(EXCUSABLE, GOLDEN), 0, START, evidence, 1, START))
    assert found[Metric.DISAGREEMENT].judgement is Judgement.WORSE


# -------------------------------------------------------------------------------------------------- silence


@pytest.mark.parametrize(
    ("minutes", "silent"),
    [(0, 0), (5, 0), (14, 0), (19, 0), (20, 1), (25, 2), (60, 9)],
)
def test_a_device_is_silent_from_the_third_missed_window_on(minutes: int, silent: int) -> None:
    """Last window 0:00-0:05; the third missed one ends at 0:20."""
    beat = Heartbeat("a", START, START)
    assert silent_windows(beat, 3, 300.0, START, START + timedelta(minutes=minutes)) == silent


def test_the_clock_of_silence_starts_at_acceptance() -> None:
    never = Heartbeat("a", START + timedelta(hours=1))
    assert silent_windows(never, 3, 300.0, START, START + timedelta(minutes=74)) == 0
    assert silent_windows(never, 3, 300.0, START, START + timedelta(minutes=75)) == 1


def test_a_device_that_still_fetches_is_not_silent_while_it_checks_in() -> None:
    now = START + timedelta(hours=5)
    fetching = Heartbeat("a", START, last_contact_at=now - timedelta(minutes=4))
    assert silent_windows(fetching, 3, 300.0, START, now) == 0
    assert silent_windows(fetching, 3, 300.0, START, now + timedelta(minutes=11)) == 1
    reported = replace(fetching, last_report_at=START)  # from then on reports alone count
    assert silent_windows(reported, 3, 300.0, START, now) > 0
    early = replace(fetching, last_contact_at=START - timedelta(days=1))
    assert silent_windows(early, 3, 300.0, START, START + timedelta(minutes=14)) == 0


def test_what_nobody_could_hear_is_no_silence() -> None:
    """The controller was away for five hours: from its return on, the device has its three windows again."""
    back = START + timedelta(hours=5)
    for beat in (Heartbeat("a", START, START), Heartbeat("a", START), Heartbeat("a", START, None, 0)):
        assert silent_windows(beat, 3, 300.0, START, back) > 50
        heard = replace(beat, listened_since=back)
        assert silent_windows(heard, 3, 300.0, START, back) == 0
        assert silent_windows(heard, 3, 300.0, START, back + timedelta(minutes=14)) == 0
        assert silent_windows(heard, 3, 300.0, START, back + timedelta(minutes=15)) == 1
    later = replace(Heartbeat("a", back, back), listened_since=START)  # takes nothing from what was heard
    assert silent_windows(later, 3, 300.0, START, back + timedelta(minutes=20)) == 1


def test_silence_before_the_stage_does_not_count_in_it() -> None:
    beat = Heartbeat("a", START, START)
    began = START + timedelta(minutes=100)
    assert silent_windows(beat, 3, 300.0, began, began) == 0
    assert silent_windows(beat, 3, 300.0, began, began + timedelta(minutes=10)) == 2


def silence(silent: int, of: int, minutes: int, rate: float = 0.0, offline: bool = False) -> Verdict:
    now = START + timedelta(minutes=minutes)
    alive = [Heartbeat(f"a{k}", START, now - timedelta(minutes=5), minutes // 5) for k in range(of - silent)]
    dead = [Heartbeat(f"s{k}", START) for k in range(silent)]
    evidence = ClassEvidence(
        "x86", {}, heartbeats=tuple(alive + dead), silence_rate=rate, expected_offline=offline
    )
    return judge_class(plan(SILENCE_GATE), 0, START, evidence, 1, now)[0]


def test_bricked_devices_are_seen() -> None:
    assert silence(10, 10, 20).judgement is Judgement.WORSE
    assert silence(5, 10, 60).judgement is Judgement.WORSE
    assert "silence" in silence(10, 10, 20).sentence


def test_one_silent_device_in_ten_is_set_aside() -> None:
    found = silence(1, 10, 600)
    assert found.judgement is Judgement.FINE
    assert found.set_aside == ("s0",)


def test_a_power_cut_that_silences_the_incumbents_too_speaks_against_nobody() -> None:
    assert silence(5, 10, 120).judgement is Judgement.WORSE
    assert silence(5, 10, 120, rate=0.5).judgement is Judgement.UNDECIDED


def test_devices_that_are_expected_offline_are_not_judged_by_silence() -> None:
    assert silence(10, 10, 600, offline=True).judgement is Judgement.NOT_APPLICABLE
