"""A device that stops reporting must not look like "no data": silence is scored as a failure.

After acceptance each window of a device is either reported (x = 0), missed but within the allowed run (no
bet), or silent (x = 1: at least `afterMissed` windows in a row are missing). m is the larger of the
tolerance and the silent share of the class's other devices, so that a power cut at a site speaks against
nobody; s = m, c = 9, as for the other rates (research: gates section 3, silence gate).

Only the run of misses that lasts until now counts: a device that returns is forgiven. That can only lower the
evidence, and it makes the rows a function of (accepted, last report, reports in the stage, now): nothing is
stored. Wealth is counted per stage, so that long health before the switch does not shield a release that
bricks; for that the gate's share of alpha is split over the stages.
"""

from __future__ import annotations

import math
from datetime import datetime

from modelfleet_core.gates.evidence import DeviceSum, Heartbeat
from modelfleet_core.gates.scores import BREACH, NO_BREACH, rate_step
from modelfleet_core.gates.wealth import added, times
from modelfleet_core.rollout.gate import Gate


def silent_windows(
    beat: Heartbeat, after_missed: int, window_s: float, stage_started_at: datetime, now: datetime
) -> int:
    """How many windows of this stage the device has been silent for, up to now; 0 = not silent.

    Counts the windows that have passed whole since the last one reported (before the first report: since
    acceptance or the last contact), without the first `after_missed` - 1 of them, none that began before the
    stage, and none that passed while the controller was not there to listen.
    """
    if beat.last_report_at is None or beat.last_report_at < beat.accepted_at:
        contact = beat.accepted_at if beat.last_contact_at is None else beat.last_contact_at
        since_s = (now - max(beat.accepted_at, contact)).total_seconds()
    else:
        since_s = (now - beat.last_report_at).total_seconds() - window_s
    if beat.listened_since is not None:
        since_s = min(since_s, (now - beat.listened_since).total_seconds())
    missed = math.floor(since_s / window_s)
    in_stage = math.floor((now - stage_started_at).total_seconds() / window_s)
    return max(0, min(missed - after_missed + 1, in_stage))


def silence_sum(
    gate: Gate,
    beat: Heartbeat,
    rate: float,
    stage: int,
    window_s: float,
    stage_started_at: datetime,
    now: datetime,
) -> DeviceSum:
    """The row of the silence gate for one device; `rate` is m, the tolerated share of silent windows."""
    silent = silent_windows(beat, gate.missed, window_s, stage_started_at, now)
    alive, dead = rate_step(0.0, rate), rate_step(1.0, rate)
    return DeviceSum(
        device=beat.device,
        stratum=beat.stratum,
        stage=stage,
        worse=added(times(alive, beat.stage_reports), times(dead, silent)),
        fine=added(times(NO_BREACH, beat.stage_reports), times(BREACH, silent)),
        reports=beat.stage_reports + silent,
        stage_reports=beat.stage_reports + silent,
        score_total=float(silent),
    )
