"""All tables of the controller: importing this fills the MetaData."""

from __future__ import annotations

from sqlalchemy import MetaData

from ..audit import tables as _audit
from ..auth import tables as _auth
from ..builds import tables as _builds
from ..devices import tables as _devices
from ..releases import tables as _releases
from ..rollouts import tables as _rollouts
from ..telemetry import tables as _telemetry
from ..trust import tables as _trust
from .metadata import METADATA

_ALL = (_audit, _auth, _builds, _devices, _releases, _rollouts, _telemetry, _trust)


def complete() -> MetaData:
    """The MetaData with every table in it."""
    return METADATA
