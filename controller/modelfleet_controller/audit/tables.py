"""The decision log: append-only, each row bound to the one before by its hash."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from ..db.metadata import METADATA
from ..db.types import Instant

DECISION = Table(
    "decision",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("rollout_id", String(64), nullable=False, index=True),
    Column("device_class", String(63), nullable=False),
    Column("action", String(32), nullable=False),
    Column("person", String(128), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
