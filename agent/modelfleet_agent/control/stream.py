"""Reads frames in an event loop: small ones are cut out of one scratch buffer, large ones are received in
place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from modelfleet_core.errors import ModelfleetError

from .framing import LENGTH, Buffer, invalid, size_of

_SCRATCH: Final = 64 * 1024
_JOINED: Final = 64 * 1024
"""Below this a copy is cheaper than a second system call and a second wake-up of the other side."""


class FrameStream(asyncio.BufferedProtocol):
    """One connection that carries frames. Subclasses implement `received` and may extend `ended`.

    A frame longer than `limit` closes the connection: what follows it cannot be found.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._scratch = bytearray(_SCRATCH)
        self._view = memoryview(self._scratch)
        self._start = 0
        self._end = 0
        self._large: bytearray | None = None
        self._filled = 0
        self.transport: asyncio.Transport | None = None

    def received(self, payload: bytearray) -> None:
        """One whole frame; the buffer belongs to the receiver."""
        raise NotImplementedError

    def refused(self, error: ModelfleetError) -> None:
        """The stream broke the protocol; the connection is closed after this."""

    def ended(self) -> None:
        """The connection is gone, for whatever reason."""

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write buffers; nothing happens when the connection is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if sum(size_of(item) for item in buffers) <= _JOINED:
            transport.write(b"".join(buffers))
            return
        for item in buffers:
            transport.write(item)

    def close(self) -> None:
        """Close after what was written has been sent."""
        if self.transport is not None:
            self.transport.close()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.ended()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return memoryview(self._large)[self._filled :]
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._large is None:
                self._end += nbytes
                self._cut()
                return
            self._filled += nbytes
            if self._filled == len(self._large):
                payload, self._large = self._large, None
                self.received(payload)
        except ModelfleetError as error:
            self._start = self._end = 0
            self.refused(error)
            if self.transport is not None:
                self.transport.close()

    def _cut(self) -> None:
        while self._end - self._start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._view, self._start)
            if length > self._limit:
                raise invalid(f"a message of {length} bytes", f"at most {self._limit}")
            begin, end = self._start + LENGTH.size, self._start + LENGTH.size + length
            if end <= self._end:
                self._start = end
                self.received(bytearray(self._view[begin:end]))
            elif LENGTH.size + length > _SCRATCH:
                self._large = bytearray(length)
                self._filled = self._end - begin
                self._large[: self._filled] = self._view[begin : self._end]
                self._start = self._end = 0
                return
            else:
                break
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:
            rest = self._end - self._start
            self._scratch[:rest] = self._scratch[self._start : self._end]
            self._start, self._end = 0, rest
