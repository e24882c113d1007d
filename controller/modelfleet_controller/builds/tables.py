"""Builds: what was ordered, where each stands, what became of it. Its files are blobs."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from modelfleet_core.wire.build import BuildFile, BuildOutcome, BuildProgress, BuildSpec

from ..db.metadata import METADATA
from ..db.types import Instant, Json

BUILD = Table(
    "build",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("spec", Json[BuildSpec](BuildSpec), nullable=False),
    Column("idempotency_key", String(128), nullable=False, unique=True),
    Column("order_sha256", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("started_at", Instant, nullable=True),
    Column("finished_at", Instant, nullable=True),
    Column("cancelled_by", String(128), nullable=True),
    Column("progress", Json[BuildProgress](BuildProgress), nullable=False),
    Column("outcome", Json[BuildOutcome](BuildOutcome), nullable=True),
    Column("files", Json[tuple[BuildFile, ...]](tuple[BuildFile, ...]), nullable=False),
)
