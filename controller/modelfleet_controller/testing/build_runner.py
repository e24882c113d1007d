"""What every BuildRunner must do. Subclass it in a test module and give `make`, `lasting` and `crash`:

class TestMyRunner(BuildRunnerConformance):
    def make(self, root: Path) -> BuildRunner:
        return MyRunner(root)
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from modelfleet_build import job as jobs
from modelfleet_build.job import BuildJob
from modelfleet_core.error_codes import Code
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire.build import BuildInput, BuildSpec, InputRole

from ..builds.port import BuildRunner, Phase, RunStatus

LOOK_S = 0.05
LOOKS = 1200
JOB = "bld_1"


class BuildRunnerConformance:
    """The tests; pytest collects them through the subclass."""

    def make(self, root: Path) -> BuildRunner:
        """A runner over the folders in `root`; called again it is the same one after a restart of the
        controller, which remembers nothing but what the world shows.
        """
        raise NotImplementedError

    def lasting(self, folder: Path) -> None:
        """Fills a folder with a job that takes longer than a test."""
        raise NotImplementedError

    def crash(self, folder: Path) -> None:
        """Kills the process that works on a folder, as a machine in trouble does."""
        raise NotImplementedError

    def test_a_job_runs_to_its_outcome(self, tmp_path: Path) -> None:
        """Absent, then started, then ended with what it left; a start after the end changes nothing."""
        folder = refused_job(tmp_path)

        async def story() -> None:
            runner = self.make(tmp_path)
            assert (await runner.state(JOB)).phase is Phase.ABSENT
            await runner.start(JOB)
            assert (await until(runner, Phase.ENDED)).phase is Phase.ENDED
            outcome = jobs.read_outcome(folder)
            assert outcome is not None
            assert outcome.refusal is not None
            assert outcome.refusal.code == Code.BUILD_JOB_FOLDER.value
            (folder / jobs.OUTCOME).unlink()
            await runner.start(JOB)
            assert (await runner.state(JOB)).phase is Phase.ENDED
            assert jobs.read_outcome(folder) is None

        asyncio.run(story())

    def test_started_twice_it_is_one_job(self, tmp_path: Path) -> None:
        """Also at the same time, and by a controller that was restarted in between."""
        folder = self._lasting(tmp_path)

        async def story() -> None:
            runner = self.make(tmp_path)
            await runner.start(JOB)
            await runner.start(JOB)
            worker = await _worker(folder)
            again = self.make(tmp_path)
            await again.start(JOB)
            for _ in range(20):
                await asyncio.sleep(LOOK_S)
                assert jobs.worker(folder) == worker
                assert (await again.state(JOB)).phase is Phase.RUNNING
            await runner.cancel(JOB)
            await until(runner, Phase.ENDED)

        asyncio.run(story())

    def test_cancelling_ends_it_and_may_be_repeated(self, tmp_path: Path) -> None:
        """Unknown, running or ended: cancel is always right."""
        folder = self._lasting(tmp_path)

        async def story() -> None:
            runner = self.make(tmp_path)
            await runner.cancel("bld_unknown")
            assert (await runner.state("bld_unknown")).phase is Phase.ABSENT
            await runner.start(JOB)
            await _worker(folder)
            await runner.cancel(JOB)
            await until(runner, Phase.ENDED)
            assert jobs.worker(folder) is None
            assert jobs.read_outcome(folder) is None
            await runner.cancel(JOB)
            assert (await runner.state(JOB)).phase is Phase.ENDED

        asyncio.run(story())

    def test_a_crash_is_an_end_without_an_outcome(self, tmp_path: Path) -> None:
        """And the runner says what it knows of it."""
        folder = self._lasting(tmp_path)

        async def story() -> None:
            runner = self.make(tmp_path)
            await runner.start(JOB)
            await _worker(folder)
            self.crash(folder)
            assert (await until(runner, Phase.ENDED)).detail
            assert jobs.read_outcome(folder) is None

        asyncio.run(story())

    def test_a_restarted_controller_finds_it_and_can_end_it(self, tmp_path: Path) -> None:
        """Running, or ended meanwhile."""
        folder = self._lasting(tmp_path)

        async def story() -> None:
            first = self.make(tmp_path)
            await first.start(JOB)
            await _worker(folder)
            second = self.make(tmp_path)
            assert (await second.state(JOB)).phase is Phase.RUNNING
            await second.cancel(JOB)
            await until(second, Phase.ENDED)
            assert (await self.make(tmp_path).state(JOB)).phase is Phase.ENDED
            await until(first, Phase.ENDED)

        asyncio.run(story())

    def _lasting(self, root: Path) -> Path:
        folder = root / JOB
        folder.mkdir()
        self.lasting(folder)
        return folder


def refused_job(root: Path) -> Path:
    """The folder of a job that ends at once: its inputs are other bytes than ordered."""
    folder = root / JOB
    digest = hashlib.sha256(b"ordered").hexdigest()
    inputs = (
        BuildInput(InputRole.MODEL, "m.onnx", digest),
        BuildInput(InputRole.VALIDATION, "v.npz", digest),
    )
    for item in inputs:
        path = jobs.input_path(folder, item)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"delivered")
    spec = BuildSpec("digits", "1.0", Task.CLASSIFICATION, ("x86-onnxruntime",), inputs)
    jobs.write_job(folder, BuildJob(spec))
    return folder


async def until(runner: BuildRunner, phase: Phase, job: str = JOB) -> RunStatus:
    """Looks until the job is in that phase."""
    status = await runner.state(job)
    for _ in range(LOOKS):
        if status.phase is phase:
            return status
        await asyncio.sleep(LOOK_S)
        status = await runner.state(job)
    raise AssertionError(f"{job} is {status} and never came to {phase}")


async def _worker(folder: Path) -> int:
    """The process that works on the folder, waited for."""
    for _ in range(LOOKS):
        worker = jobs.worker(folder)
        if worker is not None:
            return worker
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"nobody works on {folder}")
