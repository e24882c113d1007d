"""What the parts of the controller share; composed once, in bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.trust.keys import Ed25519Private

from .auth.request_verifier import Ed25519RequestVerifier
from .blobs.port import BlobStore
from .db.database import Database
from .db.group_commit import GroupCommit
from .hot.board import Board
from .metrics import Metrics
from .settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Controller:
    """One running controller.

    Attributes:
        audience: its name; stands in the tag of every device's signature.
        director: signs statements and times.
        board: the in-memory snapshot that hot routes answer from.
        commits: durable writes of hot routes, in groups.
        started_at: since when it listens; aware.
        build_root: folders of builds that run.
        builds_offered: whether builds are taken.
    """

    settings: Settings
    clock: Clock
    entropy: Entropy
    database: Database
    blobs: BlobStore
    audience: str
    director: Ed25519Private
    verifier: Ed25519RequestVerifier
    board: Board
    commits: GroupCommit
    metrics: Metrics
    started_at: datetime
    build_root: Path
    builds_offered: bool
