"""The hash chain of the decision log: each hash binds the body and the hash before it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from modelfleet_core.wire.operator import DecisionView

GENESIS: Final = "0" * 64


def check(links: Sequence[DecisionView]) -> int | None:
    """Sequence of the first link that does not follow from the one before, None where all do.

    Args:
        links: the whole log in order, from its first link on.
    """
    previous = GENESIS
    for sequence, link in enumerate(links, 1):
        digest = hashlib.sha256(f"{link.previous}|{link.body}".encode()).hexdigest()
        if link.sequence != sequence or link.previous != previous or link.hash != digest:
            return link.sequence
        previous = link.hash
    return None
