"""Identifiers, errors and clocks."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core import ids
from modelfleet_core.clock import ManualClock, SystemClock, system_entropy
from modelfleet_core.error_codes import REGISTRY, Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError, WorldError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["a", "digits", "x86-openvino.int8", "a_b", "0", "a" * 63])
def test_names(text: str) -> None:
    assert ids.is_name(text)


@pytest.mark.parametrize(
    "text", ["", "A", "-a", "a-", ".a", "a.", "a..b", "a/b", "a b", "a\n", "\u00e4", "a" * 64]
)
def test_no_names(text: str) -> None:
    assert not ids.is_name(text)


@pytest.mark.parametrize("text", ["1", "1.0", "2026.3.1+abc", "1_0-rc1", "A" * 63])
def test_versions(text: str) -> None:
    assert ids.is_version(text)


@pytest.mark.parametrize("text", ["", ".1", "-1", "1..0", "1/0", "1 0", "1\n", "A" * 64, "\u0661"])
def test_no_versions(text: str) -> None:
    assert not ids.is_version(text)


@given(st.text())
def test_a_name_is_safe_in_a_path(text: str) -> None:
    if ids.is_name(text) or ids.is_version(text):
        assert not set(text) & set("/\\\0 ")
        assert text not in (".", "..")
        assert text[0].isalnum()


def test_digests() -> None:
    assert ids.sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert ids.is_digest(ids.sha256_hex(b"x"))
    for bad in ("", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 63 + "\n"):
        assert not ids.is_digest(bad)


def test_a_device_id_comes_from_its_key() -> None:
    assert ids.device_id(b"\0" * 32) == "dev_66687aadf862bd776c8fc18b8e9f8e20"


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 10**9),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time(now: datetime, later_ms: int, one: bytes, other: bytes) -> None:
    a, b = ids.new_id("ro", now, one), ids.new_id("ro", now + timedelta(milliseconds=later_ms), other)
    assert a < b
    assert len(a) == 3 + 32
    assert a[3 + 12] == "7", "UUID version"
    assert a[3 + 16] in "89ab", "UUID variant"


def test_ids_need_an_aware_instant_and_entropy() -> None:
    for now, entropy in ((NOW.replace(tzinfo=None), b"0" * 10), (NOW, b"0" * 9)):
        with pytest.raises(ValueError):
            ids.new_id("ro", now, entropy)


def test_every_code_is_registered_once() -> None:
    assert set(REGISTRY) == set(Code)
    values = [c.value for c in Code]
    assert len(set(values)) == len(values)
    assert all(v.startswith("MF-") and len(v) == 7 and v[3:].isdecimal() for v in values)
    assert all(info.title and not info.title.endswith(".") for info in REGISTRY.values())


@pytest.mark.parametrize("kind", [CallerError, IntegrityError, WorldError])
def test_errors_tell_three_things(kind: type[ModelfleetError]) -> None:
    error = kind(Code.NOT_FOUND, "there is no x", expected="an x", todo="make one")
    assert error.diagnostics().lines() == ("MF-1602: there is no x", "expected: an x", "to do: make one")
    assert error.diagnostics().title == "There is no such thing"
    again = copy.copy(error)  # by __reduce__, as a child process hands its error over
    assert type(again) is kind
    assert again.diagnostics() == error.diagnostics()


def test_a_manual_clock_moves_when_told() -> None:
    clock = ManualClock(NOW)
    clock.wait(2.5)
    assert clock.monotonic() == 2.5
    assert clock.now() == NOW + timedelta(seconds=2.5)
    with pytest.raises(ValueError):
        clock.advance(-1)


def test_the_system_clock_is_aware_and_does_not_go_back() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.wait(-5)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() >= before
    assert len(system_entropy(16)) == 16
    assert system_entropy(16) != system_entropy(16)
