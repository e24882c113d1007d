"""Reports as they came (bounded in time), and the sums that the gates judge."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from ..db.metadata import METADATA
from ..db.types import Instant

REPORT = Table(
    "report",
    METADATA,
    Column("device_id", String(64), ForeignKey("device.id"), primary_key=True),
    Column("release_id", String(64), primary_key=True),
    Column("slot", String(63), primary_key=True),
    Column("window", BigInteger, primary_key=True, autoincrement=False),
    Column("rollout_id", String(64), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_report_rollout_id", "rollout_id", "device_id"),
    Index("ix_report_received_at", "received_at"),
)
"""The key is the report's identity: a replay finds its row and changes nothing (semantics section 4)."""

GATE_SUM = Table(
    "gate_sum",
    METADATA,
    Column("rollout_id", String(64), ForeignKey("rollout.id"), primary_key=True),
    Column("metric", String(20), primary_key=True),
    Column("device_id", String(64), primary_key=True),
    Column("device_class", String(63), nullable=False),
    Column("stratum", String(20), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("worse", LargeBinary(128), nullable=False),
    Column("fine", LargeBinary(128), nullable=False),
    Column("reports", Integer, nullable=False),
    Column("stage_reports", Integer, nullable=False),
    Column("score_total", Float, nullable=False),
    Index("ix_gate_sum_class", "rollout_id", "device_class"),
)
"""`core.gates.evidence.DeviceSum`, one row per device and gate; wealth packed by `core.gates.wealth.pack`."""
