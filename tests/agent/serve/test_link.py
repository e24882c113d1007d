"""Serve's end of a real worker: one order at a time, real requests first, a hang is ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from modelfleet_agent.control.framing import MAX_BODY
from modelfleet_agent.serve.link import Result, WorkerLink, launch
from modelfleet_agent.worker.priority import Priority
from modelfleet_agent.worker.protocol import Op, Order, Run, Status
from modelfleet_core.error_codes import Code

# Nothing is open, so a worker answers each of these at once, with a refusal.
ORDER = Order(Op.RUN, run=Run())


def with_worker(test: Callable[[WorkerLink], Awaitable[None]]) -> None:
    async def life() -> None:
        link = await launch(Priority.NORMAL)
        try:
            await asyncio.wait_for(test(link), 30)
        finally:
            link.kill()
            await asyncio.to_thread(link.process.wait)

    asyncio.run(life())


def note(done: list[str], name: str, _: asyncio.Future[Result]) -> None:
    done.append(name)


def test_a_real_request_overtakes_what_is_not_running_yet() -> None:
    async def test(link: WorkerLink) -> None:
        done: list[str] = []
        futures = []
        for name, urgent in (("first", False), ("second", False), ("third", False), ("real", True)):
            future = link.submit(ORDER, limit_s=20, urgent=urgent)
            future.add_done_callback(partial(note, done, name))
            futures.append(future)
        assert link.waiting == 1
        await asyncio.gather(*futures)
        assert done == ["first", "real", "second", "third"]
        assert link.idle

    with_worker(test)


def test_an_order_whose_caller_has_gone_is_not_begun() -> None:
    async def test(link: WorkerLink) -> None:
        os.kill(link.process.pid, signal.SIGSTOP)
        running, gone, last = (link.submit(ORDER, limit_s=20) for _ in range(3))
        gone.cancel()
        running.cancel()
        os.kill(link.process.pid, signal.SIGCONT)
        result = await last
        assert result.answer is not None
        assert result.answer.status is Status.FAILED

    with_worker(test)


def test_a_hang_costs_the_running_order_and_not_the_waiting_ones() -> None:
    async def test(link: WorkerLink) -> None:
        await link.submit(ORDER, limit_s=20)
        os.kill(link.process.pid, signal.SIGSTOP)
        results = await asyncio.gather(*(link.submit(ORDER, limit_s=0.2) for _ in range(3)))
        assert [(item.lost, item.tried) for item in results] == [
            (Code.WORKER_HUNG, True),
            (Code.WORKER_HUNG, False),
            (Code.WORKER_HUNG, False),
        ]
        assert await link.gone is Code.WORKER_HUNG
        assert await asyncio.to_thread(link.process.wait) == -signal.SIGKILL
        late = await link.submit(ORDER, limit_s=20)
        assert (late.answer, late.tried) == (None, False)

    with_worker(test)


def test_a_death_is_noticed_without_any_order() -> None:
    async def test(link: WorkerLink) -> None:
        await link.submit(ORDER, limit_s=20)
        assert (link.rss_bytes() or 0) > 5_000_000
        link.process.kill()
        assert await link.gone is Code.WORKER_DIED
        await asyncio.to_thread(link.process.wait)
        assert link.rss_bytes() is None

    with_worker(test)


def test_an_order_that_is_too_large_is_refused_and_the_worker_goes_on() -> None:
    async def test(link: WorkerLink) -> None:
        result: Result = await link.submit(ORDER, [bytes(MAX_BODY + 1)], limit_s=20)
        assert result.answer is not None
        assert (result.answer.status, result.answer.code) == (Status.REFUSED, "MF-4036")
        again = await link.submit(ORDER, limit_s=20)
        assert again.answer is not None
        assert again.answer.status is Status.FAILED

    with_worker(test)
