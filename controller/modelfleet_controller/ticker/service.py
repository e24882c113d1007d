"""The clockwork: looks at every active rollout, lets the engine decide, applies what changes.

It keeps nothing in memory between ticks, so a restart in the middle changes nothing; that the controller was
away is not held against devices which could not be heard (`started_at`). A rollout is first
looked at in a read transaction; only when something changes is it evaluated again inside the write
transaction that applies it.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from modelfleet_core.rollout.decision import Decision
from modelfleet_core.rollout.engine import decide

from ..controller import Controller
from ..rollouts.repository import RolloutRepository
from ..rollouts.stored import StoredRollout
from ..telemetry.repository import TelemetryRepository
from ..unit import Unit, unit_of
from .applying import ENGINE, apply_decision
from .evaluation import Evaluation, evaluate

log = logging.getLogger(__name__)

_CLEAN_EVERY: Final = timedelta(hours=1)


class Ticker:
    """One tick at a time; the caller (bootstrap) repeats it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._cleaned_at: datetime | None = None

    async def tick(self) -> None:
        """Decides about every active rollout; one that cannot be decided is logged and holds up no other."""
        now = self._controller.clock.now()
        async with self._controller.database.read() as connection:
            active = await RolloutRepository(connection).active()
        for rollout in active:
            try:
                await self._look(rollout, now)
            except Exception:
                log.exception("rollout_not_decided", extra={"rollout": rollout.id})
        await self._clean(now)

    async def _look(self, rollout: StoredRollout, now: datetime) -> None:
        controller = self._controller
        async with controller.database.read() as connection:
            evaluation = await evaluate(
                connection, controller.board, rollout, now, controller.settings.poll_s, controller.started_at
            )
        if not changes(evaluation, _decide(evaluation, now)):
            return
        async with unit_of(controller) as unit:
            await advance(controller, unit, rollout.id, now)

    async def _clean(self, now: datetime) -> None:
        if self._cleaned_at is not None and now - self._cleaned_at < _CLEAN_EVERY:
            return
        self._cleaned_at = now
        # the sums that decide are kept for good
        kept = timedelta(days=self._controller.settings.report_days)
        async with self._controller.database.write() as connection:
            dropped = await TelemetryRepository(connection).drop_reports_before(now - kept)
        if dropped:
            log.info("reports_dropped", extra={"count": dropped})


async def advance(
    controller: Controller, unit: Unit, rollout_id: str, now: datetime, *, person: str = ENGINE
) -> Decision | None:
    """Decides about one rollout and applies it in the transaction of `unit`; None where it has ended."""
    rollout = await RolloutRepository(unit.connection).find(rollout_id)
    if rollout is None or rollout.finished_at is not None:
        return None
    evaluation = await evaluate(
        unit.connection, controller.board, rollout, now, controller.settings.poll_s, controller.started_at
    )
    decision = _decide(evaluation, now)
    if changes(evaluation, decision):
        await apply_decision(unit.connection, evaluation, decision, person=person)
        unit.reassign()
        for made in decision.classes:
            if made.changes:
                controller.metrics.decisions.labels(made.action.value).inc()
        log.info("rollout_decided", extra={"rollout": rollout.id, "sentence": decision.sentence})
    return decision


def changes(evaluation: Evaluation, decision: Decision) -> bool:
    """Whether anything has to be written."""
    outcome = None if decision.outcome is None else decision.outcome.value
    return any(made.changes for made in decision.classes) or outcome != evaluation.rollout.outcome


def _decide(evaluation: Evaluation, now: datetime) -> Decision:
    return decide(evaluation.rollout.plan, evaluation.progress, evaluation.verdicts, now)
