"""Frames between the processes of a device: a 4-byte big-endian length and that many bytes.

The control socket carries msgpack in them. Sockets that carry tensors (SDK, workers) use *split* frames: the
payload is a 4-byte length of the head, the head (msgpack), zeros up to a multiple of 16, and the body (raw
little-endian tensors, one after the other). So serve can pass a body on without looking into it, and its
elements lie aligned in the buffer that was received.

This module is for blocking sockets; `stream.py` reads the same frames in an event loop.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

Buffer = bytes | bytearray | memoryview

LENGTH: Final = struct.Struct(">I")
MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 64 * 1024 * 1024
ALIGNMENT: Final = 16
MAX_SPLIT: Final = LENGTH.size + MAX_HEAD + ALIGNMENT + MAX_BODY
_MAX_PARTS: Final = 512


def frame(payload: Buffer) -> list[Buffer]:
    """The buffers of one frame, to be written one after the other."""
    return [LENGTH.pack(len(payload)), payload]


def split_frame(head: bytes, bodies: Sequence[Buffer] = ()) -> list[Buffer]:
    """The buffers of one split frame. Nothing is copied but the head.

    Raises:
        CallerError: MF-4036, head or body are beyond their limits.
    """
    body = sum(size_of(item) for item in bodies)
    if len(head) > MAX_HEAD or body > MAX_BODY:
        raise invalid(
            f"a message has a head of {len(head)} and a body of {body} bytes",
            f"at most {MAX_HEAD} and {MAX_BODY}",
        )
    padding = bytes(-(LENGTH.size + len(head)) % ALIGNMENT)
    total = LENGTH.size + len(head) + len(padding) + body
    return [b"".join((LENGTH.pack(total), LENGTH.pack(len(head)), head, padding)), *bodies]


def open_split(payload: Buffer) -> tuple[memoryview, memoryview]:
    """Head and body of a split frame's payload, without copying.

    Raises:
        CallerError: MF-4036, the lengths contradict each other.
    """
    view = memoryview(payload)
    if len(view) < LENGTH.size:
        raise invalid(f"a message of {len(view)} bytes", f"at least {LENGTH.size}")
    (length,) = LENGTH.unpack_from(view)
    end = LENGTH.size + length
    begin = end + -end % ALIGNMENT
    if length > MAX_HEAD or begin > len(view):
        raise invalid(
            f"a head of {length} bytes in a message of {len(view)}", f"at most {MAX_HEAD}, inside it"
        )
    return view[LENGTH.size : end], view[begin:]


def invalid(happened: str, expected: str) -> CallerError:
    """The error of a malformed message."""
    return CallerError(
        Code.FRAME_INVALID,
        happened,
        expected=expected,
        todo="use the client of the same version; the connection is closed",
    )


class Channel:
    """Frames over a blocking stream socket. Not safe for several threads."""

    __slots__ = ("_length", "_socket")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._length = bytearray(LENGTH.size)

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write all buffers, gathered into as few system calls as the kernel takes.

        Raises:
            OSError: the other side is gone (also TimeoutError when the socket has a time-out).
        """
        views = [memoryview(item).cast("B") for item in buffers if size_of(item)]
        while views:
            sent = self._socket.sendmsg(views[:_MAX_PARTS])
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]

    def receive(self, limit: int) -> bytearray | None:
        """The next payload, or None where the other side has closed between two frames.

        Raises:
            CallerError: MF-4036, it is longer than `limit` bytes.
            OSError: the connection broke inside a frame (also TimeoutError).
        """
        if not self._fill(self._length):
            return None
        (length,) = LENGTH.unpack(self._length)
        if length > limit:
            raise invalid(f"a message of {length} bytes", f"at most {limit}")
        payload = bytearray(length)
        if length and not self._fill(payload):
            raise ConnectionResetError("the connection was closed inside a message")
        return payload

    def _fill(self, into: bytearray) -> bool:
        view = memoryview(into)
        filled = 0
        while filled < len(view):
            count = self._socket.recv_into(view[filled:])
            if count == 0:
                if filled:
                    raise ConnectionResetError("the connection was closed inside a message")
                return False
            filled += count
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def size_of(item: Buffer) -> int:
    """Bytes of a buffer."""
    return item.nbytes if isinstance(item, memoryview) else len(item)
