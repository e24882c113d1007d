"""Isolated environments made for real, of small wheels: complete or not there, one maker at a time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from modelfleet_build.isolated.environments import Environments, State
from modelfleet_build.isolated.tools import SHIPPED, IsolatedTool
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from . import wheels

MAKER = """
import sys
from pathlib import Path
from modelfleet_build.isolated.environments import Environments
from modelfleet_core.clock import SystemClock
from tests.build.isolated import wheels
environments = Environments(Path(sys.argv[1]), SystemClock())
print(environments.make(wheels.tool(Path(sys.argv[2])), lambda text: print(text, flush=True)))
"""


@pytest.fixture(autouse=True)
def _index(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """What a user's pip settings do: here they name a folder of wheels and nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place / "wheels"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("isolated")


@dataclass(frozen=True, slots=True)
class Shop:
    environments: Environments
    tool: IsolatedTool
    said: list[str]

    def make(self, tool: IsolatedTool | None = None) -> Path:
        return self.environments.make(tool or self.tool, self.said.append)

    def states(self) -> list[str]:
        return [item.state.value for item in self.environments.listing((self.tool,))]

    def files(self) -> list[str]:
        root = self.environments.root
        return (
            sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))
            if root.exists()
            else []
        )


@pytest.fixture
def shop(tmp_path: Path, place: Path) -> Shop:
    return Shop(Environments(tmp_path / "root", SystemClock()), wheels.tool(place), [])


@pytest.mark.slow
def test_made_once_then_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shop.states() == ["absent"]
    assert shop.environments.ready(shop.tool) is None
    python = shop.make()
    assert shop.said[0] == "making the isolated environment of toy: 1 packages, this takes minutes"
    done = subprocess.run(
        [python, "-c", "import toytool, sys; print(toytool.double(21), 'modelfleet_core' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["42", "False"]
    assert shop.states() == ["ready"]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert shop.make() == python, "a finished environment needs no index"
    (found,) = shop.environments.listing((shop.tool,))
    assert found.size_bytes > 1_000_000
    newer = replace(shop.tool, lock=shop.tool.lock.with_name("newer.txt"))
    newer.lock.write_text(shop.tool.lock.read_text() + "# newer\n")
    assert shop.environments.ready(newer) is None, "another lock is another environment"
    states = [item.state for item in shop.environments.listing((newer,))]
    assert states == [State.ABSENT, State.OUTDATED]
    python.unlink()
    assert shop.states() == ["absent", "broken"]
    assert shop.environments.remove("toy", shop.said.append) > 1_000_000
    assert shop.files() == []
    assert shop.environments.remove("toy", shop.said.append) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lock": "spoiled"}, "THESE PACKAGES DO NOT MATCH THE HASHES"),
        ({"check": ("toytool", "no_such_module")}, "No module named 'no_such_module'"),
        ({"oldest": (3, 98), "newest": (3, 99)}, "there is no Python 3.98 to 3.99"),
        ({"disk_bytes": 1 << 60}, "GB free"),
    ],
    ids=["hash", "import", "python", "disk"],
)
def test_what_cannot_be_made_is_a_refusal_and_leaves_nothing(
    shop: Shop, change: dict[str, object], reason: str
) -> None:
    tool = replace(shop.tool, **{key: value for key, value in change.items() if key != "lock"})  # type: ignore[arg-type]
    if change.get("lock") == "spoiled":
        tool = wheels.spoiled(tool)
    with pytest.raises(WorldError) as caught:
        shop.make(tool)
    assert caught.value.code is Code.ISOLATED_NOT_MADE
    assert caught.value.happened.startswith("the isolated environment of toy cannot be made here: ")
    assert reason in caught.value.happened
    assert shop.files() == []


def test_a_root_that_cannot_be_written_is_a_refusal(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError) as caught:
        Environments(tmp_path / "file" / "root", SystemClock()).make(shop.tool, shop.said.append)
    assert caught.value.code is Code.ISOLATED_NOT_MADE


def test_an_index_that_cannot_be_reached_is_a_refusal_without_its_address(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(WorldError) as caught:
        shop.make()
    assert caught.value.code is Code.ISOLATED_NOT_MADE
    assert "No matching distribution found for toytool==1.0" in caught.value.happened
    assert "secret" not in str(caught.value)
    assert shop.files() == []


def test_a_killed_maker_leaves_an_unfinished_one_that_the_next_makes_anew(
    shop: Shop, tmp_path: Path, place: Path
) -> None:
    root = shop.environments.root
    command = [sys.executable, "-c", MAKER, str(root), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as maker:
        assert maker.stdout is not None
        assert "making the isolated environment" in maker.stdout.readline()
        (partial,) = [path for path in root.iterdir() if path.is_dir()]
        assert shop.states() == ["absent", "unfinished"]
        maker.send_signal(signal.SIGKILL)
    assert maker.returncode == -signal.SIGKILL
    (partial / "half").write_text("of a package")
    python = shop.make()
    assert not (python.parents[1] / "half").exists()
    assert shop.states() == ["ready"]


def test_two_makers_wait_for_one_another(shop: Shop, place: Path) -> None:
    command = [sys.executable, "-c", MAKER, str(shop.environments.root), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as maker:
        assert maker.stdout is not None
        maker.stdout.readline()
        python = shop.make()
        rest = maker.stdout.read()
    assert shop.said == ["waiting for another process that is at work on the isolated environment of toy"]
    assert rest.splitlines()[-1] == str(python)
    assert len(shop.files()) == 1


def test_a_build_that_ends_waits_neither_for_pip_nor_for_another_maker(shop: Shop, place: Path) -> None:
    stop = threading.Event()

    def tell(text: str) -> None:
        shop.said.append(text)
        stop.set()

    with pytest.raises(WorldError) as caught:
        shop.environments.make(shop.tool, tell, stop)
    assert caught.value.code is Code.CANCELLED
    assert shop.said[0].startswith("making the isolated environment of toy")
    assert shop.files() == []

    stop.clear()
    with (shop.environments.root / ".toy.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(WorldError) as caught:
            shop.environments.make(shop.tool, tell, stop)
    assert caught.value.code is Code.CANCELLED
    assert shop.said[1].startswith("waiting for another process")


@pytest.mark.parametrize("tool", SHIPPED, ids=lambda tool: tool.name)
def test_shipped_locks_are_complete_and_name_no_place(tool: IsolatedTool) -> None:
    lines = [line for line in tool.lock.read_text().splitlines() if not line.startswith("#")]
    pinned = [line for line in lines if not line.startswith(" ")]
    assert len(pinned) == tool.count() > 10
    assert all(line.endswith(" \\") for line in pinned), "every requirement has a hash"
    assert all(line.strip().startswith("--hash=sha256:") for line in lines if line.startswith(" "))
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    assert set(tool.versions("torch", "executorch", "torchao")) == {"torch", "executorch", "torchao"}
    assert os.path.getsize(tool.lock) < 200_000
