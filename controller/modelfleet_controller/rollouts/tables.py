"""Rollouts, their classes, the stages begun so far, the devices that took part, and baselines.

A stage change writes one class row and one stage row, however many devices there are (semantics section 1).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from modelfleet_core.gates.verdict import Verdict
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import PromoteRequest

from ..db.metadata import METADATA
from ..db.types import Instant, Json

ROLLOUT = Table(
    "rollout",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(63), nullable=False, index=True),
    Column("slot", String(63), nullable=False),
    Column("release_id", String(64), ForeignKey("release.id"), nullable=False),
    Column("operation", String(96), nullable=False, unique=True),
    Column("salt", String(64), nullable=False),
    Column("plan", Json[RolloutPlan](RolloutPlan), nullable=False),
    Column("resource", Text, nullable=False),
    Column("only_classes", Json[tuple[str, ...]](tuple[str, ...]), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("paused", Boolean(name="bool"), nullable=False),
    Column("ending", String(16)),
    Column("ending_reason", Text, nullable=False),
    Column("outcome", String(16)),
    Column("reason", Text, nullable=False),
    Column("finished_at", Instant),
    Index("ix_rollout_active", "finished_at", "slot"),
)
"""`finished_at` NULL = active. `outcome` may be `held` while active: it waits for a person."""

ROLLOUT_CLASS = Table(
    "rollout_class",
    METADATA,
    Column("rollout_id", String(64), ForeignKey("rollout.id"), primary_key=True),
    Column("device_class", String(63), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("stage_started_at", Instant, nullable=False),
    Column("cohort", Integer, nullable=False),
    Column("extensions", Integer, nullable=False),
    Column("promote", Json[PromoteRequest](PromoteRequest)),
    Column("baseline", String(64)),
    Column("leave", Boolean(name="bool"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("stopped_in", String(16)),
    Column("stopped_by", String(32)),
    Column("evidence", Float),
    Column("verdicts", Json[tuple[Verdict, ...]](tuple[Verdict, ...]), nullable=False),
    Column("history", Json[tuple[str, ...]](tuple[str, ...]), nullable=False),
)

ROLLOUT_STAGE = Table(
    "rollout_stage",
    METADATA,
    Column("rollout_id", String(64), ForeignKey("rollout.id"), primary_key=True),
    Column("device_class", String(63), primary_key=True),
    Column("stage", Integer, primary_key=True, autoincrement=False),
    Column("highest", BigInteger),
    Column("admits", BigInteger),
    Column("known_by", Instant),
    Column("started_at", Instant, nullable=False),
)
"""One cutoff (`core.rollout.cohort.Cutoff`); `highest` NULL = nobody, stored signed (`cohort.to_signed`)."""

ROLLOUT_DEVICE = Table(
    "rollout_device",
    METADATA,
    Column("rollout_id", String(64), ForeignKey("rollout.id"), primary_key=True),
    Column("device_id", String(64), ForeignKey("device.id"), primary_key=True),
    Column("device_class", String(63), nullable=False),
    Column("stratum", String(20), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("accepted_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("code", String(16)),
    Column("reason", Text),
    Column("hard", String(20)),
    Column("hard_reason", Text),
    Column("last_report_at", Instant),
    Column("reports", Integer, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("stage_reports", Integer, nullable=False),
    Column("mode_reports", Integer, nullable=False),
    Column("candidate_answers", BigInteger, nullable=False),
    Column("bytes_received", BigInteger, nullable=False),
    Column("golden_total", Integer),
    Column("golden_right", Float),
    Column("golden_incumbent_right", Float),
    Index("ix_rollout_device_outcome", "rollout_id", "device_class", "outcome"),
    Index("ix_rollout_device_device_id", "device_id"),
)
"""A row from the first event or report on; a device without a row is `not reached`.

`stage_reports`: windows of `stage` in whatever mode (silence); `mode_reports`: those in the stage's mode.
"""

BASELINE = Table(
    "baseline",
    METADATA,
    Column("slot", String(63), primary_key=True),
    Column("selector", String(2048), primary_key=True),
    Column("device_class", String(63), primary_key=True),
    Column("release_id", String(64), ForeignKey("release.id"), nullable=False),
    Column("rollout_id", String(64), ForeignKey("rollout.id"), nullable=False),
    Column("since", Instant, nullable=False),
)
"""`selector` = canonical JSON of matchLabels."""

OPERATION = Table(
    "rollout_operation",
    METADATA,
    Column("key", String(128), primary_key=True),
    Column("person", String(128), nullable=False),
    Column("request_sha256", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", Instant, nullable=False),
    UniqueConstraint("key", "person"),
)
"""Idempotency keys of creations and verbs with their answers (semantics section 3)."""
