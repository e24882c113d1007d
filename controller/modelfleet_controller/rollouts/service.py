"""Creation, verbs and views of rollouts; idempotency keys make a repeated request harmless."""

from __future__ import annotations

from modelfleet_core.ids import sha256_hex
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import Operation, OperationAnswer, RolloutCreate, Rollouts, RolloutView

from ..auth.actor import Actor
from ..controller import Controller
from ..db.database import Connection
from ..ticker.evaluation import evaluate
from ..unit import unit_of
from . import creating, refusals, verbs, views
from .repository import RolloutRepository
from .stored import StoredRollout

MAX_LISTED = 100


class RolloutService:
    """Rollouts of one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def create(self, body: RolloutCreate, actor: Actor) -> tuple[RolloutView, bool]:
        """(the rollout, whether it is new). The same key with the same request gives the same rollout.

        Raises:
            CallerError: as `creating.read`, `creating.begin`; MF-1654 the key stands for another request.
        """
        resource = creating.read(body)
        digest = sha256_hex(codec.encode(body))
        async with unit_of(self._controller) as unit:
            rollouts = RolloutRepository(unit.connection)
            known = await self._repeated(rollouts, body.idempotency_key, digest)
            if known is None:
                made = await creating.begin(
                    self._controller, unit, resource, actor.person, supersede=body.supersede
                )
                await rollouts.remember(
                    body.idempotency_key, actor.person, digest, made.id, self._controller.clock.now()
                )
                rollout_id = made.id
            else:
                rollout_id = known
        return await self.show(rollout_id), known is None

    async def operate(self, name: str, operation: Operation, actor: Actor) -> OperationAnswer:
        """Runs a verb once per idempotency key.

        Raises:
            CallerError: MF-1602, MF-1654, and what the verb refuses.
        """
        digest = sha256_hex(codec.encode(operation) + name.encode())
        async with unit_of(self._controller) as unit:
            rollouts = RolloutRepository(unit.connection)
            known = await self._repeated(rollouts, operation.idempotency_key, digest)
            if known is not None:
                return codec.decode(known.encode(), OperationAnswer, what="answer")
            rollout = await _found(rollouts, name)
            now = self._controller.clock.now()
            call = verbs.Call(self._controller, unit, rollout, operation, actor, now)
            answer = await verbs.run(call)
            await rollouts.remember(
                operation.idempotency_key, actor.person, digest, codec.encode(answer).decode(), now
            )
        return answer

    async def show(self, name: str) -> RolloutView:
        """One rollout with its devices, by id or name.

        Raises:
            CallerError: MF-1602.
        """
        async with self._controller.database.read() as connection:
            rollout = await _found(RolloutRepository(connection), name)
            return await self._view(connection, rollout, devices=True)

    async def list(self) -> Rollouts:
        """The newest ones, without their devices."""
        async with self._controller.database.read() as connection:
            found = await RolloutRepository(connection).newest(MAX_LISTED)
            return Rollouts(
                tuple([await self._view(connection, rollout, devices=False) for rollout in found])
            )

    async def _view(self, connection: Connection, rollout: StoredRollout, *, devices: bool) -> RolloutView:
        controller = self._controller
        now = controller.clock.now()
        evaluation = await evaluate(
            connection, controller.board, rollout, now, controller.settings.poll_s, controller.started_at
        )
        names = {entry.row.id: entry.row.name for entry in controller.board.devices.values()}
        return views.view(evaluation, names, devices=devices)

    async def _repeated(self, rollouts: RolloutRepository, key: str, digest: str) -> str | None:
        if not 0 < len(key) <= 128:
            raise refusals.reused(key)
        known = await rollouts.answered(key)
        if known is None:
            return None
        if known[0] != digest:
            raise refusals.reused(key)
        return known[1]


async def _found(rollouts: RolloutRepository, name: str) -> StoredRollout:
    rollout = await rollouts.find(name)
    if rollout is None:
        raise refusals.no_rollout(name)
    return rollout
