"""Release keys: public halves only, ECDSA P-256, never the director's."""

from __future__ import annotations

from modelfleet_core.clock import Clock
from modelfleet_core.trust.dsse import Verifier
from modelfleet_core.trust.policy import release_policy

from ..db.database import Connection
from .repository import ReleaseKey, TrustRepository


class TrustService:
    """Rules of keys over one transaction."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._repository = TrustRepository(connection)
        self._clock = clock

    async def add_release_key(self, pem: str, person: str) -> bool:
        """Registers a key; False = it was known.

        Raises:
            CallerError: MF-2001 unreadable, MF-2002 not ECDSA P-256.
        """
        ((hint, key),) = release_policy((pem,)).items()
        stored = ReleaseKey(hint, key.to_pem(), self._clock.now(), person)
        return await self._repository.add_release_key(stored)

    async def release_keys(self) -> tuple[str, ...]:
        """All keys as PEM."""
        return tuple(key.pem for key in await self._repository.release_keys())

    async def policy(self) -> dict[str, Verifier]:
        """Who may sign releases, by hint."""
        return dict(release_policy(await self.release_keys()))
