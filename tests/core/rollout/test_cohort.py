"""Membership: deterministic, nested, as large as asked for."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.rollout.cohort import (
    NOBODY,
    POSITIONS,
    Cutoff,
    from_signed,
    mode_of,
    position,
    resolve,
    to_signed,
)
from modelfleet_core.rollout.plan import Stage
from modelfleet_core.wire.director import Mode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=1)
LATER = NOW + timedelta(hours=1)


def places(count: int, salt: str = "salt") -> list[int]:
    return [position(salt, f"dev_{k}") for k in range(count)]


def shadow(devices: int) -> Stage:
    return Stage("shadow", Mode.SHADOW, devices=devices)


def live(devices: int | None = None, percent: float | None = None) -> Stage:
    return Stage("live", Mode.LIVE, devices=devices, percent=percent)


def members(cutoff: Cutoff, of: list[int], joined: datetime = BEFORE) -> set[int]:
    return {place for place in of if cutoff.holds(place, joined)}


def test_a_place_is_the_first_64_bits_of_the_hash() -> None:
    assert position("s", "dev_1") == int(hashlib.sha256(b"s|dev_1").hexdigest()[:16], 16)
    assert position("s", "dev_1") != position("t", "dev_1")


@given(st.lists(st.integers(0, POSITIONS - 1), min_size=2))
def test_signed_places_keep_the_order(found: list[int]) -> None:
    signed = [to_signed(place) for place in found]
    assert all(-(2**63) <= value < 2**63 for value in signed)
    assert sorted(signed) == [to_signed(place) for place in sorted(found)]
    assert [from_signed(value) for value in signed] == found


@given(st.integers(1, 40), st.integers(0, 60))
def test_devices_are_exactly_as_many_as_asked_for_or_all(wanted: int, there: int) -> None:
    found = places(there)
    cutoff = resolve(shadow(wanted), found, NOW)
    assert len(members(cutoff, found)) == min(wanted, there)
    assert cutoff.seats(len(members(cutoff, found))) <= wanted


def test_a_class_without_devices_has_an_empty_cohort() -> None:
    assert resolve(shadow(3), [], NOW).highest == NOBODY
    assert not resolve(shadow(3), [], NOW).holds(0, BEFORE)


def test_devices_are_closed_to_later_joiners() -> None:
    found = places(50)
    cutoff = resolve(shadow(10), found, NOW)
    assert not cutoff.holds(0, LATER)
    assert cutoff.holds(0, BEFORE)


@given(st.floats(0.01, 100), st.integers(1, 200))
def test_percent_is_a_threshold_of_at_least_one_device(percent: float, there: int) -> None:
    found = places(there)
    cutoff = resolve(live(percent=percent), found, NOW)
    inside = members(cutoff, found)
    assert inside
    threshold = percent / 100 * POSITIONS
    assert inside >= {place for place in found if place < threshold * (1 - 1e-12)}
    assert len(inside) <= max(1, sum(place <= threshold * (1 + 1e-12) for place in found))


def test_percent_is_near_its_share() -> None:
    found = places(20_000)
    inside = len(members(resolve(live(percent=5), found, NOW), found))
    assert abs(inside - 1000) < 5 * math.sqrt(20_000 * 0.05 * 0.95)


def test_late_joiners_below_a_percent_cutoff_fall_in_and_wait_when_it_is_full() -> None:
    found = places(1000)
    cutoff = resolve(live(percent=5), found, NOW)
    assert cutoff.holds(0, LATER)
    assert cutoff.admits is not None
    assert cutoff.admits >= 50
    assert cutoff.has_seat(cutoff.admits - 1)
    assert not cutoff.has_seat(cutoff.admits)


def test_a_hundred_percent_is_everybody_for_ever() -> None:
    cutoff = resolve(live(percent=100), places(3), NOW)
    assert cutoff.holds(POSITIONS - 1, LATER)
    assert cutoff.admits is None
    assert cutoff.has_seat(10**9)


sizes = st.one_of(
    st.integers(1, 40).map(lambda n: live(devices=n)), st.floats(0.1, 100).map(lambda p: live(percent=p))
)


@given(st.lists(sizes, min_size=2, max_size=6), st.integers(0, 80), st.text(max_size=5))
def test_cohorts_nest(stages: list[Stage], there: int, salt: str) -> None:
    """Also where units differ and the later stage would resolve to fewer devices."""
    found = places(there, salt)
    before: Cutoff | None = None
    inside: set[int] = set()
    seats = 0
    for stage in stages:
        cutoff = resolve(stage, found, NOW, before=before)
        now_inside = members(cutoff, found)
        assert inside <= now_inside
        assert cutoff.seats(len(now_inside)) >= seats
        before, inside, seats = cutoff, now_inside, cutoff.seats(len(now_inside))


def test_a_later_closed_stage_keeps_who_joined_in_time_for_an_earlier_one() -> None:
    found = sorted(places(9))
    first = resolve(shadow(6), found[1:], NOW)
    joined = NOW + timedelta(minutes=1)  # found[0] joins after the shadow stage began
    canary = resolve(live(devices=8), found, LATER, proven=found[1:7], shadow=first)
    assert canary.holds(found[0], joined)
    wider = resolve(live(devices=8), found, LATER, before=canary, proven=found[1:], shadow=first)
    assert wider.holds(found[0], joined)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 60), st.data())
def test_a_canary_takes_first_those_proven_in_shadow(
    shadowed: int, wanted: int, there: int, data: st.DataObject
) -> None:
    found = places(there)
    first = resolve(shadow(shadowed), found, NOW)
    in_shadow = sorted(members(first, found))
    failed = set(data.draw(st.lists(st.sampled_from(in_shadow), max_size=len(in_shadow))))
    proven = [place for place in in_shadow if place not in failed]
    able = [place for place in found if place not in failed]
    newcomer = 0
    canary = resolve(live(devices=wanted), [*able, newcomer], LATER, proven=proven, shadow=first)
    inside = {place for place in able if canary.holds(place, BEFORE)}
    if len(proven) >= wanted:
        assert inside == set(proven[:wanted])
        assert not canary.holds(newcomer, LATER)  # it was never in shadow
    else:
        assert len(inside | {newcomer}) == min(wanted, len(able) + 1)


def test_a_device_left_out_by_a_smaller_canary_stays_in_shadow() -> None:
    stages = (shadow(2), live(devices=1), live(percent=100))
    found = sorted(places(3))
    first = resolve(stages[0], found, NOW)
    canary = resolve(stages[1], found, NOW, proven=found[:2], shadow=first)
    modes = [mode_of(place, BEFORE, stages, (first, canary)) for place in found]
    assert modes == [Mode.LIVE, Mode.SHADOW, None]
    everyone = resolve(stages[2], found, NOW, before=canary, proven=found[:2], shadow=first)
    assert {mode_of(place, BEFORE, stages, (first, canary, everyone)) for place in found} == {Mode.LIVE}
    assert [mode_of(place, BEFORE, stages, ()) for place in found] == [None] * 3


@pytest.mark.parametrize("salt", ["a", "b", "c"])
def test_another_salt_draws_other_devices(salt: str) -> None:
    ours = members(resolve(live(percent=10), places(500, salt), NOW), places(500, salt))
    assert {p for p in places(500, "other") if p in ours} == set()
