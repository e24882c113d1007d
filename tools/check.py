"""Run the parts of `make check` in order, print the time of each, and stop at the first that fails.

The tests come last, by the very command that the README gives, so that pytest's closing line is the last
thing on the screen: the times of the other parts are printed before it starts.
"""

from __future__ import annotations

import subprocess
import sys
import time

PARTS = ("setup", "lint", "types", "docs", "test")


def main() -> None:
    """Exit with the status of the first part that fails."""
    begun = time.monotonic()
    times: list[str] = []
    for part in PARTS:
        if part == PARTS[-1]:
            print(f"\n== {', '.join(times)}; now make {part} ==", flush=True)
        else:
            print(f"\n== make {part} ==", flush=True)
        started = time.monotonic()
        status = subprocess.run(["make", "--no-print-directory", part], check=False).returncode
        seconds = time.monotonic() - started
        if status:
            print(f"\nmake {part} failed after {seconds:.0f} s", flush=True)
            sys.exit(status)
        times.append(f"{part} {seconds:.0f} s")
        if part != PARTS[-1]:
            print(f"== {part}: {seconds:.0f} s ==", flush=True)
    # on stderr, so that what a reader of stdout sees last is pytest's own summary
    print(f"== all passed in {time.monotonic() - begun:.0f} s: {', '.join(times)} ==", file=sys.stderr)


if __name__ == "__main__":
    main()
