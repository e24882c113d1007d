"""What a data set is for, and how a wrong one is refused."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


class Role(StrEnum):
    """What a data set is for."""

    CALIBRATION = "calibration"
    TUNING = "tuning"
    VALIDATION = "validation"
    GOLDEN = "golden"


def refused(code: Code, role: Role, path: Path, what: str, expected: str) -> CallerError:
    """The refusal of a data set."""
    return CallerError(
        code, f"the {role} set {path.name} {what}", expected=expected, todo=f"correct the {role} data"
    )
