"""Devices, their labels, what they last said (a narrow table of its own), and user-defined classes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.wire.checkin import SlotStatus

from ..db.metadata import METADATA
from ..db.types import Instant, Json

DEVICE = Table(
    "device",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("name", String(128), nullable=False),
    Column("device_class", String(63), index=True),
    Column("class_reasons", Json[tuple[str, ...]](tuple[str, ...]), nullable=False),
    Column("facts", Json[DeviceFacts](DeviceFacts), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("allow_override", Integer, nullable=False),
    Column("enrolled_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

DEVICE_LABEL = Table(
    "device_label",
    METADATA,
    Column("device_id", String(64), ForeignKey("device.id"), primary_key=True),
    Column("key", String(63), primary_key=True),
    Column("value", String(63), nullable=False),
    Index("ix_device_label_key_value", "key", "value", "device_id"),
)

DEVICE_STATUS = Table(
    "device_status",
    METADATA,
    Column("device_id", String(64), ForeignKey("device.id"), primary_key=True),
    Column("last_seen", Instant, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("slots", Json[tuple[SlotStatus, ...]](tuple[SlotStatus, ...]), nullable=False),
)
"""Written coalesced; a crash may lose the last moments of it (semantics section 7)."""

DEVICE_CLASS = Table(
    "device_class",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("body", Json[DeviceClass](DeviceClass), nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(128), nullable=False),
)

DEVICE_OUTBOX = Table(
    "device_outbox",
    METADATA,
    Column("device_id", String(64), ForeignKey("device.id"), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("through", BigInteger, nullable=False),
    Column("reason", Text),
)
"""Highest event sequence that is durable here, per outbox epoch (semantics section 4, exactly once)."""
