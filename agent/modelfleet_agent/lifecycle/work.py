"""Work that blocks (downloads, hashing) beside the control loop: the port, a thread for it, and one at once
for tests.

A download must never keep the supervisor from looking after what serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError, WorldError

Task = Callable[[Callable[[], bool]], int]
"""Takes `stop` (true = give up), gives a number, raises our errors."""


class Job:
    """A task under way: poll `done`, then read `error` and `value`."""

    def __init__(self) -> None:
        self._finished = threading.Event()
        self._stop = threading.Event()
        self.value = 0
        self.error: ModelfleetError | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._finished.is_set()

    def give_up(self) -> None:
        """Asks the task to end soon."""
        self._stop.set()

    def run(self, task: Task) -> None:
        """Runs the task to its end and keeps what came of it."""
        try:
            self.value = task(self._stop.is_set)
        except ModelfleetError as error:
            self.error = error
        except Exception as error:  # a fault of ours must end the operation, not the thread in silence
            self.error = WorldError(
                Code.STATE_CRASH_LOOP,
                f"the agent failed: {type(error).__name__}: {str(error)[:300]}",
                expected="work without a fault of the agent",
                todo="please report it with the agent's log",
            )
        finally:
            self._finished.set()


class Worker(Protocol):
    """Runs tasks."""

    def start(self, name: str, task: Task) -> Job:
        """Begins a task."""
        ...


class ThreadWorker:
    """Each task in a thread of its own; the threads end with the process."""

    def start(self, name: str, task: Task) -> Job:
        """Begins a task and returns at once."""
        job = Job()
        threading.Thread(target=job.run, args=(task,), name=name, daemon=True).start()
        return job


class InlineWorker:
    """Each task at once, in the caller's thread: for tests and commands."""

    def start(self, name: str, task: Task) -> Job:
        """Runs a task to its end."""
        job = Job()
        job.run(task)
        return job
