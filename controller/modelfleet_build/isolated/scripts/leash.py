"""Becomes another program that the kernel kills when its parent ends: `leash.py PARENT_PID PROGRAM
ARGUMENT...`.

Runs on any Python, knows nothing of Modelfleet.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # it ended before we could ask
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])
