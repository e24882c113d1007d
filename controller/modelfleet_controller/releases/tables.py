"""Releases. The manifest's bytes are a blob; here is what queries need, and the manifest again, decoded."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, UniqueConstraint

from modelfleet_core.release.manifest import Manifest

from ..db.metadata import METADATA
from ..db.types import Instant, Json

RELEASE = Table(
    "release",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("version", String(63), nullable=False),
    Column("manifest", Json[Manifest](Manifest), nullable=False),
    Column("bundles", Json[dict[str, str]](dict[str, str]), nullable=False),
    Column("signed_by", Json[tuple[str, ...]](tuple[str, ...]), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("pushed_at", Instant, nullable=False),
    Column("pushed_by", String(128), nullable=False),
    UniqueConstraint("name", "version"),
)
