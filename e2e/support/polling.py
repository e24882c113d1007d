"""Waiting for something that another process does: the only polling loop in the tests.

`time.sleep` is banned everywhere else (`tests/house/test_banned_calls.py`), so every wait has a limit and
says on failure what it was waiting for and what it last saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class EventuallyTimeout(AssertionError):
    """The condition did not come true in time; the message holds the last value or the last exception."""


def eventually(
    predicate: Callable[[], T],
    timeout: float = 30.0,
    interval: float = 0.05,
    *,
    what: str = "",
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """Call `predicate` until it returns something true, and return that.

    Args:
        predicate: called at least once, also with `timeout=0`, and once more after the limit has passed.
        timeout: seconds until giving up.
        interval: seconds between two calls.
        what: what is awaited, for the message.
        ignoring: exceptions that mean "not yet", such as `ConnectionRefusedError`; others pass through.

    Raises:
        EventuallyTimeout: the last call still returned something false, or raised one of `ignoring`.
        ValueError: `timeout` is negative or `interval` is not above zero.
    """
    if timeout < 0 or interval <= 0:
        raise ValueError(f"timeout {timeout} must be at least 0 s and interval {interval} above 0 s")
    begun = time.monotonic()
    while True:
        last_look = time.monotonic() - begun >= timeout
        try:
            value = predicate()
            seen = f"last value: {value!r}"
        except ignoring as error:
            value = None
            seen = f"last exception: {error!r}"
        if value:
            return value
        if last_look:
            name = what or getattr(predicate, "__qualname__", repr(predicate))
            raise EventuallyTimeout(f"not within {timeout:g} s: {name}; {seen}")
        time.sleep(max(0.0, min(interval, timeout - (time.monotonic() - begun))))
