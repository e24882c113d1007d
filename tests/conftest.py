"""What holds for every test outside e2e: no sockets except loopback where a test owns a server."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

LOOPBACK = ["127.0.0.1", "::1"]

# Machines that run the tests are shared: an example that takes long says nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("house"), max_examples=2_000)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--isolated DIR`: also run what needs real isolated environments, made or found in DIR."""
    parser.addoption(
        "--isolated",
        metavar="DIR",
        default=None,
        help="make isolated environments here (4 GB) and test in them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `server` may connect to loopback; pytest-socket refuses all others every connection."""
    for item in items:
        if item.get_closest_marker("server"):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
