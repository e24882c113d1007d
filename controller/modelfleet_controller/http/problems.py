"""Domain errors become `application/problem+json` (RFC 9457): the one table of codes and HTTP statuses."""

from __future__ import annotations

from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError, WorldError
from modelfleet_core.wire import codec
from modelfleet_core.wire.problem import problem

CONTENT_TYPE: Final = "application/problem+json"

STATUS: Final[dict[Code, int]] = {
    Code.BODY_INVALID: 400,
    Code.NOT_FOUND: 404,
    Code.TOKEN_INVALID: 401,
    Code.TOKEN_EXPIRED: 401,
    Code.TOKEN_REVOKED: 401,
    Code.TOKEN_USED_UP: 401,
    Code.FORBIDDEN: 403,
    Code.OVERRIDE_NOT_ALLOWED: 403,
    Code.DEVICE_REVOKED: 403,
    Code.REQUEST_UNSIGNED: 401,
    Code.REQUEST_SIGNATURE_FORM: 401,
    Code.REQUEST_DIGEST: 401,
    Code.REQUEST_AUDIENCE: 401,
    Code.REQUEST_CLOCK: 401,
    Code.REQUEST_SIGNATURE_BAD: 401,
    Code.REQUEST_REPLAYED: 401,
    Code.REQUEST_KEY_UNKNOWN: 401,
    Code.BLOB_MISSING: 404,
    Code.BLOB_RANGE: 416,
    Code.BLOB_TOO_LARGE: 413,
    Code.RELEASE_EXISTS: 409,
    Code.CLASS_SHIPPED: 409,
    Code.ROLLOUT_CONFLICT: 409,
    Code.VERB_NOT_NOW: 409,
    Code.IDEMPOTENCY_REUSED: 409,
    Code.NOTHING_TO_UNDO: 409,
    Code.BUILDS_NOT_OFFERED: 409,
    Code.DISK_FULL: 507,
    Code.CONTROLLER_BUSY: 503,
}


def status_of(error: ModelfleetError) -> int:
    """The status for an error: by its code, else by whose fault it is."""
    listed = STATUS.get(error.code)
    if listed is not None:
        return listed
    return 503 if isinstance(error, WorldError) else 422


def body_of(error: ModelfleetError) -> bytes:
    """The problem body for an error."""
    return codec.encode(problem(status_of(error), error.diagnostics()))


def headers_of(error: ModelfleetError) -> dict[str, str]:
    """Headers that belong to an error's status."""
    status = status_of(error)
    headers = {"content-type": CONTENT_TYPE, "cache-control": "no-store"}
    if status == 401 and not isinstance(error, IntegrityError):
        headers["www-authenticate"] = "Bearer"
    if status == 503:
        headers["retry-after"] = "5"
    return headers
