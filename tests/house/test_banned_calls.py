"""Clock, randomness, environment and waiting only where the world comes in.

Ruff bans the same calls (TID251) but can only excuse a whole file from all of them; this says which file may
make which. The reasons: an injected instant makes rules replayable, injected entropy makes tests exact, and a
setting read in one place can be shown by `doctor`.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from tests.house.sources import Module, modules, other_modules, parse

CLOCK = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.clock_gettime",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.time",
    "time.time_ns",
}
ENTROPY = {"os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "random.SystemRandom"}
ENTROPY_MODULES = ("secrets",)
# `random.Random(seed)` is deterministic and fine; the functions of the hidden global generator are not.
RANDOM_ALLOWED = {"random.Random"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"}
SLEEP = {"time.sleep"}

ROOTS = ["*/main.py", "*/__main__.py", "*/bootstrap.py"]
MAY: dict[str, list[str]] = {
    "clock": ["core/modelfleet_core/clock.py", *ROOTS],
    "entropy": ["core/modelfleet_core/clock.py", *ROOTS],
    "environment": ["*/settings.py", *ROOTS],
    "sleep": ["core/modelfleet_core/clock.py"],
}
# Tests inject their clock too; only what drives real processes reads the real one.
OTHERS_MAY: dict[str, list[str]] = {
    "clock": ["e2e/*", "bench/*", "tools/*", "examples/*"],
    "entropy": ["e2e/*", "bench/*", "tools/*", "examples/*"],
    "environment": ["e2e/*", "bench/*", "tools/*", "examples/*"],
    "sleep": ["e2e/support/polling.py"],
}


def kind(name: str) -> str | None:
    """Return which of the four worlds a dotted name touches, if any."""
    if name in CLOCK:
        return "clock"
    if name in ENTROPY or name.startswith(tuple(f"{module}." for module in ENTROPY_MODULES)):
        return "entropy"
    if name.startswith("random.") and name not in RANDOM_ALLOWED and name.count(".") == 1:
        return "entropy"
    if name in ENVIRONMENT:
        return "environment"
    if name in SLEEP:
        return "sleep"
    return None


def offences(module: Module, may: dict[str, list[str]]) -> list[str]:
    """List the banned uses of one module."""
    found = []
    for line, name in module.uses():
        world = kind(name)
        if world and not any(fnmatch.fnmatch(module.path, pattern) for pattern in may[world]):
            found.append(f"{module.path}:{line}: {name} ({world})")
    return sorted(set(found))


def test_product() -> None:
    assert [offence for module in modules() for offence in offences(module, MAY)] == []


def test_tests_and_tools() -> None:
    assert [offence for module in other_modules() for offence in offences(module, OTHERS_MAY)] == []


@pytest.mark.parametrize(
    ("code", "world"),
    [
        ("import time\nx = time.time()", "clock"),
        ("from time import monotonic as m\nx = m()", "clock"),
        ("import datetime as dt\nx = dt.datetime.now(dt.UTC)", "clock"),
        ("from datetime import datetime\nf = datetime.utcnow", "clock"),
        ("import random\nx = random.random()", "entropy"),
        ("from random import shuffle\nshuffle([])", "entropy"),
        ("from secrets import token_bytes\nx = token_bytes(8)", "entropy"),
        ("import os\nx = os.urandom(8)", "entropy"),
        ("from uuid import uuid4\nx = uuid4()", "entropy"),
        ("import os\nx = os.environ['HOME']", "environment"),
        ("from os import environ\nx = environ.get('HOME')", "environment"),
        ("import time\ntime.sleep(1)", "sleep"),
        ("def f():\n    import time\n    time.sleep(1)", "sleep"),
    ],
)
def test_the_rule_sees(tmp_path: Path, code: str, world: str) -> None:
    (tmp_path / "sample.py").write_text(code)
    found = offences(parse(tmp_path / "sample.py", tmp_path), {name: [] for name in MAY})
    assert len(found) == 1, found
    assert found[0].endswith(f"({world})")


@pytest.mark.parametrize(
    "code",
    [
        "import random\nx = random.Random(7).random()",
        "def f(clock):\n    return clock.time()",
        "from uuid import UUID\nx = UUID(int=7)",
        "time = 3\nx = time",
    ],
)
def test_the_rule_lets_pass(tmp_path: Path, code: str) -> None:
    (tmp_path / "sample.py").write_text(code)
    assert offences(parse(tmp_path / "sample.py", tmp_path), {name: [] for name in MAY}) == []
