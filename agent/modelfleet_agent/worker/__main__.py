"""`python -m modelfleet_agent.worker FD PARENT PRIORITY`: started by serve alone.

The priority is lowered before anything heavy is imported: importing a runtime is most of the work of loading.
"""

from __future__ import annotations

import os
import sys

from .priority import Priority, Scheduler, die_with_parent


def main() -> int:
    """Serve orders on the inherited socket until serve closes it."""
    scheduler = Scheduler()
    scheduler.set(Priority(sys.argv[3]))
    import signal
    import socket
    import time

    # Serve ends its workers when it has drained; a signal to the whole group must not take them away before.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        die_with_parent(int(sys.argv[2]))
    except ChildProcessError:
        return 1
    # The runtime gets its number of threads from serve; numpy's own must not come on top.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from ..control.framing import Channel
    from .loop import Worker

    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    try:
        Worker(channel, scheduler, time.perf_counter_ns).serve()
    except OSError:
        return 1  # serve is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
