"""Public keys that this controller knows, and the one row about the controller itself."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from ..db.metadata import METADATA
from ..db.types import Instant

RELEASE_KEY = Table(
    "release_key",
    METADATA,
    Column("hint", String(64), primary_key=True),
    Column("pem", Text, nullable=False),
    Column("added_at", Instant, nullable=False),
    Column("added_by", String(128), nullable=False),
)

CONTROLLER = Table(
    "controller",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("audience", String(64), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
)
"""One row, id 1. `revision` is the global assignment revision (semantics section 4)."""
