"""Tokens: for operators (`api`) and for enrolment. Only the sha256 of a secret is kept."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Table

from ..db.metadata import METADATA
from ..db.types import Instant, Json

TOKEN = Table(
    "token",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(128), nullable=False),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("scope", String(16)),
    Column("labels", Json[dict[str, str]](dict[str, str]), nullable=False),
    Column("allow_override", Boolean(name="bool"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("revoked_at", Instant),
)
