"""`application/problem+json` (RFC 9457) with our code, and the three sentences."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Diagnostics


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of every error answer. `detail` is what happened."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    expected: str
    todo: str


def problem(status: int, diagnostics: Diagnostics) -> Problem:
    """The body for an error."""
    return Problem(
        type=f"urn:modelfleet:error:{diagnostics.code}",
        title=diagnostics.title,
        status=status,
        code=diagnostics.code,
        detail=diagnostics.happened,
        expected=diagnostics.expected,
        todo=diagnostics.todo,
    )
