"""One latency pair at a time on this machine: a file lock that several agents share (semantics section 2)."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

WAIT_S: Final = 0.02
_STEP_S: Final = 0.001


class PairLock:
    """`flock` on a file, tried for a bounded time; the kernel frees it when the process dies.

    Raises:
        OSError: the file can be neither opened nor made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o666)

    @asynccontextmanager
    async def held(self, wait_s: float = WAIT_S) -> AsyncIterator[bool]:
        """Whether the lock was had within about `wait_s` seconds; it is given back at the end of the
        block."""
        got = await self._take(wait_s)
        try:
            yield got
        finally:
            if got:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    async def _take(self, wait_s: float) -> bool:
        for attempt in range(max(1, round(wait_s / _STEP_S))):
            if attempt:
                await asyncio.sleep(_STEP_S)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return True
        return False

    def close(self) -> None:
        """Forget the file."""
        os.close(self._file)
