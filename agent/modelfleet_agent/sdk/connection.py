"""One connection to serve that comes back by itself: asks, and asks again within the deadline when serve is
gone."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError

from ..control.application import Question, Reply, Trouble
from ..control.framing import MAX_SPLIT, Buffer, Channel, open_split, split_frame

FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.1
GRACE_S: Final = 0.25
"""Serve keeps the deadline itself and says what was late; its word is awaited that much longer."""
_CALLERS: Final = frozenset({Code.INPUT_BREAKS_CONTRACT, Code.REQUEST_INVALID, Code.FRAME_INVALID})


class Connection:
    """Questions to serve, one at a time. Not safe for several threads.

    Args:
        path: the Unix socket.
        clock: measures deadlines and waits between two tries.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._channel: Channel | None = None
        self._socket: socket.socket | None = None
        self._number = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Reply)

    def ask(self, question: Question, bodies: Sequence[Buffer] = ()) -> tuple[Reply, memoryview]:
        """The reply and its tensors. Asks again as long as serve is gone or going down and there is time: an
        inference changes nothing, so a second one does no harm.

        Raises:
            CallerError, WorldError: what serve says; MF-4035, serve could not be reached in time; MF-4023, no
                reply in time.
        """
        deadline = self._clock.monotonic() + question.timeout_s
        pause = FIRST_PAUSE_S
        while True:
            left = deadline - self._clock.monotonic()
            try:
                reply, body = self._once(question, bodies, max(left, 0.0))
                if reply.trouble is None:
                    return reply, body
                if not reply.trouble.again:
                    raise _error(reply.trouble)
                seen = f"{reply.trouble.code}: {reply.trouble.happened}"
            except TimeoutError:
                self.close()
                raise _too_late(question) from None
            except OSError as error:
                seen = error.strerror or str(error)
            self.close()
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise _unreachable(self._path, question, seen)
            self._clock.wait(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Hang up; the next question connects again."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._socket = None

    def _once(self, question: Question, bodies: Sequence[Buffer], left: float) -> tuple[Reply, memoryview]:
        channel, connection = self._channel, self._socket
        if channel is None or connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            channel = Channel(connection)
            self._channel, self._socket = channel, connection
            connection.settimeout(left + GRACE_S)
            connection.connect(str(self._path))
        else:
            connection.settimeout(left + GRACE_S)
        self._number += 1
        asked = replace(question, number=self._number, timeout_s=left)
        channel.send(split_frame(self._encoder.encode(asked), bodies))
        payload = channel.receive(MAX_SPLIT)
        if payload is None:
            raise ConnectionResetError("serve has closed the connection")
        head, body = open_split(payload)
        try:
            reply = self._decoder.decode(head)
        except msgspec.DecodeError as error:
            raise ConnectionResetError(f"serve speaks otherwise: {error}") from error
        if reply.number not in (self._number, 0):
            raise ConnectionResetError("a reply to another question")
        return reply, body


def _error(trouble: Trouble) -> ModelfleetError:
    try:
        code = Code(trouble.code)
    except ValueError:  # a newer serve
        code = Code.INFERENCE_FAILED
    kind = CallerError if code in _CALLERS else WorldError
    return kind(code, trouble.happened, expected=trouble.expected, todo=trouble.todo)


def _unreachable(path: Path, question: Question, seen: str) -> WorldError:
    return WorldError(
        Code.SERVE_UNREACHABLE,
        f"serve could not be reached at {path} within {question.timeout_s:g} s: {seen}",
        expected="a running `modelfleet-agent serve` that this user may talk to",
        todo="start it, or name its socket in MODELFLEET_SOCKET",
    )


def _too_late(question: Question) -> WorldError:
    return WorldError(
        Code.DEADLINE_PASSED,
        f"the slot {question.slot!r} gave no answer within {question.timeout_s:g} s",
        expected="an answer in time",
        todo="give a longer deadline, or look at `modelfleet-agent status`",
    )
