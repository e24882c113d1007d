"""How a field of a plan is refused: one spelling for all of them."""

from __future__ import annotations

from typing import NoReturn

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


def refuse(code: Code, path: str, happened: str, *, expected: str, todo: str) -> NoReturn:
    """Raise the error of one field of the plan."""
    raise CallerError(code, f"{path}: {happened}", expected=expected, todo=todo)


def in_range(path: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a number outside low..high (NaN too)."""
    if not low <= value <= high:  # also refuses NaN
        refuse(
            Code.FIELD_OUT_OF_RANGE,
            path,
            f"{value:g} {unit} is outside its range".replace("  ", " "),
            expected=f"{low:g} to {high:g} {unit}".strip(),
            todo=f"correct {path}",
        )
