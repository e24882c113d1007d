"""Director statements and signed time: what the controller says to one device (semantics section 4).

A statement can only choose among releases that layer A authorises. It is bound to device, revision, life and
the nonce of the request it answers. Expiry is judged by a floor that the caller computes: max(clock, last
signed time, build time).
"""

from __future__ import annotations

import base64
import hmac
import math
from datetime import datetime
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import DIRECTOR_PAYLOAD, TIME_PAYLOAD, DirectorStatement
from modelfleet_core.wire.enroll import Envelope, TimeStatement

from .dsse import Signer, open_envelope, sign_envelope
from .policy import TrustPolicy

MAX_STATEMENT_BYTES: Final = 256 * 1024
MAX_TIME_BYTES: Final = 1024
MAX_TIME_HEADER: Final = 4096
_TODO: Final = "keep what runs; ask the controller again"


def issue_statement(statement: DirectorStatement, signer: Signer) -> Envelope:
    """The statement, signed by the director key."""
    return sign_envelope(DIRECTOR_PAYLOAD, codec.encode(statement), signer)


def check_statement(
    envelope: Envelope,
    policy: TrustPolicy,
    *,
    device: str,
    nonce: str | None,
    last_revision: int,
    now_floor: datetime,
) -> DirectorStatement:
    """The statement, once it is found to be for this device, fresh and not older than one seen before.

    Args:
        envelope: as received.
        policy: of the pinned trust file.
        device: this device's id.
        nonce: of the request it answers; None only for one that was checked before and read from disk again.
        last_revision: highest revision seen.
        now_floor: earliest instant that it can be now, aware.

    Raises:
        IntegrityError: MF-2010 to MF-2015 as `open_envelope` (bad signature MF-2015), MF-2105 malformed,
            MF-2101 another device, MF-2103 another nonce, MF-2102 lower revision, MF-2104 expired.
    """
    payload = open_envelope(envelope, policy.director_verifiers(), DIRECTOR_PAYLOAD, MAX_STATEMENT_BYTES)
    try:
        statement = codec.decode(
            payload, DirectorStatement, what="the director statement", limit=MAX_STATEMENT_BYTES
        )
    except ModelfleetError as error:
        raise _refused(Code.DIRECTOR_INVALID, error.happened, "a director statement") from error
    if statement.schema != 1 or statement.revision < 0 or statement.issued_at >= statement.expires_at:
        raise _refused(
            Code.DIRECTOR_INVALID,
            f"schema {statement.schema}, revision {statement.revision}, "
            f"from {statement.issued_at.isoformat()} to {statement.expires_at.isoformat()}",
            "schema 1, a revision of at least 0, and a life that ends after it begins",
        )
    if statement.device != device:
        raise _refused(Code.DIRECTOR_DEVICE, f"the statement is for {statement.device[:80]}", device)
    if nonce is not None and not hmac.compare_digest(statement.nonce.encode(), nonce.encode()):
        raise _refused(
            Code.DIRECTOR_NONCE, "the statement answers another request", "the nonce of the request just sent"
        )
    if statement.revision < last_revision:
        raise _refused(
            Code.DIRECTOR_REVISION,
            f"the statement has revision {statement.revision}, {last_revision} was seen before",
            f"at least {last_revision}",
        )
    if statement.expires_at <= now_floor:
        raise _refused(
            Code.DIRECTOR_EXPIRED,
            f"the statement expired at {statement.expires_at.isoformat()}; "
            f"it is {now_floor.isoformat()} or later",
            "a statement that still holds",
        )
    return statement


def issue_time(time: TimeStatement, signer: Signer) -> Envelope:
    """The controller's time, signed by the director key."""
    return sign_envelope(TIME_PAYLOAD, codec.encode(time), signer)


def check_time(envelope: Envelope, policy: TrustPolicy, nonce: str) -> TimeStatement:
    """The signed time, once it is found to answer the request with this nonce.

    Raises:
        IntegrityError: MF-2010 to MF-2015 as `open_envelope`, MF-2106 malformed, MF-2107 another nonce.
    """
    payload = open_envelope(envelope, policy.director_verifiers(), TIME_PAYLOAD, MAX_TIME_BYTES)
    try:
        time = codec.decode(payload, TimeStatement, what="the signed time", limit=MAX_TIME_BYTES)
    except ModelfleetError as error:
        raise _refused(Code.TIME_INVALID, error.happened, "a signed time") from error
    if not (math.isfinite(time.time_unix_s) and 0 < time.time_unix_s < 1e11):
        raise _refused(Code.TIME_INVALID, f"the time is {time.time_unix_s}", "seconds since 1970")
    if not hmac.compare_digest(time.nonce.encode(), nonce.encode()):
        raise _refused(
            Code.TIME_NONCE, "the signed time answers another request", "the nonce of the request just sent"
        )
    return time


def time_header(envelope: Envelope) -> str:
    """Value of the header `Modelfleet-Time`: base64 of the envelope's JSON."""
    return base64.b64encode(codec.encode(envelope)).decode()


def read_time_header(value: str) -> Envelope:
    """The envelope in a `Modelfleet-Time` header.

    Raises:
        IntegrityError: MF-2106.
    """
    if len(value) > MAX_TIME_HEADER:
        raise _refused(
            Code.TIME_INVALID, f"the header has {len(value)} characters", f"at most {MAX_TIME_HEADER}"
        )
    try:
        data = base64.b64decode(value, validate=True)
        return codec.decode(data, Envelope, what="the header Modelfleet-Time", limit=MAX_TIME_HEADER)
    except (ValueError, ModelfleetError) as error:
        raise _refused(
            Code.TIME_INVALID, "the header Modelfleet-Time cannot be read", "base64 of an envelope's JSON"
        ) from error


def _refused(code: Code, happened: str, expected: str) -> IntegrityError:
    return IntegrityError(code, happened, expected=expected, todo=_TODO)
