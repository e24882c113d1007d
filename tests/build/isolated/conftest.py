from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfleet_build.isolated.call import call
from modelfleet_build.isolated.environments import Environments
from modelfleet_build.isolated.tools import TORCH
from modelfleet_core.clock import SystemClock
from modelfleet_core.errors import WorldError

from ..conftest import DIGITS

HOOK = DIGITS / "hook.py"


@dataclass(frozen=True, slots=True)
class Torch:
    """The real environment `torch`.

    Attributes:
        root: Folder of the environments.
        python: Its interpreter.
    """

    root: Path
    python: Path

    def train(self, folder: Path, **settings: object) -> dict[str, object]:
        """Run `scripts/train.py`; what it makes lies in `folder`."""
        folder.mkdir(exist_ok=True)
        usual = {
            "hook": str(HOOK),
            "ratio": 0.3,
            "round_to": 8,
            "epochs": 1,
            "distil": False,
            "control": False,
        }
        job = {**usual, "folder": str(folder), "seeds": [], **settings}
        return call(
            self.python, "train.py", job, folder / "isolated", dict[str, object], lambda text: None, 2
        )


@pytest.fixture(scope="session")
def torch(request: pytest.FixtureRequest) -> Torch:
    """Made on the first use; skipped where nobody asked for it, or where it cannot be had."""
    root = request.config.getoption("--isolated")
    if root is None:
        pytest.skip("needs --isolated DIR (2.5 GB to fetch, 4.3 GB on disk)")
    try:
        return Torch(Path(root), Environments(Path(root), SystemClock()).make(TORCH, print))
    except WorldError as error:
        pytest.skip(error.happened)


@pytest.fixture(scope="session")
def companion(torch: Torch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits-1.1 as torch.export program, from the weights of its ONNX file."""
    folder = tmp_path_factory.mktemp("companion")
    torch.train(folder)
    return folder / "parent.pt2"
