"""Answers to check-ins: a signed statement when there is something to say, 204 when there is not.

The ETag holds when the device's present statement was issued and the digest of its assignments, so nothing
is kept per
device: equal assignments younger than half a statement's life need no new statement (semantics section 4).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelfleet_core.trust.director import issue_statement
from modelfleet_core.trust.dsse import Signer
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import DirectorStatement, SlotAssignment
from modelfleet_core.wire.enroll import Envelope

_ETAG: Final = re.compile(r'"([0-9a-f]{1,12})-([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Issued:
    """A statement and the ETag that stands for it."""

    envelope: Envelope
    etag: str


def digest_of(slots: Sequence[SlotAssignment]) -> str:
    """32 hex characters that change with the assignments."""
    return hashlib.sha256(codec.encode(slots)).hexdigest()[:32]


def still_holds(etag: str | None, digest: str, now: datetime, life_s: float) -> bool:
    """Whether the statement that `etag` stands for says the same and is younger than half its life."""
    match = _ETAG.fullmatch((etag or "").strip())
    if match is None or not hmac.compare_digest(match.group(2), digest):
        return False
    age_s = now.timestamp() - int(match.group(1), 16)
    return 0 <= age_s < life_s / 2


def issue(
    device: str,
    revision: int,
    slots: tuple[SlotAssignment, ...],
    digest: str,
    nonce: str,
    now: datetime,
    life_s: float,
    director: Signer,
) -> Issued:
    """A new statement for the device, answering the request with this nonce."""
    statement = DirectorStatement(
        device=device,
        revision=revision,
        issued_at=now,
        expires_at=now + timedelta(seconds=life_s),
        nonce=nonce,
        slots=slots,
    )
    return Issued(issue_statement(statement, director), f'"{int(now.timestamp()):x}-{digest}"')
