"""The supervisor's side of the control socket: one request, one reply (`protocol.py` says what they mean).

Blocking, with a time-out on every request: a serve that does not answer counts as gone.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError

from .framing import Channel, frame
from .protocol import MAX_FRAME, PROTOCOL, Actual, Desired, Kind, Reply, Request, WindowClosed

TIMEOUT_S: Final = 5.0
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Reply)


class ServeClient:
    """One conversation with serve. Not safe for several threads."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connects.

        Args:
            path: of the control socket.
            timeout_s: for each request, seconds.

        Raises:
            WorldError: MF-4035, nobody listens there.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            raise _unreachable(f"serve does not listen on {path}: {error}") from error
        self._connection = connection
        self._channel = Channel(connection)

    def hello(self) -> str:
        """Serve's boot id.

        Raises:
            CallerError: MF-4037, it speaks another protocol.
            WorldError: MF-4035, it does not answer.
        """
        return self._ask(Request(Kind.HELLO)).boot_id

    def want(self, desired: Desired) -> Actual:
        """Hands the whole table over; serve's truth after it.

        Raises:
            CallerError: MF-4037, it speaks another protocol.
            WorldError: MF-4035, it does not answer, or could not save the table.
        """
        return self._truth(self._ask(Request(Kind.DESIRED, desired=desired)))

    def actual(self) -> Actual:
        """Serve's truth.

        Raises:
            CallerError, WorldError: as `want`.
        """
        return self._truth(self._ask(Request(Kind.ACTUAL)))

    def windows(self, acknowledged: int) -> tuple[WindowClosed, ...]:
        """Closed windows after that cursor; all up to it are forgotten.

        Raises:
            CallerError, WorldError: as `want`.
        """
        return self._ask(Request(Kind.WINDOWS, acknowledged=acknowledged)).windows

    def drain(self) -> None:
        """Asks serve to finish what is under way and end. Understood by every protocol version.

        Raises:
            WorldError: MF-4035, it does not answer.
        """
        self._exchange(Request(Kind.DRAIN))

    def fileno(self) -> int:
        """Of the socket; readable or hung up means that serve is gone."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()

    def _ask(self, request: Request) -> Reply:
        reply = self._exchange(request)
        if reply.protocol != PROTOCOL:
            raise CallerError(
                Code.CONTROL_PROTOCOL,
                f"serve speaks protocol {reply.protocol}",
                expected=f"protocol {PROTOCOL}",
                todo="nothing: the supervisor drains it and starts its own version",
            )
        if reply.error is not None:
            raise _unreachable(f"serve refuses: {reply.error[:300]}")
        return reply

    def _exchange(self, request: Request) -> Reply:
        try:
            self._channel.send(frame(_ENCODER.encode(request)))
            payload = self._channel.receive(MAX_FRAME)
            if payload is None:
                raise ConnectionResetError("serve hung up")
            return _DECODER.decode(payload)
        except (OSError, ModelfleetError, msgspec.MsgspecError) as error:
            raise _unreachable(f"serve does not answer: {error}") from error

    @staticmethod
    def _truth(reply: Reply) -> Actual:
        if reply.actual is None:
            raise _unreachable("serve's reply holds no table")
        return reply.actual


def _unreachable(happened: str) -> WorldError:
    return WorldError(
        Code.SERVE_UNREACHABLE,
        happened,
        expected="a serve that answers on its control socket",
        todo="nothing: the supervisor starts serve again; see serve's log if it lasts",
    )
