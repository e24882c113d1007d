"""How soon a device shall check in again: often inside an active rollout, seldom otherwise, never in step.

The base is the setting `poll_s`. A device that takes part in an active rollout is asked for a quarter of
it, or a quarter of the plan's window where that is less, but not below one second (or the base, where that
is less).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from modelfleet_core.wire.director import SlotAssignment

SPREAD: Final = 0.1
_LEAST_S: Final = 1.0


def poll_s(base_s: float, slots: Sequence[SlotAssignment], nonce: str) -> float:
    """Seconds until the next check-in, spread by +-10 % by the request's nonce (which is random)."""
    windows = [slot.window_s for slot in slots if slot.rollout is not None]
    seconds = base_s
    if windows:
        seconds = max(min(base_s, _LEAST_S), min(base_s / 4, min(windows) / 4))
    draw = int.from_bytes(hashlib.sha256(nonce.encode()).digest()[:4], "big") / 2**32
    return round(seconds * (1 - SPREAD + 2 * SPREAD * draw), 3)
