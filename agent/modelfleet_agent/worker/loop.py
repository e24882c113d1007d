"""Takes orders one by one until serve closes the socket."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError

from ..control.framing import MAX_SPLIT, Buffer, Channel, open_split, split_frame
from .model import LoadedVariant, open_variant
from .priority import Scheduler
from .protocol import Answer, Op, Open, Opened, Order, Status


class Worker:
    """The orders' executor.

    Args:
        channel: to serve.
        scheduler: sets the priority before each order.
        ticks: a monotonic reading in nanoseconds.
    """

    def __init__(self, channel: Channel, scheduler: Scheduler, ticks: Callable[[], int]) -> None:
        self._channel = channel
        self._scheduler = scheduler
        self._ticks = ticks
        self._variant: LoadedVariant | None = None
        self._decode = msgspec.msgpack.Decoder(Order)
        self._encode = msgspec.msgpack.Encoder()

    def serve(self) -> None:
        """Obey until the other side closes.

        Raises:
            ModelfleetError, OSError: the conversation broke; the process should end.
        """
        while (payload := self._channel.receive(MAX_SPLIT)) is not None:
            head, body = open_split(payload)
            order = self._decode.decode(head)
            self._scheduler.set(order.priority)
            answer, bodies = self._obey(order, body)
            self._send(answer, bodies)

    def _obey(self, order: Order, body: memoryview) -> tuple[Answer, Sequence[Buffer]]:
        try:
            if order.op is Op.OPEN and order.open is not None:
                return self._open(order.open), ()
            if self._variant is None:
                return _failed(Code.FRAME_INVALID, "an order before a variant was opened"), ()
            if order.op is Op.RUN and order.run is not None:
                return self._variant.run(order.run, body)
            if order.op is Op.GOLDEN and order.golden is not None:
                return self._variant.golden(order.golden), ()
            if order.op is Op.SAMPLE and order.sample is not None:
                return self._variant.sample(order.sample)
            return _failed(Code.FRAME_INVALID, f"the order {order.op} without its content"), ()
        except ModelfleetError as error:
            return _failed(error.code, f"{error.happened}; expected {error.expected}"), ()
        except Exception as error:  # whatever a library raises, it is this order that failed
            reason = f"{type(error).__name__}: {str(error)[:300]}"
            return _failed(Code.INFERENCE_FAILED, reason), ()

    def _open(self, order: Open) -> Answer:
        last = None
        for step in open_variant(order, self._ticks):
            if isinstance(step, LoadedVariant):
                self._variant = step
                continue
            if last is not None:
                self._send(Answer(Status.PROGRESS, opened=last), ())
            last = step
        self._scheduler.survey()
        gc.collect()
        gc.freeze()
        assert isinstance(last, Opened)
        return Answer(Status.OK, opened=replace(last, can_lower=self._scheduler.can_lower))

    def _send(self, answer: Answer, bodies: Sequence[Buffer]) -> None:
        self._channel.send(split_frame(self._encode.encode(answer), bodies))


def _failed(code: Code, reason: str) -> Answer:
    return Answer(Status.FAILED, code.value, reason[:500])
