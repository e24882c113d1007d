"""Runs a script in an isolated environment: `start.py SCRIPT FOLDER PIPE`. Knows nothing of Modelfleet.

Only files cross the border. FOLDER holds `job.json`; the script's `run(job, tell)` gets it as a dictionary
and returns one, which becomes `result.json`: `{"done": {...}}`, or `{"refused": {...}}` when the script
raised `Refused`, or `{"failed": "..."}` with whatever else it raised. PIPE takes progress, one JSON object a
line.
"""

import importlib.util
import json
import os
import sys
import traceback
from typing import Any


class Refused(Exception):
    """The input is at fault; `happened`, `expected` and `todo` are for the user, `kind` says what it is."""

    def __init__(self, kind: str, happened: str, expected: str, todo: str) -> None:
        super().__init__(happened)
        self.told = {"kind": kind, "happened": happened, "expected": expected, "todo": todo}


def main(script: str, folder: str, pipe: int) -> None:
    """Run the script; a result file is complete or not there."""
    with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
        job = json.load(file)

    def tell(text: str) -> None:
        os.write(pipe, json.dumps({"text": text[:500]}).encode() + b"\n")

    sys.modules["start"] = sys.modules["__main__"]  # scripts say `from start import Refused`
    result: dict[str, Any]
    try:
        spec = importlib.util.spec_from_file_location("script", script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = {"done": module.run(job, tell)}
    except Refused as error:
        result = {"refused": error.told}
    except Exception as error:
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}
    target = os.path.join(folder, "result.json")
    with open(target + ".partial", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(target + ".partial", target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
