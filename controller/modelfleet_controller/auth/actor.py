"""Who asks, once it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.wire.operator import Scope

_RANK: Final = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Actor:
    """An operator: the token's name stands for the person in the decision log."""

    person: str
    token: str
    scope: Scope

    def may(self, needed: Scope) -> bool:
        """Whether the token's scope includes `needed`."""
        return _RANK[self.scope] >= _RANK[needed]

    def must(self, needed: Scope, what: str) -> None:
        """Refuses an actor whose scope is too small.

        Raises:
            CallerError: MF-1607.
        """
        if not self.may(needed):
            raise CallerError(
                Code.FORBIDDEN,
                f"token {self.person!r} has scope {self.scope.value}, {what} needs {needed.value}",
                expected=f"a token of scope {needed.value} or above",
                todo="ask an admin to do it or to give you a token that may",
            )


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """A device whose signature held; `nonce` is its request's."""

    device: str
    nonce: str
