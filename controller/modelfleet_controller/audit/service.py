"""The hash chain: hash = sha256(previous hash | canonical body); the first link's previous is 64 zeros.

The body is the whole record (instant, rollout, class, action, person, sentence, evidence) in canonical
JSON, so the hash binds all of it and a link can be replayed from its body alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from modelfleet_core.ids import sha256_hex
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import DecisionView

from ..db.database import Connection
from .repository import AuditRepository

GENESIS: Final = "0" * 64
MAX_SENTENCE: Final = 8000


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written down: who (`person`, or `controller`) did what to which class of which rollout, and
    why.

    `evidence` is any value that the codec encodes; stored as it was at that moment.
    """

    at: datetime
    rollout: str
    device_class: str
    action: str
    person: str
    sentence: str
    evidence: object = None


@dataclass(frozen=True, slots=True)
class _Body:
    sequence: int
    at: datetime
    rollout: str
    device_class: str
    action: str
    person: str
    sentence: str
    evidence: msgspec.Raw


def link(previous: str, body: str) -> str:
    """The hash of a link."""
    return sha256_hex(f"{previous}|{body}".encode())


async def append(connection: Connection, entry: Entry) -> DecisionView:
    """Adds one link to the chain, inside the deciding transaction."""
    repository = AuditRepository(connection)
    last = await repository.last()
    previous = GENESIS if last is None else last.hash
    sequence = 1 if last is None else last.sequence + 1
    sentence = entry.sentence[:MAX_SENTENCE]
    body = codec.encode(
        _Body(
            sequence,
            entry.at,
            entry.rollout,
            entry.device_class,
            entry.action,
            entry.person,
            sentence,
            msgspec.Raw(codec.encode(entry.evidence)),
        )
    ).decode()
    decision = DecisionView(
        sequence=sequence,
        at=entry.at,
        rollout=entry.rollout,
        device_class=entry.device_class,
        action=entry.action,
        person=entry.person,
        sentence=sentence,
        body=body,
        previous=previous,
        hash=link(previous, body),
    )
    await repository.add(decision)
    return decision


def broken_at(chain: Sequence[DecisionView]) -> int | None:
    """Sequence of the first link that does not hold, in a chain from the beginning; None = all hold."""
    previous = GENESIS
    for expected, decision in enumerate(chain, start=1):
        body = codec.decode(decision.body.encode(), _Body, what="a decision")
        told = (
            body.sequence,
            body.at,
            body.rollout,
            body.device_class,
            body.action,
            body.person,
            body.sentence,
        )
        shown = (
            decision.sequence,
            decision.at,
            decision.rollout,
            decision.device_class,
            decision.action,
            decision.person,
            decision.sentence,
        )
        if (
            decision.sequence != expected
            or told != shown
            or decision.previous != previous
            or decision.hash != link(previous, decision.body)
        ):
            return expected
        previous = decision.hash
    return None
