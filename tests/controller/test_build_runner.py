"""Builds as child processes: the conformance suite, and what only processes of this machine can suffer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from modelfleet_build import job as jobs
from modelfleet_build.job import BuildJob
from modelfleet_build.request import Limits
from modelfleet_controller.builds.local import LocalRunner
from modelfleet_controller.builds.port import BuildRunner, Phase
from modelfleet_controller.testing.build_runner import JOB, BuildRunnerConformance, refused_job, until
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from e2e.support import eventually
from tests.build.test_job import descendants, ended, ordered

MIB = 1024**2


def lasting(folder: Path) -> None:
    """A real build whose measurements would take minutes."""
    made = ordered(folder)
    limits = Limits(rounds=10**6, calls_per_round=1000, latency_s=600)
    jobs.write_job(folder, BuildJob(made.spec, limits, nice=5))


class TestLocalRunner(BuildRunnerConformance):
    def make(self, root: Path) -> BuildRunner:
        return LocalRunner(root, 4096 * MIB)

    def lasting(self, folder: Path) -> None:
        lasting(folder)

    def crash(self, folder: Path) -> None:
        worker = jobs.worker(folder)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)


def started(root: Path, memory: int = 4096 * MIB) -> tuple[LocalRunner, int]:
    folder = root / JOB
    folder.mkdir()
    lasting(folder)
    runner = LocalRunner(root, memory)
    asyncio.run(runner.start(JOB))
    worker = eventually(lambda: jobs.worker(folder), timeout=60)
    assert worker is not None
    return runner, worker


def test_cancelling_kills_the_children_too(tmp_path: Path) -> None:
    runner, worker = started(tmp_path)
    children = eventually(lambda: descendants(worker), timeout=60)
    assert os.getsid(worker) == worker
    assert os.getpriority(os.PRIO_PROCESS, worker) >= 5
    asyncio.run(runner.cancel(JOB))
    assert eventually(lambda: all(map(ended, [worker, *children])), timeout=10)
    status = asyncio.run(runner.state(JOB))
    assert (status.phase, status.detail) == (Phase.ENDED, "by signal SIGKILL")


def test_too_much_memory_ends_it_with_a_reason(tmp_path: Path) -> None:
    runner, worker = started(tmp_path, 1 * MIB)
    assert asyncio.run(until(runner, Phase.ENDED)).phase is Phase.ENDED
    assert eventually(lambda: ended(worker), timeout=10)
    outcome = jobs.read_outcome(tmp_path / JOB)
    assert outcome is not None
    assert outcome.refusal is not None
    assert outcome.refusal.code == Code.CONVERSION_MEMORY.value
    assert "at most 1 MiB" in outcome.refusal.expected


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorldError) as refused:
        asyncio.run(LocalRunner(tmp_path, 4096 * MIB).start(JOB))
    assert refused.value.code is Code.BUILD_LOST


def test_what_the_process_said_last_is_told_where_it_left_no_outcome(tmp_path: Path) -> None:
    folder = refused_job(tmp_path)
    (folder / jobs.OUTCOME).mkdir()  # the program fails at its first step
    runner = LocalRunner(tmp_path, 4096 * MIB)
    asyncio.run(runner.start(JOB))
    detail = asyncio.run(until(runner, Phase.ENDED)).detail
    assert detail.startswith("with status ")
    assert "its last line was: " in detail
