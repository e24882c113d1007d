"""One person on one machine, and a controller in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.kit import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home)


@pytest.fixture
def person(cli: Cli) -> Cli:
    """Logged in."""
    return cli.logged_in()
