"""Where the SDK finds serve: `MODELFLEET_SOCKET`, else the socket in the agent's default state directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..settings import SYSTEM_STATE

SOCKET_VARIABLE: Final = "MODELFLEET_SOCKET"
SOCKET_NAME: Final = "sdk.sock"


def socket_path(environment: Mapping[str, str] | None = None) -> Path:
    """The socket's path; `environment` None = of this process."""
    known = os.environ if environment is None else environment
    named = known.get(SOCKET_VARIABLE)
    if named:
        return Path(named)
    base = known.get("XDG_STATE_HOME") or str(Path(known.get("HOME", "/")) / ".local" / "state")
    own = Path(base) / "modelfleet" / SOCKET_NAME
    # An application may run as another user than the agent, so the system's place comes first where it is
    # used.
    system = SYSTEM_STATE / SOCKET_NAME
    return system if system.exists() or os.geteuid() == 0 else own
