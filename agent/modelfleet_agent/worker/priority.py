"""How this process is scheduled, and that it dies with its parent.

An idle-priority order must be followed by a normal one without a new process, so lowering is used only where
the process may raise itself again (root, CAP_SYS_NICE, or RLIMIT_NICE as in the shipped systemd unit); this
is tried out on a throw-away thread, because on Linux a priority belongs to a thread.

Imports next to nothing: the priority is set before anything heavy is imported.
"""

from __future__ import annotations

import os
import threading
from enum import StrEnum
from typing import Final

LOADING_NICE: Final = 15
_PR_SET_PDEATHSIG: Final = 1


class Priority(StrEnum):
    """How an order is scheduled: like everything else, while loading, or only when nothing else runs."""

    NORMAL = "normal"
    LOADING = "loading"
    IDLE = "idle"


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent` ends, even if it was killed.

    Raises:
        ChildProcessError: the parent is gone already.
    """
    import ctypes
    import signal

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ChildProcessError("serve is gone")


class Scheduler:
    """Sets the priority of all threads of this process.

    Attributes:
        can_lower: this process may lower its priority and raise it again; if not, every order runs as normal.
    """

    def __init__(self) -> None:
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self.can_lower = self._try_out()
        self._threads: list[int] = []
        self.survey()

    def survey(self) -> None:
        """Look again at which threads there are: after a runtime was loaded."""
        self._threads = [int(name) for name in os.listdir("/proc/self/task")]

    def set(self, priority: Priority) -> None:
        """Schedule all threads in this way. A thread that has ended is passed over."""
        if not self.can_lower:
            return
        for thread in self._threads:
            try:
                _schedule(thread, priority, self._nice)
            except ProcessLookupError:
                continue

    def _try_out(self) -> bool:
        allowed: list[bool] = []

        def attempt() -> None:
            try:
                for priority in (Priority.IDLE, Priority.NORMAL, Priority.LOADING, Priority.NORMAL):
                    _schedule(0, priority, self._nice)
            except OSError:
                return
            allowed.append(True)

        thread = threading.Thread(target=attempt, name="priority")
        thread.start()
        thread.join()
        return bool(allowed)


def _schedule(thread: int, priority: Priority, nice: int) -> None:
    """`thread` 0 is the calling one."""
    policy = os.SCHED_IDLE if priority is Priority.IDLE else os.SCHED_OTHER
    os.sched_setscheduler(thread, policy, os.sched_param(0))
    if priority is not Priority.IDLE:
        wanted = max(nice, LOADING_NICE) if priority is Priority.LOADING else nice
        os.setpriority(os.PRIO_PROCESS, thread or threading.get_native_id(), wanted)


def raise_again(process: int) -> None:
    """Schedule another process of ours as normal: a real request waits behind an order at idle priority."""
    try:
        for name in os.listdir(f"/proc/{process}/task"):
            os.sched_setscheduler(int(name), os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return
