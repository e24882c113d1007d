"""The last director statement: checked, persisted before it is believed, and asked whether it still holds.

Semantics section 4: a lower revision than seen is refused; an expired statement starts no install and no
switch, and what serves goes on serving. Expiry is judged by max(clock, last signed time, build time), the
clock corrected by the controller's signed time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from modelfleet_agent.state.files import read_limited, unreadable, write_atomic
from modelfleet_agent.state.folder import StateFolder
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.trust.director import check_statement
from modelfleet_core.trust.policy import TrustPolicy
from modelfleet_core.wire import codec
from modelfleet_core.wire.director import DirectorStatement
from modelfleet_core.wire.enroll import Envelope

from .client import CorrectedClock

BUILT_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock of a device that runs this version can be right before it; raised with every release."""
_MAX_FILE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """Content of `director.json`.

    Attributes:
        revision: highest one seen.
        signed_at: latest instant that the director signed, of all statements seen.
        envelope: the last statement that was accepted.
    """

    revision: int = 0
    signed_at: datetime = BUILT_AT
    envelope: Envelope | None = None
    schema: int = 1


class Director:
    """What the controller wants of this device. Safe for several threads.

    Args:
        folder: of the state directory.
        device: own id.
        policy: of the pinned trust file.
        clock: corrected.
    """

    def __init__(self, folder: StateFolder, device: str, policy: TrustPolicy, clock: CorrectedClock) -> None:
        self._path = folder.director
        self._device = device
        self._policy = policy
        self._clock = clock
        self._lock = threading.Lock()
        self._kept = self._read()
        self._statement = self._reopen()

    @property
    def revision(self) -> int:
        """Highest revision seen."""
        with self._lock:
            return self._kept.revision

    @property
    def statement(self) -> DirectorStatement | None:
        """The last statement that was accepted, expired or not."""
        with self._lock:
            return self._statement

    def holds(self) -> bool:
        """Whether there is a statement that has not expired."""
        with self._lock:
            return self._statement is not None and self._statement.expires_at > self._floor(self._kept)

    def accept(self, envelope: Envelope, nonce: str) -> DirectorStatement:
        """Checks a statement, persists it, and only then believes it.

        Args:
            envelope: as received.
            nonce: of the request that it answers.

        Raises:
            IntegrityError: MF-2010 to MF-2015, MF-2101 to MF-2105: the one before stays.
            WorldError: MF-5001, MF-3004, it cannot be persisted: the one before stays.
        """
        with self._lock:
            kept = self._kept
            statement = check_statement(
                envelope,
                self._policy,
                device=self._device,
                nonce=nonce,
                last_revision=kept.revision,
                now_floor=self._floor(kept),
            )
            kept = Kept(
                revision=max(kept.revision, statement.revision),
                signed_at=max(kept.signed_at, statement.issued_at),
                envelope=envelope,
            )
            write_atomic(self._path, codec.encode(kept))
            self._kept = kept
            self._statement = statement
            return statement

    def _floor(self, kept: Kept) -> datetime:
        return max(self._clock.now(), kept.signed_at, BUILT_AT)

    def _read(self) -> Kept:
        data = read_limited(self._path, _MAX_FILE)
        if data is None:
            return Kept()
        try:
            kept = codec.decode(data, Kept, what=str(self._path))
        except ModelfleetError as error:
            # Without the highest revision an old statement could be played to this device again.
            raise unreadable(self._path, error.happened) from error
        return replace(kept, signed_at=max(kept.signed_at, BUILT_AT))

    def _reopen(self) -> DirectorStatement | None:
        """The statement of the file, checked once more: signature and device; its expiry is for `holds`."""
        if self._kept.envelope is None:
            return None
        try:
            return check_statement(
                self._kept.envelope,
                self._policy,
                device=self._device,
                nonce=None,
                last_revision=0,
                now_floor=datetime.min.replace(tzinfo=UTC),
            )
        except ModelfleetError:
            # The trust file or the file itself was changed: the controller is asked for a new one.
            return None
