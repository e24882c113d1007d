"""Serve's end of one worker: orders one at a time, real requests before all others, a watchdog on each.

Depth one is what makes a crash or a hang the failure of exactly one order, and lets a real request overtake
everything that is not running yet.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError

from ..control.framing import MAX_SPLIT, Buffer, open_split, split_frame
from ..control.stream import FrameStream
from ..worker.priority import Priority, raise_again
from ..worker.protocol import Answer, Opened, Order, Status

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Answer)
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_BUFFER: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an order.

    Attributes:
        answer: the worker's answer, or None where the worker was lost.
        body: the tensors of the answer.
        lost: why there is no answer: WORKER_DIED or WORKER_HUNG.
        tried: the worker had begun; where it had not, another try is no second execution.
    """

    answer: Answer | None
    body: memoryview
    lost: Code | None = None
    tried: bool = True


@dataclass(slots=True, eq=False)
class _Job:
    order: Order
    bodies: Sequence[Buffer]
    limit_s: float
    future: asyncio.Future[Result]
    timer: asyncio.TimerHandle | None = field(default=None)


class WorkerLink(FrameStream):
    """The conversation with one worker process.

    Args:
        process: the worker.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(MAX_SPLIT)
        self.process = process
        self.progress: list[Opened] = []
        self.gone: asyncio.Future[Code] = asyncio.get_running_loop().create_future()
        self._urgent: deque[_Job] = deque()
        self._background: deque[_Job] = deque()
        self._busy: _Job | None = None
        self._reason = Code.WORKER_DIED

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return self._busy is None and not self._urgent and not self._background

    @property
    def waiting(self) -> int:
        """Real requests that wait for their turn."""
        return len(self._urgent)

    def submit(
        self, order: Order, bodies: Sequence[Buffer] = (), *, limit_s: float, urgent: bool = False
    ) -> asyncio.Future[Result]:
        """Queue an order; the future never raises but for cancellation.

        Args:
            order: what to do, `bodies` its tensors.
            limit_s: from its start; after that the worker counts as hung and is killed.
            urgent: a real request: goes before all that are not.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self.gone.done():
            future.set_result(_lost(self.gone.result(), tried=False))
            return future
        job = _Job(order, bodies, limit_s, future)
        (self._urgent if urgent else self._background).append(job)
        if self._busy is None:
            self._next()
        elif urgent and self._busy.order.priority is Priority.IDLE:
            raise_again(self.process.pid)
        return future

    def rss_bytes(self) -> int | None:
        """Resident memory of the process; None when it has ended."""
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            return None

    def kill(self, reason: Code = Code.WORKER_DIED) -> None:
        """End the process now; what it was doing is lost."""
        if not self.gone.done():
            self._reason = reason
        self.process.kill()
        self._give_up()
        if self.transport is not None:
            self.transport.abort()

    # FrameStream

    def received(self, payload: bytearray) -> None:
        head, body = open_split(payload)
        try:
            answer = _DECODER.decode(head)
        except msgspec.DecodeError:
            self.kill()
            return
        if answer.status is Status.PROGRESS:
            if answer.opened is not None:
                self.progress.append(answer.opened)
            return
        job, self._busy = self._busy, None
        if job is None:
            self.kill()  # an answer that nobody asked for
            return
        self._settle(job, Result(answer, body))
        self._next()

    def refused(self, error: ModelfleetError) -> None:
        self.kill()

    def ended(self) -> None:
        self._give_up()

    def _next(self) -> None:
        while self._urgent or self._background:
            job = (self._urgent or self._background).popleft()
            if job.future.done():  # its caller has gone away
                continue
            try:
                buffers = split_frame(_ENCODER.encode(job.order), job.bodies)
            except ModelfleetError as error:
                refusal = Answer(Status.REFUSED, error.code.value, error.happened)
                self._settle(job, Result(refusal, memoryview(b"")))
                continue
            self._busy = job
            job.timer = asyncio.get_running_loop().call_later(job.limit_s, self._hung, job)
            self.send(buffers)
            return

    def _hung(self, job: _Job) -> None:
        if self._busy is job:
            self.kill(Code.WORKER_HUNG)

    def _give_up(self) -> None:
        if not self.gone.done():
            self.gone.set_result(self._reason)
        job, self._busy = self._busy, None
        if job is not None:
            self._settle(job, _lost(self._reason, tried=True))
        for queue in (self._urgent, self._background):
            while queue:
                self._settle(queue.popleft(), _lost(self._reason, tried=False))

    @staticmethod
    def _settle(job: _Job, result: Result) -> None:
        if job.timer is not None:
            job.timer.cancel()
        if not job.future.done():
            job.future.set_result(result)


async def launch(priority: Priority) -> WorkerLink:
    """Start a worker process at that priority and connect to it.

    Must run on the main thread: the kernel ends the child when the thread that forked it ends.

    Raises:
        OSError: no process or no sockets are to be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        command = [sys.executable, "-P", "-m", "modelfleet_agent.worker"]
        try:
            process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid()), priority.value],
                stdin=subprocess.DEVNULL,
                stdout=2,  # serve's own standard output carries the readiness line alone
                pass_fds=(theirs.fileno(),),
            )
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)
    link = WorkerLink(process)
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    return link


def _lost(code: Code, *, tried: bool) -> Result:
    return Result(None, memoryview(b""), code, tried)
