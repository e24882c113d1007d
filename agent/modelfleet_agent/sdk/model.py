"""`Model`: one slot of this device as a function of arrays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from modelfleet_core.clock import Clock, SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError

from ..control.application import Ask, Metadata, Question
from ..control.framing import Buffer
from ..control.tensors import TensorHead, cut
from .connection import Connection
from .settings import socket_path

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating[Any]]

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered: float32 arrays by name, and which release and variant it was.

    Attributes:
        compute_s: computing time in the model's process, seconds.
    """

    outputs: dict[str, FloatArray]
    release: str
    variant: str
    compute_s: float

    @property
    def first(self) -> FloatArray:
        """The first output."""
        return next(iter(self.outputs.values()))


class Model:
    """A slot. Which release answers is the fleet's matter and may change between two calls.

    May be used by several threads, which then take turns; one `Model` each is faster.

    Args:
        slot: name of the model, for example `digits`.
        socket: serve's socket; None = `MODELFLEET_SOCKET` or the default place.
        timeout_s: longest time that one call may take, seconds. Within it the call survives a restart of
            serve.
        clock: for tests.
    """

    def __init__(
        self,
        slot: str,
        *,
        socket: Path | str | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self.slot = slot
        self._timeout_s = timeout_s
        path = Path(socket) if socket is not None else socket_path()
        self._connection = Connection(path, clock or SystemClock())
        self._turn = threading.Lock()
        self._metadata: Metadata | None = None

    def __call__(self, value: Numbers, *, timeout_s: float | None = None) -> FloatArray:
        """The first output for one input.

        Args:
            value: floating point, in the shape of the model's input, with or without the leading dimension of
                samples; without it the answer is without it too.
            timeout_s: instead of the model's.

        Raises:
            CallerError: MF-4005, the input breaks the contract.
            WorldError: MF-4020 the slot is empty, MF-4023 too late, MF-4035 serve is not there, or the
                model's failure.
        """
        known = self._metadata or self.metadata(timeout_s=timeout_s)
        single = value.ndim == len(known.inputs[0].shape) - 1
        answer = self.ask({known.inputs[0].name: value[None] if single else value}, timeout_s=timeout_s)
        return answer.first[0] if single else answer.first

    def infer(
        self, inputs: Mapping[str, Numbers], *, timeout_s: float | None = None
    ) -> dict[str, FloatArray]:
        """All outputs by name; every input with its leading dimension. Raises as `__call__` does."""
        return self.ask(inputs, timeout_s=timeout_s).outputs

    def ask(self, inputs: Mapping[str, Numbers], *, timeout_s: float | None = None) -> Answer:
        """All outputs, and who answered. Raises as `__call__` does."""
        heads: list[TensorHead] = []
        bodies: list[Buffer] = []
        for name, value in inputs.items():
            array = _float32(name, value)
            heads.append(TensorHead(name, array.shape))
            bodies.append(array.data.cast("B") if array.size else b"")
        question = Question(Ask.INFER, 0, self.slot, self._timeout(timeout_s), tuple(heads))
        try:
            with self._turn:
                reply, body = self._connection.ask(question, bodies)
        except ModelfleetError as error:
            if error.code is Code.INPUT_BREAKS_CONTRACT:
                self._metadata = None  # another release may take something else
            raise
        return Answer(_arrays(reply.outputs, body), reply.release, reply.variant, reply.compute_ns / 1e9)

    def metadata(self, *, timeout_s: float | None = None) -> Metadata:
        """Which model serves the slot now, and what it takes and gives. Raises WorldError as `__call__`
        does."""
        question = Question(Ask.METADATA, 0, self.slot, self._timeout(timeout_s))
        with self._turn:
            reply, _ = self._connection.ask(question)
        assert reply.metadata is not None
        self._metadata = reply.metadata
        return reply.metadata

    def close(self) -> None:
        """Hang up."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _timeout(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


def _float32(name: str, value: Numbers) -> FloatArray:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating) or array.ndim == 0:
        raise CallerError(
            Code.INPUT_BREAKS_CONTRACT,
            f"the input {name!r} is {array.dtype} with {array.ndim} dimensions",
            expected="a floating-point array, for images usually 0 to 1",
            todo="convert it: `pixels.astype(numpy.float32) / 255`",
        )
    return np.ascontiguousarray(array, np.float32)


def _arrays(heads: Sequence[TensorHead], body: memoryview) -> dict[str, FloatArray]:
    return {
        head.name: np.frombuffer(part, np.float32).reshape(head.shape)
        for head, part in zip(heads, cut(heads, body), strict=True)
    }
