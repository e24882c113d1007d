"""Orders, views and the end of builds. Signs nothing and registers no release: people do, on their machines
(SECURITY, layer A).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelfleet_core.ids import Digest, new_id, sha256_hex
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import (
    BuildOperation,
    BuildOrder,
    BuildProgress,
    Builds,
    BuildSpec,
    BuildState,
    BuildView,
)

from ..audit.service import append
from ..auth.actor import Actor
from ..controller import Controller
from ..rollouts.refusals import reused
from . import entries, refusals
from .folders import BuildFolders
from .repository import BuildRepository, StoredBuild

MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class BuildService:
    """Builds of one controller."""

    controller: Controller

    async def order(self, order: BuildOrder, actor: Actor) -> tuple[BuildView, bool]:
        """(the build, whether it is new). The same key with the same order gives the same build.

        Raises:
            CallerError: MF-1670 none are offered, MF-1621 an input was not uploaded, MF-1641 a class is not
                known, MF-1654 the key stands for another order.
            WorldError: MF-5003, too many wait.
        """
        controller, digest = self.controller, sha256_hex(codec.encode(order))
        settings = controller.settings
        if not controller.builds_offered:
            raise refusals.not_offered(settings.builds)
        for item in order.spec.inputs:
            if await controller.blobs.size(Digest(item.sha256)) is None:
                raise refusals.not_uploaded(item)
        async with controller.database.write() as connection:
            builds = BuildRepository(connection)
            known = await builds.by_key(order.idempotency_key)
            if known is not None:
                if known.order_sha256 != digest:
                    raise reused(order.idempotency_key)
                return view(known), False
            waiting = await builds.waiting()
            if waiting >= settings.builds_waiting:
                raise refusals.queue_full(waiting)
            now = controller.clock.now()
            made = StoredBuild(
                id=new_id("bld", now, controller.entropy(10)),
                state=BuildState.QUEUED,
                spec=self._complete(order.spec),
                idempotency_key=order.idempotency_key,
                order_sha256=digest,
                created_at=now,
                created_by=actor.person,
            )
            await builds.add(made)
            await append(connection, entries.ordered(made))
        return view(made), True

    async def show(self, build: str) -> BuildView:
        """One build, while it runs with the progress of this moment.

        Raises:
            CallerError: MF-1602.
        """
        async with self.controller.database.read() as connection:
            found = await _found(BuildRepository(connection), build)
        return view(found, await self._progress(found))

    async def list(self) -> Builds:
        """The newest ones, without their files."""
        async with self.controller.database.read() as connection:
            found = await BuildRepository(connection).newest(MAX_LISTED)
        return Builds(tuple([replace(view(b, await self._progress(b)), files=()) for b in found]))

    async def cancel(self, build: str, operation: BuildOperation, actor: Actor) -> BuildView:
        """Ends a build: one that waits at once, one that runs soon. One that was cancelled stays so.

        Raises:
            CallerError: MF-1602; MF-1653, it is over.
        """
        controller = self.controller
        async with controller.database.write() as connection:
            builds = BuildRepository(connection)
            found = await _found(builds, build)
            if found.cancelled_by is None:
                if found.state.over:
                    raise refusals.over(build, found.state)
                now = controller.clock.now()
                await builds.ask_cancel(build, actor.person)
                await append(connection, entries.cancel_asked(found, actor.person, operation.reason, now))
                if found.state is BuildState.QUEUED:
                    await builds.finish(build, BuildState.CANCELLED, now, BuildProgress(), None, ())
        return await self.show(build)

    def _complete(self, spec: BuildSpec) -> BuildSpec:
        """The order with the definitions of the classes that this controller knows and a job cannot."""
        own = {item.name: item for item in spec.device_classes}
        known = {item.name: item for item in self.controller.board.classes} | own
        for name in spec.classes:
            if name not in known:
                raise refusals.no_class(name, sorted(known))
        needed = tuple(known[name] for name in dict.fromkeys(spec.classes) if known[name] not in SHIPPED)
        return replace(spec, device_classes=needed)

    async def _progress(self, build: StoredBuild) -> BuildProgress:
        if build.state is not BuildState.RUNNING:
            return build.progress
        return await BuildFolders(self.controller.build_root).progress(build.id)


def view(build: StoredBuild, progress: BuildProgress | None = None) -> BuildView:
    """A build as people see it."""
    return BuildView(
        id=build.id,
        state=build.state,
        spec=build.spec,
        created_at=build.created_at,
        created_by=build.created_by,
        progress=build.progress if progress is None else progress,
        started_at=build.started_at,
        finished_at=build.finished_at,
        cancelled_by=build.cancelled_by,
        outcome=build.outcome,
        files=build.files,
    )


async def _found(builds: BuildRepository, name: str) -> StoredBuild:
    build = await builds.get(name)
    if build is None:
        raise refusals.no_build(name)
    return build
