"""The other programs of Modelfleet: where they lie, and what they need."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

CONTROLLER: Final = "modelfleet-controller"
CONTROLLER_MODULES: Final = ("aiosqlite", "alembic", "fastapi", "sqlalchemy", "uvicorn")
AGENT: Final = "modelfleet-agent"
AGENT_MODULES: Final = ("cryptography", "h11", "urllib3")


def find(program: str) -> Path | None:
    """The program beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / program
    if beside.is_file():
        return beside
    found = shutil.which(program)
    return Path(found) if found else None


def need(program: str) -> Path:
    """The program.

    Raises:
        CallerError: MF-6007, it is not installed.
    """
    found = find(program)
    if found is None:
        raise CallerError(
            Code.CLI_EXTRA_MISSING,
            f"the program {program} is not installed",
            expected=f"{program} beside fleetctl or on the PATH",
            todo="pip install 'modelfleet[controller]'",
        )
    return found
