"""The one door for every JSON body, file and signed payload: strict decoding, canonical encoding.

msgspec checks types strictly (no `"5"` for 5, no `NaN`), and every refusal becomes one of our errors. Unknown
keys of wire bodies are ignored, so that an older side understands a newer one; files that people write go
through `modelfleet_core.files` instead, which refuses them.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ..error_codes import Code
from ..errors import CallerError

T = TypeVar("T")

MAX_BODY_BYTES = 4 * 1024 * 1024
_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(value: object) -> bytes:
    """Canonical JSON of a dataclass: UTF-8, sorted keys, no white space; instants as RFC 3339 with `Z`.

    The same value always gives the same bytes, so its sha256 can serve as identity.
    """
    return _ENCODER.encode(value)


def pretty(value: object) -> bytes:
    """The same content with two spaces of indentation, for files that people read; ends with a newline."""
    return msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n"


def decode(data: bytes | memoryview, kind: type[T], *, what: str, limit: int = MAX_BODY_BYTES) -> T:
    """The value of type `kind` that `data` holds.

    Args:
        data: JSON, at most `limit` bytes.
        kind: the dataclass expected.
        what: how a person calls this body ("check-in", "release.json"): stands in the error.
        limit: largest size accepted, in bytes.

    Raises:
        CallerError: MF-1601, with msgspec's path to the wrong field.
    """
    if len(data) > limit:
        raise CallerError(
            Code.BODY_INVALID,
            f"{what} has {len(data)} bytes",
            expected=f"at most {limit} bytes",
            todo="send less at once",
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CallerError(
            Code.BODY_INVALID,
            f"{what} cannot be read: {str(error)[:500]}",
            expected=f"JSON of the form {kind.__name__}",
            todo="correct the named field; docs/reference shows every field",
        ) from error
