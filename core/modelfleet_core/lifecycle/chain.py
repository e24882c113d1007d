"""The chain of releases of one slot: incumbent, previous, candidate, rejected, and how the lifecycle moves
it.

Semantics section 4, "Switch": the chain (incumbent, previous) is kept until commit. Commit: previous := old
incumbent, incumbent := candidate. Rollback restores (incumbent, previous) exactly as before; the rejected
release is never a fallback and is not installed again without a new operation. Hence the invariant that the
tests hold on to: incumbent and previous are always among releases that were committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from .machine import CANDIDATE_ANSWERS, Event, State, step

MAX_CLOSED: Final = 64
MAX_REJECTED: Final = 16


@dataclass(frozen=True, slots=True)
class Installed:
    """One variant of one release: release id, `name:version` for people, variant name."""

    release: str
    reference: str
    variant: str


@dataclass(frozen=True, slots=True)
class Before:
    """The chain as it was before `operation` was committed: what a withdrawal of that operation goes back
    to.
    """

    operation: str
    incumbent: Installed | None
    previous: Installed | None


@dataclass(frozen=True, slots=True)
class Chain:
    """What a slot holds.

    Attributes:
        incumbent: the committed release that serves, or None for an empty slot.
        previous: the committed release before it, kept warm as the fallback.
        candidate: the release of the running operation; while rolling back, the one that is being taken out.
        operation: identity of the running operation, None when none runs.
        before: the chain before the last committed operation; None when there is nothing to withdraw.
        rejected: ids of releases that were taken back on this device, newest last, at most `MAX_REJECTED`.
        closed: operations that ended here without a commit or were withdrawn, newest last, at most
            `MAX_CLOSED`: they are not begun again.
    """

    incumbent: Installed | None = None
    previous: Installed | None = None
    candidate: Installed | None = None
    operation: str | None = None
    before: Before | None = None
    rejected: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    def fallback(self) -> Installed | None:
        """What may replace the incumbent at once: the previous release, unless it was rejected since."""
        if self.previous is None or self.previous.release in self.rejected:
            return None
        return self.previous

    def can_reopen(self) -> bool:
        """Whether there is something to go back to from the committed incumbent.

        An empty slot counts when that is what stood before the last commit.
        """
        return self.before is not None or self.fallback() is not None

    def begin(self, operation: str, candidate: Installed) -> Chain:
        """The chain with an operation under way; (incumbent, previous) stay."""
        return replace(self, candidate=candidate, operation=operation)

    def close(self) -> Chain:
        """The operation ended before the candidate reached serve: the release itself is not to blame."""
        return replace(self, candidate=None, operation=None, closed=self._closed(self.operation))

    def commit(self) -> Chain:
        """Previous := incumbent, incumbent := candidate; what stood before is remembered for a withdrawal.

        Raises:
            ValueError: no operation is under way.
        """
        if self.candidate is None or self.operation is None:
            raise ValueError("nothing to commit: no operation is under way")
        return replace(
            self,
            incumbent=self.candidate,
            previous=self.incumbent,
            candidate=None,
            operation=None,
            before=Before(self.operation, self.incumbent, self.previous),
            rejected=tuple(r for r in self.rejected if r != self.candidate.release),
        )

    def reopen(self, operation: str = "") -> Chain:
        """What was committed last is taken back: (incumbent, previous) as before it, its release on the way
        out.

        Where the record of what was before is gone (it was used), the fallback takes the incumbent's place.

        Args:
            operation: what is closed by it; empty = the operation that was committed last.

        Raises:
            ValueError: there is nothing to go back to.
        """
        if not self.can_reopen():
            raise ValueError("nothing to go back to: no committed operation and no fallback")
        before = self.before
        return replace(
            self,
            incumbent=self.previous if before is None else before.incumbent,
            previous=None if before is None else before.previous,
            candidate=self.incumbent,
            operation=operation or (None if before is None else before.operation),
            before=None,
        )

    def reject(self) -> Chain:
        """The candidate is out of serve: it goes to `rejected`, its operation is closed."""
        rejected = self.rejected
        if self.candidate is not None:
            release = self.candidate.release
            rejected = (*(r for r in rejected if r != release), release)[-MAX_REJECTED:]
        return replace(
            self, candidate=None, operation=None, rejected=rejected, closed=self._closed(self.operation)
        )

    def bar(self, operation: str) -> Chain:
        """An operation that changed nothing here is not looked at again."""
        return replace(self, closed=self._closed(operation))

    def _closed(self, operation: str | None) -> tuple[str, ...]:
        if operation is None or operation in self.closed:
            return self.closed
        return (*self.closed, operation)[-MAX_CLOSED:]

    def held(self) -> tuple[Installed, ...]:
        """Everything that must stay on disk: incumbent, previous, candidate, and what a withdrawal would
        need.
        """
        before = (self.before.incumbent, self.before.previous) if self.before is not None else ()
        found: list[Installed] = []
        for installed in (self.incumbent, self.previous, self.candidate, *before):
            if installed is not None and installed not in found:
                found.append(installed)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Position:
    """State and chain of one slot; the two move together."""

    state: State = State.IDLE
    chain: Chain = field(default_factory=Chain)

    def answering(self) -> Installed | None:
        """Who shall answer real requests; None only where nothing was ever committed and nothing is
        switched.
        """
        return self.chain.candidate if self.state in CANDIDATE_ANSWERS else self.chain.incumbent


def move(
    position: Position, event: Event, *, operation: str = "", candidate: Installed | None = None
) -> Position:
    """State and chain after `event`: the whole lifecycle, pure.

    Args:
        position: where the slot stands.
        event: what happened; `ASSIGNED` needs the operation's identity and what it brings.
        operation: identity of the operation that begins, or of the committed one that is taken back.
        candidate: what it brings.

    Raises:
        CallerError: MF-3001, the event means nothing in this state.
        ValueError: `ASSIGNED` without an operation, or there is nothing to go back to.
    """
    state = step(position.state, event)
    chain = position.chain
    if event is Event.ASSIGNED:
        if candidate is None or not operation:
            raise ValueError("an operation needs an identity and a release")
        chain = chain.begin(operation, candidate)
    elif position.state is State.IDLE:
        chain = chain.reopen(operation)
    elif state is State.CLEANING:
        if position.state is State.COMMITTING:
            chain = chain.commit()
        elif position.state is State.ROLLING_BACK:
            chain = chain.reject()
        else:
            chain = chain.close()
    return Position(state, chain)
