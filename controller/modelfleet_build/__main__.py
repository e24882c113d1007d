"""The program `python -m modelfleet_build FOLDER`: does the build that the folder describes (`job`).

A composition root. Exit code: that of `fleetctl build` (0, 3, 4; 1 refused), or 75 where another process
works on the folder. SIGTERM ends it within moments, and its children with it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from modelfleet_build import job
from modelfleet_core.clock import SystemClock
from modelfleet_core.errors import ModelfleetError


def main(arguments: list[str]) -> int:
    """The program; one argument, the folder."""
    if len(arguments) != 1:
        print("usage: python -m modelfleet_build FOLDER", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _ended)
    folder = Path()
    try:
        os.chdir(arguments[0])  # what is told names files as the folder does
        with suppress(ModelfleetError):  # `run` says why it cannot be read
            os.nice(job.read_job(folder).nice)
        return job.run(folder, SystemClock()).exit_code
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}", file=sys.stderr)
        return 2
    except ModelfleetError as error:
        for line in error.diagnostics().lines():
            print(line, file=sys.stderr)
        return job.BUSY if job.worker(folder) is not None else 2
    except KeyboardInterrupt:
        return 128 + signal.SIGTERM


def _ended(number: int, frame: FrameType | None) -> None:
    """Unwinds as an interrupt does: children are killed and the workspace is removed on the way."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
