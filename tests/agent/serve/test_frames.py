"""Frames survive any chopping by the network, and what is too long or torn never gets through."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.control.framing import (
    ALIGNMENT,
    LENGTH,
    MAX_HEAD,
    Channel,
    frame,
    open_split,
    split_frame,
)
from modelfleet_agent.control.stream import FrameStream
from modelfleet_agent.control.tensors import TensorHead, cut
from modelfleet_core.errors import CallerError, ModelfleetError

LIMIT = 300_000


class Recorder(FrameStream):
    def __init__(self) -> None:
        super().__init__(LIMIT)
        self.frames: list[bytes] = []
        self.errors: list[str] = []

    def received(self, payload: bytearray) -> None:
        self.frames.append(bytes(payload))

    def refused(self, error: ModelfleetError) -> None:
        self.errors.append(error.code.value)


def feed(reader: Recorder, data: bytes, cuts: list[int]) -> None:
    """As the event loop does: ask for a buffer, fill some of it."""
    at = 0
    for size in [*cuts, len(data)]:
        end = min(len(data), at + size)
        while at < end:
            room = reader.get_buffer(-1)
            count = min(len(room), end - at)
            room[:count] = data[at : at + count]
            reader.buffer_updated(count)
            at += count


@given(
    st.lists(st.integers(0, 200_000), max_size=6),
    st.lists(st.integers(1, 70_000), max_size=30),
    st.integers(0, 255),
)
def test_any_chopping_gives_the_same_frames(sizes: list[int], cuts: list[int], seed: int) -> None:
    payloads = [bytes([(seed + index) % 256]) * size for index, size in enumerate(sizes)]
    reader = Recorder()
    feed(reader, b"".join(b"".join(map(bytes, frame(item))) for item in payloads), cuts)
    assert reader.frames == payloads
    assert reader.errors == []


def test_a_frame_beyond_the_limit_is_refused() -> None:
    reader = Recorder()
    feed(reader, LENGTH.pack(LIMIT + 1) + b"x", [])
    assert reader.frames == []
    assert reader.errors == ["MF-4036"]


def test_frames_through_a_real_socket() -> None:
    async def converse() -> list[bytes]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader = Recorder()
        await asyncio.get_running_loop().create_unix_connection(lambda: reader, sock=ours)
        channel = Channel(theirs)
        for size in (0, 1, 70_000, 250_000):
            await asyncio.to_thread(channel.send, frame(bytes([size % 251]) * size))
        while len(reader.frames) < 4:
            await asyncio.sleep(0)
        reader.close()
        channel.close()
        return reader.frames

    assert [len(item) for item in asyncio.run(converse())] == [0, 1, 70_000, 250_000]


def test_a_torn_message_is_not_a_message() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(LENGTH.pack(10) + b"half")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        channel.receive(100)
    channel.close()


def test_the_end_between_messages_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.close()
    assert channel.receive(100) is None
    channel.close()


def test_a_message_beyond_the_limit_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(LENGTH.pack(101))
    with pytest.raises(CallerError, match="MF-4036"):
        channel.receive(100)
    channel.close()
    theirs.close()


@given(st.binary(max_size=200), st.lists(st.binary(max_size=100), max_size=4))
def test_split_frames_come_apart_as_they_were(head: bytes, bodies: list[bytes]) -> None:
    payload = b"".join(map(bytes, split_frame(head, bodies)))[LENGTH.size :]
    seen_head, seen_body = open_split(payload)
    assert bytes(seen_head) == head
    assert bytes(seen_body) == b"".join(bodies)
    assert (len(payload) - len(seen_body)) % ALIGNMENT == 0


@given(st.binary(max_size=64))
def test_no_bytes_make_a_split_frame_read_beyond_itself(payload: bytes) -> None:
    torn = len(payload) < 4 or LENGTH.unpack_from(payload)[0] > len(payload) - 4
    if torn:
        with pytest.raises(CallerError, match="MF-4036"):
            open_split(payload)
        return
    with contextlib.suppress(CallerError):
        head, body = open_split(payload)
        assert len(head) + len(body) <= len(payload)


def test_a_head_beyond_the_limit_is_not_sent() -> None:
    with pytest.raises(CallerError, match="MF-4036"):
        split_frame(b"x" * (MAX_HEAD + 1))


@pytest.mark.parametrize(
    "heads",
    [
        [TensorHead("a", (2, 3))],
        [TensorHead("a", (-1, 3))],
        [TensorHead("a", ())],
        [TensorHead("a", (1 << 20, 1 << 20))],
        [TensorHead("a", (1,) * 7)],
        [TensorHead("a", (1,))] * 33,
    ],
)
def test_heads_that_do_not_describe_the_body_are_refused(heads: list[TensorHead]) -> None:
    with pytest.raises(CallerError, match="MF-4036"):
        cut(heads, memoryview(b"\0" * 16))


def test_tensors_are_cut_in_order() -> None:
    body = memoryview(bytes(range(24)))
    first, second = cut([TensorHead("a", (1, 2)), TensorHead("b", (2, 2))], body)
    assert bytes(first) == bytes(range(8))
    assert bytes(second) == bytes(range(8, 24))
