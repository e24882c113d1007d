"""The port for running builds: a child process here, a Job of a cluster elsewhere.

Level-triggered: whoever drives it looks up the state and asks for what is missing, again and again, also
after a restart of either side. The folder of a job is `root/JOB` on a disk that both sides see; what is in
it, and how a build ends there, is `modelfleet_build.job`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """What a runner knows of a job: it never began, something works on it, nothing does any more."""

    ABSENT = "absent"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a job stands. `detail`: how it ended, for a job that left no outcome; may be empty."""

    phase: Phase
    detail: str = ""


class BuildRunner(Protocol):
    """Runs the jobs of folders. `modelfleet_controller.testing.build_runner` holds what every runner must do.

    A runner for Kubernetes makes a Job named by the id over the volume of the folders; the memory limit
    stands in its pod, `state` reads the Job, `cancel` deletes it and its pod. How many run at once and how
    long is not the runner's business (`driver`).
    """

    async def start(self, job: str) -> None:
        """Begins the job, whose folder is complete. One that runs or has ended stays as it is.

        Raises:
            WorldError: MF-1671, it cannot be started now.
        """
        ...

    async def state(self, job: str) -> RunStatus:
        """Looks it up; unknown jobs are `ABSENT`. A job that takes more than it may is `ENDED` by this."""
        ...

    async def cancel(self, job: str) -> None:
        """Ends the job and every process of it, soon; one that does not run stays as it is."""
        ...
