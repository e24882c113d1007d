"""Waiting for any of: time is up, somebody has something for the control loop, serve has hung up.

A serve that died is noticed at once, not at the next look: applications wait for it with a deadline.
"""

from __future__ import annotations

import os
import select
from typing import Final

_LONGEST_S: Final = 3600.0


class Wakeup:
    """An event that can be waited for together with a socket. `set` is safe from threads and signal
    handlers.
    """

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """Ends the present wait, or the next one."""
        os.eventfd_write(self._event, 1)

    def wait(self, seconds: float, hangup: int | None = None) -> None:
        """Returns after `seconds`, or when `set` was called, or when the other side of that socket is gone.

        Args:
            seconds: longest wait.
            hangup: descriptor of a connected stream socket, or None.
        """
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        if hangup is not None:
            poll.register(hangup, select.POLLRDHUP)
        poll.poll(min(max(seconds, 0.0), _LONGEST_S) * 1000)
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._event)
