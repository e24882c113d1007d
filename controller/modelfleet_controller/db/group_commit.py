"""Group commit: durable writes of many requests share one transaction and are answered after it (semantics
section 7).

Items gather for at most `gather_s` (and while the transaction before them commits), then each lane writes
its items at once. A batch that fails is tried again item by item, so that one bad item spoils no other's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from modelfleet_core import logs

from .database import Connection, Database

_log = logging.getLogger(__name__)

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

GATHER_S = 0.003
MAX_BATCH = 512


@dataclass(frozen=True, slots=True, eq=False)
class Lane(Generic[I, R]):
    """One kind of durable write; `after` hears of each item right after its commit."""

    name: str
    handler: Callable[[Connection, Sequence[I]], Awaitable[Sequence[R]]]
    after: Callable[[I, R], None] | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    lane: Lane[object, object]
    item: object
    future: asyncio.Future[object]


class GroupCommit:
    """The queue between requests and the database. Start it once with `run` as a task."""

    def __init__(self, database: Database, *, gather_s: float = GATHER_S) -> None:
        self._database = database
        self._gather_s = gather_s
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._closed = False
        self.batches = 0
        self.items = 0

    async def submit(self, lane: Lane[I, R], item: I) -> R:
        """Writes `item` by `lane`; returns when it is on disk, or raises what refused it."""
        if self._closed:
            raise RuntimeError("the group commit has ended")
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(cast("Lane[object, object]", lane), item, future))
        self._wake.set()
        try:
            return cast(R, await asyncio.shield(future))
        except asyncio.CancelledError:
            # the caller went away; the write goes on, and nobody is left to hear of its failure
            future.add_done_callback(_heard)
            raise

    async def run(self) -> None:
        """Commits batches until `close`; what was submitted before is written."""
        while True:
            await self._wake.wait()
            if not self._waiting:
                if self._closed:
                    return
                self._wake.clear()
                continue
            if not self._closed and self._gather_s > 0:
                await asyncio.sleep(self._gather_s)
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._commit(batch)

    def close(self) -> None:
        """Lets `run` end after the items that already wait."""
        self._closed = True
        self._wake.set()

    async def _commit(self, batch: list[_Waiting]) -> None:
        self.batches += 1
        self.items += len(batch)
        try:
            results = await self._write(batch)
        except Exception as error:
            if len(batch) == 1:
                _refuse(batch[0], error)
                return
            for waiting in batch:
                await self._commit([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            _tell(waiting, result)
            if not waiting.future.done():
                waiting.future.set_result(result)

    async def _write(self, batch: list[_Waiting]) -> list[object]:
        results: dict[int, object] = {}
        lanes: dict[Lane[object, object], list[_Waiting]] = {}
        for waiting in batch:
            lanes.setdefault(waiting.lane, []).append(waiting)
        async with self._database.write() as connection:
            for lane, members in lanes.items():
                answers = await lane.handler(connection, [member.item for member in members])
                for member, answer in zip(members, answers, strict=True):
                    results[id(member)] = answer
        return [results[id(waiting)] for waiting in batch]


def _tell(waiting: _Waiting, result: object) -> None:
    """What is committed is committed: a listener that fails takes away neither the answer nor the queue."""
    if waiting.lane.after is None:
        return
    try:
        waiting.lane.after(waiting.item, result)
    except Exception:
        logs.error(_log, "commit.listener_failed", trace=True, lane=waiting.lane.name)


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def _heard(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
