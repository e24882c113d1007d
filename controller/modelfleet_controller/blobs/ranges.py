"""Range requests on content-addressed files (RFC 9110 section 14): one range; the ETag is the digest
itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes to send: `length` from `start`; `partial` = answer 206 with Content-Range."""

    start: int
    length: int
    partial: bool


def etag(digest: str) -> str:
    """The strong validator of a blob."""
    return f'"{digest}"'


def part_of(size: int, range_header: str | None, if_range: str | None, tag: str) -> Part:
    """The part that a request asks for.

    A range that cannot be read, several ranges, or an If-Range of other content give the whole (RFC 9110
    sections 14.2 and 13.1.5).

    Raises:
        CallerError: MF-1622, the range begins behind the end.
    """
    whole = Part(0, size, False)
    if range_header is None or (if_range is not None and if_range.strip() != tag):
        return whole
    match = _RANGE.fullmatch(range_header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return whole
    first, last = match.groups()
    if first == "":
        start = max(0, size - int(last))
        end = size - 1
        unsatisfiable = int(last) == 0 or size == 0
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return whole
        unsatisfiable = start >= size
    if unsatisfiable:
        raise CallerError(
            Code.BLOB_RANGE,
            f"range {range_header[:60]!r} lies outside the {size} bytes",
            expected=f"bytes 0 to {size - 1}",
            todo="ask for the file's size first (HEAD), or drop the range",
        )
    return Part(start, end - start + 1, True)
