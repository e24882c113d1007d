"""`eventually`: the only polling loop."""

from __future__ import annotations

import pytest

from e2e.support import EventuallyTimeout, eventually


def test_returns_the_first_true_value() -> None:
    values = iter([None, 0, "", "there", "later"])
    assert eventually(lambda: next(values), timeout=5, interval=0.001) == "there"


def test_looks_once_even_without_time() -> None:
    assert eventually(lambda: 7, timeout=0) == 7


def test_says_what_it_waited_for_and_what_it_saw() -> None:
    with pytest.raises(EventuallyTimeout, match=r"not within 0\.02 s: six devices; last value: \[\]"):
        eventually(list, timeout=0.02, interval=0.005, what="six devices")


def test_an_ignored_exception_means_not_yet() -> None:
    calls: list[int] = []

    def connect() -> bool:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionRefusedError("nobody listens")
        return True

    assert eventually(connect, timeout=5, interval=0.001, ignoring=(ConnectionRefusedError,))
    assert len(calls) == 3


def test_the_last_ignored_exception_is_shown() -> None:
    def connect() -> bool:
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(EventuallyTimeout, match="nobody listens"):
        eventually(connect, timeout=0.01, interval=0.005, ignoring=(ConnectionRefusedError,))


def test_other_exceptions_pass_through() -> None:
    def broken() -> bool:
        raise KeyError("slot")

    with pytest.raises(KeyError):
        eventually(broken, timeout=5, ignoring=(OSError,))


@pytest.mark.parametrize(("timeout", "interval"), [(-1.0, 0.1), (1.0, 0.0), (1.0, -0.1)])
def test_senseless_limits_are_refused(timeout: float, interval: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        eventually(lambda: True, timeout=timeout, interval=interval)
