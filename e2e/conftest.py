"""What holds for every end-to-end test: real processes, real sockets, loopback only."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LOOPBACK = ["127.0.0.1", "::1"]
TIMEOUT_S = 900  # the demo's target is 6 minutes on 2 cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under e2e/, let it connect to loopback, and give it time."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session", autouse=True)
def _programs_hear_sigint() -> Iterator[None]:
    """A run in the background inherits an ignored SIGINT, and so would every program that the tests start.

    A handled signal goes back to its default in a new program, an ignored one stays ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
