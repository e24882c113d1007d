"""How long to wait after failures: exponential, capped, jittered so that a fleet does not come back in
step.
"""

from __future__ import annotations

from typing import Final

from modelfleet_core.clock import Entropy

FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
SOON_S: Final = 15.0


class Backoff:
    """Counts failures in a row.

    Args:
        entropy: for the jitter.
        first_s: wait after the first failure, seconds.
        longest_s: longest wait, seconds.
    """

    def __init__(self, entropy: Entropy, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._entropy = entropy
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def within(self, poll_s: float) -> None:
        """Suits the longest wait to how often the controller wants to hear from this device anyway: twice its
        interval, between `SOON_S` and `LONGEST_S` seconds.
        """
        self._longest_s = min(LONGEST_S, max(SOON_S, 2 * poll_s))

    def succeeded(self) -> None:
        """Everything is well again."""
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait: between half of and the full first_s * 2^(n-1), at most longest_s."""
        self._failures += 1
        most = min(self._longest_s, self._first_s * float(1 << min(self._failures - 1, 30)))
        return most * (0.5 + 0.5 * int.from_bytes(self._entropy(4), "big") / 2**32)
