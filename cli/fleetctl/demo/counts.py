"""The last check: applications, serve's metrics, the controller and its decision log tell the same story."""

from __future__ import annotations

from fleetctl.audit.chain import check
from modelfleet_core.wire.operator import DecisionView, RolloutView

from .metrics import ServeCounts
from .report import Inferences
from .world import World

LOST_WITH_SERVE = 5
"""Answers that a killed serve may have given between the last look at its counters and its death: at 20 a
second and some ten milliseconds, one at most; the rest is for a machine that stalls."""


def reconcile(world: World) -> Inferences:
    """Stops the cameras, compares all counts, and gives the sums."""
    world.traffic.stop()
    total = ServeCounts()
    wrong: list[str] = []
    for device in world.fleet.devices:
        counted, asked = device.counts(), world.traffic.cameras[device.name].counts()
        total = total.plus(counted)
        missing = asked.answered - counted.served
        allowed = LOST_WITH_SERVE if device.serve_was_killed else 0
        if not 0 <= missing <= allowed or asked.failed != counted.failed + counted.dropped:
            wrong.append(
                f"{device.name}: camera {asked.answered} answered, {asked.failed} failed; "
                f"serve {counted.served} served, {counted.failed} failed, {counted.dropped} dropped"
            )
    cameras = world.traffic.counts()
    world.record.check(
        "each camera's count is its serve's count",
        not wrong,
        "; ".join(wrong) or f"{cameras.answered:,} answers",
    )
    world.record.check(
        "not one inference failed in the whole demo", cameras.failed == 0, cameras.latest_error
    )
    share = cameras.right / cameras.answered if cameras.answered else 0.0
    world.record.check("the answers are right", share > 0.9, f"{share:.1%} of {cameras.answered:,}")
    more = [
        f"{rollout.release} {row.device_class}: {row.live_answers_told} told, "
        f"{row.live_answers_by_candidate} counted"
        for rollout in world.rollouts.rows
        for row in rollout.classes
        if row.live_answers_told > row.live_answers_by_candidate
    ]
    world.record.check("the controller knows of no answer that serve did not give", not more, "; ".join(more))
    decisions = world.operator.decisions()
    whole = bool(decisions) and check(decisions) is None
    world.record.check("the decision log's chain holds", whole, f"{len(decisions)} decisions")
    told = [line for view in world.operator.rollouts() for line in _contradictions(view, decisions)]
    world.record.check("every outcome stands in the decision log", not told, "; ".join(told))
    return Inferences(
        served=total.served,
        failed=total.failed,
        dropped=total.dropped,
        worst_swap_gap_ms=total.worst_swap_gap_ms,
        swaps=total.swaps,
        asked=cameras.asked,
        answered=cameras.answered,
    )


_ACTIONS = {"completed": "complete", "rolled_back": "roll_back", "aborted": "abort", "held": "hold"}


def _contradictions(view: RolloutView, decisions: list[DecisionView]) -> list[str]:
    found = []
    for one in view.classes:
        actions = [d.action for d in decisions if d.rollout == view.id and d.device_class == one.device_class]
        wanted = _ACTIONS.get(one.outcome or "")
        if wanted is None or wanted not in actions:
            found.append(f"{view.release} {one.device_class} {one.outcome}: the log has {actions}")
    return found
