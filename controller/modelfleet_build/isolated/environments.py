"""The folder of isolated environments: which are there, how one comes into being and goes.

An environment is made in a folder of its own and renamed when it is complete and its modules were imported,
so what is found under its name can be used. Two makers wait for one another; what an interrupted one left is
removed by the next. The name holds the digest of lock and interpreter: a new lock is a new environment.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from modelfleet_build.isolated import install
from modelfleet_build.isolated.install import Interpreter
from modelfleet_build.isolated.tools import IsolatedTool
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

_PARTIAL = ".partial-"
_DIGITS = 16
_LOOK_EVERY_S = 0.2

Tell = Callable[[str], None]


class State(StrEnum):
    """What is there of an environment."""

    READY = "ready"
    ABSENT = "absent"
    UNFINISHED = "unfinished"
    BROKEN = "broken"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class Found:
    """One environment of the folder, or a tool that has none yet.

    Attributes:
        tool: Name of the tool.
        state: `outdated` = of another lock or interpreter than the present ones; `broken` = its interpreter
            is gone; `unfinished` = its maker was interrupted or is at work.
        size_bytes: What it takes on disk.
        folder: Where it is; empty where there is none.
        about: What the tool is for.
    """

    tool: str
    state: State
    size_bytes: int
    folder: str
    about: str


@dataclass(frozen=True, slots=True)
class Environments:
    """The environments below `root`. Several processes may use it at once."""

    root: Path
    clock: Clock

    def ready(self, tool: IsolatedTool) -> Path | None:
        """Interpreter of a finished environment, None where it has to be made."""
        interpreter = install.find(tool)
        if interpreter is None:
            return None
        python = _python(self._place(tool, interpreter))
        return python if python.exists() else None

    def make(self, tool: IsolatedTool, tell: Tell, stop: threading.Event | None = None) -> Path:
        """Interpreter of the environment, which is made if it is not there; that takes minutes.

        Args:
            tool: What to install.
            tell: Takes progress.
            stop: Making it, or waiting for another maker, ends as soon as it is set.

        Raises:
            WorldError: MF-1470, it cannot be made here: no suitable Python, no room, no index, a package that
                has no file for this platform, or one whose modules cannot be imported; MF-5012, `stop` was
                set.
        """
        stop = stop or threading.Event()
        python = self.ready(tool)
        if python is not None:
            return python
        interpreter = install.find(tool)
        if interpreter is None:
            oldest, newest = (".".join(map(str, item)) for item in (tool.oldest, tool.newest))
            raise cannot(
                tool,
                f"there is no Python {oldest} to {newest} with the module venv",
                f"a Python of {oldest} to {newest} on PATH",
                "install one beside the present, or leave the class out",
            )
        try:
            with self._alone(tool.name, tell, stop):
                python = self.ready(tool)  # another maker may have done it while we waited
                return python or self._made(tool, interpreter, tell, stop)
        except OSError as error:
            what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
            raise cannot(
                tool, what, f"room below {self.root}", "make room, or leave the class out"
            ) from error

    def remove(self, name: str, tell: Tell) -> int:
        """Remove every environment of a tool, finished or not; returns the bytes that became free."""
        if not any(_tool_of(path) == name for path in self._folders()):
            return 0
        freed = 0
        with self._alone(name, tell, threading.Event()):
            for folder in [path for path in self._folders() if _tool_of(path) == name]:
                freed += size_of(folder)
                tell(f"removing {folder}")
                # First out of sight, so that nobody starts an interpreter of which half is gone.
                doomed = folder.with_name(f"{_PARTIAL}removed-{folder.name.removeprefix(_PARTIAL)}")
                folder.rename(doomed)
                shutil.rmtree(doomed)
        return freed

    def listing(self, tools: tuple[IsolatedTool, ...]) -> tuple[Found, ...]:
        """Every tool, and every environment that is on disk."""
        found: list[Found] = []
        about = {tool.name: tool.about for tool in tools}
        current = {
            tool.name: self._place(tool, interpreter)
            for tool in tools
            if (interpreter := install.find(tool)) is not None
        }
        on_disk = self._folders()
        for folder in on_disk:
            name = _tool_of(folder)
            state = State.READY if folder == current.get(name) else State.OUTDATED
            if folder.name.startswith(_PARTIAL):
                state = State.UNFINISHED
            elif not _python(folder).exists():
                state = State.BROKEN
            found.append(Found(name, state, size_of(folder), str(folder), about.get(name, "")))
        seen = {item.tool for item in found if item.state is State.READY}
        found += [Found(name, State.ABSENT, 0, "", about[name]) for name in about if name not in seen]
        return tuple(sorted(found, key=lambda item: (item.tool, item.state.value, item.folder)))

    def _made(self, tool: IsolatedTool, interpreter: Interpreter, tell: Tell, stop: threading.Event) -> Path:
        place = self._place(tool, interpreter)
        partial = place.with_name(_PARTIAL + place.name)
        for left in (place, partial):  # broken, or of a maker that was interrupted
            shutil.rmtree(left, ignore_errors=True)
        free = shutil.disk_usage(self.root).free
        if free < tool.disk_bytes:
            raise cannot(
                tool,
                f"{self.root} has {_gigabytes(free)} free",
                f"{_gigabytes(tool.disk_bytes)} to make it",
                "make room (`fleetctl build env list` shows what others take), or leave the class out",
            )
        partial.mkdir()
        try:
            install.fill(tool, interpreter, partial, self.clock, tell, stop)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return _python(place)

    @contextmanager
    def _alone(self, name: str, tell: Tell, stop: threading.Event) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{name}.lock").open("w") as guard:
            told = False
            while not _locked(guard):
                if not told:
                    tell(f"waiting for another process that is at work on the isolated environment of {name}")
                told = True
                if stop.is_set():
                    raise install.stopped(name)
                self.clock.wait(_LOOK_EVERY_S)
            yield

    def _place(self, tool: IsolatedTool, interpreter: Interpreter) -> Path:
        key = f"{tool.name}\n{tool.lock_sha256()}\n{interpreter.identity}"
        return self.root.absolute() / f"{tool.name}-{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}"

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        root = self.root.absolute()
        return sorted(path for path in root.iterdir() if path.is_dir() and len(path.name) > _DIGITS)


def size_of(folder: Path) -> int:
    """Bytes that the files of a folder take on disk; a file that two names share counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:  # it is being made or removed
            continue
        sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def cannot(tool: IsolatedTool, why: str, expected: str, todo: str) -> WorldError:
    """The refusal of whatever needs the tool."""
    return WorldError(
        Code.ISOLATED_NOT_MADE,
        f"the isolated environment of {tool.name} cannot be made here: {why}",
        expected=expected,
        todo=todo,
    )


def _locked(guard: IO[str]) -> bool:
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _tool_of(folder: Path) -> str:
    return folder.name.removeprefix(_PARTIAL).removeprefix("removed-")[: -_DIGITS - 1]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
