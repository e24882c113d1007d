"""`python -m modelfleet_agent.serve --config FILE`: the same as `modelfleet-agent serve`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modelfleet_core.errors import ModelfleetError

from ..settings import load
from .main import main


def _main() -> int:
    parser = argparse.ArgumentParser(prog="modelfleet-agent serve")
    parser.add_argument("--config", type=Path, default=None)
    try:
        settings = load(parser.parse_args().config)
    except ModelfleetError as error:
        print("\n".join(error.diagnostics().lines()), file=sys.stderr)
        return 2
    return main(settings)


if __name__ == "__main__":
    sys.exit(_main())
