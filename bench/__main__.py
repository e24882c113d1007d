"""`python -m bench [NAME...]`: run the named measurements, or all of them, and say how long each took."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path


def names() -> list[str]:
    """Return every measurement here: a module or package that is not private."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.name.startswith("_"))


def main() -> None:
    """Run them one after the other; a name that nobody knows ends the run before it begins."""
    known = names()
    wanted = sys.argv[1:] or known
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no such measurement: {', '.join(unknown)}\nexpected: {', '.join(known)}")
    for name in wanted:
        module = importlib.import_module(f"bench.{name}")
        title = (module.__doc__ or name).strip().splitlines()[0]
        print(f"== {name}: {title}", flush=True)
        begun = time.monotonic()
        module.main()
        print(f"== {name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
