"""Moves builds on: queued, running, over. Looks each time at what is, so it may be stopped at any point.

A build runs in the database before its job is started, and its files are blobs before it is over; what a
crash cut off between two steps is done again at the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelfleet_build.job import BuildJob, refused
from modelfleet_build.request import Limits
from modelfleet_core import logs
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire.build import BuildFile, BuildOutcome, BuildState

from ..audit.service import append
from ..controller import Controller
from .entries import ended
from .folders import BuildFolders
from .port import BuildRunner, Phase
from .refusals import cancelled, lost, too_long
from .repository import BuildRepository, StoredBuild

_log = logging.getLogger(__name__)
NICE = 10


@dataclass(frozen=True, slots=True)
class BuildDriver:
    """Drives the builds of one controller."""

    controller: Controller
    runner: BuildRunner
    folders: BuildFolders

    async def step(self) -> None:
        """One look at every open build; then queued ones begin where there is room."""
        async with self.controller.database.read() as connection:
            unfinished = await BuildRepository(connection).unfinished()
        await self.folders.keep_only(build.id for build in unfinished)
        running = [build for build in unfinished if build.state is BuildState.RUNNING]
        ended = await self._each(running)
        room = self.controller.settings.builds - (len(running) - ended)
        waiting = [build for build in unfinished if build.state is BuildState.QUEUED]
        begun = [build for build in waiting[: max(0, room)] if await self._begin(build)]
        await self._each(begun)

    async def _each(self, builds: Sequence[StoredBuild]) -> int:
        """Look at some builds; trouble with one is told and keeps none of the others. How many are over."""
        over = 0
        for build in builds:
            try:
                over += await self._look(build)
            except WorldError as error:
                logs.error(
                    _log, "build.delayed", build=build.id, code=error.code.value, reason=error.happened
                )
        return over

    async def _begin(self, build: StoredBuild) -> bool:
        async with self.controller.database.write() as connection:
            return await BuildRepository(connection).begin(build.id, self.controller.clock.now())

    async def _look(self, build: StoredBuild) -> bool:
        """Do what this build needs next; whether it is over now."""
        controller = self.controller
        status = await self.runner.state(build.id)
        given_up = self._given_up(build)
        if status.phase is Phase.ENDED and build.cancelled_by is None:
            outcome = await self.folders.outcome(build.id) or refused(lost(status.detail))
            try:
                files = await self.folders.store(build.id, controller.blobs, controller.settings.blob_limit)
            except CallerError as error:  # a file that is larger than a blob may be
                outcome, files = refused(error), ()
            await self._finish(build, outcome, files)
            return True
        if given_up is not None:
            if status.phase is Phase.RUNNING:
                await self.runner.cancel(build.id)
                if (await self.runner.state(build.id)).phase is Phase.RUNNING:
                    return False
            await self._finish(build, given_up)
            return True
        if status.phase is Phase.ABSENT:
            return await self._start(build)
        return False

    async def _start(self, build: StoredBuild) -> bool:
        settings = self.controller.settings
        limits = replace(Limits(), memory_bytes=settings.build_memory)
        job = BuildJob(build.spec, limits, nice=NICE)
        try:
            await self.folders.prepare(build.id, job, self.controller.blobs)
        except CallerError as error:
            await self._finish(build, refused(error))
            return True
        await self.runner.start(build.id)
        logs.info(_log, "build.started", build=build.id)
        return False

    def _given_up(self, build: StoredBuild) -> BuildOutcome | None:
        """Why the build shall not go on, if so."""
        if build.cancelled_by is not None:
            return refused(cancelled(build.cancelled_by))
        begun, limit = build.started_at, self.controller.settings.build_s
        if begun is None or (self.controller.clock.now() - begun).total_seconds() <= limit:
            return None
        return refused(too_long(limit))

    async def _finish(
        self, build: StoredBuild, outcome: BuildOutcome, files: tuple[BuildFile, ...] = ()
    ) -> None:
        state = BuildState.FAILED if outcome.release is None else BuildState.SUCCEEDED
        if build.cancelled_by is not None:
            state = BuildState.CANCELLED
        now = self.controller.clock.now()
        progress = await self.folders.progress(build.id)
        async with self.controller.database.write() as connection:
            if await BuildRepository(connection).finish(build.id, state, now, progress, outcome, files):
                await append(connection, ended(build, state, outcome, now))
        logs.info(_log, "build.ended", build=build.id, state=state.value)
        await self.folders.remove(build.id)
