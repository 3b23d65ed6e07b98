"""Messages between processes: whole, in order, with their descriptors, and an end that is noticed."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from sidecar.channel import MESSAGE_BYTES_MAX, Channel, Kind
from sidecar.errors import WorkerLost


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    one, other = map(Channel, socket.socketpair())
    yield one, other
    one.close()
    other.close()


async def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    contents = [b"", b"x", os.urandom(3 * 1024 * 1024), b"last"]

    async def say() -> None:
        for number, content in enumerate(contents):
            await one.send(Kind.CONFIG, content, number)

    saying = asyncio.ensure_future(say())
    heard = [await other.receive() for _ in contents]
    await saying
    assert [(it.kind, it.about, it.content) for it in heard] == [
        (Kind.CONFIG, number, content) for number, content in enumerate(contents)
    ]


async def test_descriptors_come_with_their_message(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with socket.socket() as first, socket.socket() as second:
        for bound in (first, second):
            bound.bind(("127.0.0.1", 0))
        await one.send(Kind.BOUND, b"two", 1, [first, second])
        await one.send(Kind.BOUND, b"none", 2)
        await one.send(Kind.BOUND, b"one", 3, [second])
        heard = [await other.receive() for _ in range(3)]
        assert [len(it.sockets) for it in heard] == [2, 0, 1]
        assert heard[0].sockets[0].getsockname() == first.getsockname()
        assert heard[2].sockets[0].getsockname() == second.getsockname()
        for message in heard:
            for passed in message.sockets:
                passed.close()


async def test_many_senders_do_not_mix_their_messages(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    contents = [bytes([number]) * 200_000 for number in range(20)]
    sending = [asyncio.ensure_future(one.send(Kind.LINES, content)) for content in contents]
    heard = [(await other.receive()).content for _ in contents]
    await asyncio.gather(*sending)
    assert heard == contents


async def test_the_end_of_the_other_process_is_noticed(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    waiting = asyncio.ensure_future(other.receive())
    await asyncio.sleep(0)
    one.close()
    with pytest.raises(WorkerLost):
        await waiting
    with pytest.raises(WorkerLost):
        while True:
            await other.send(Kind.LINES, b"x" * 100_000)


async def test_a_message_beyond_the_bound_is_not_waited_for() -> None:
    raw, end = socket.socketpair()
    channel = Channel(end)
    raw.send(bytes((Kind.CONFIG, 0)) + bytes(4) + (MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"))
    with pytest.raises(WorkerLost, match="nonsense"):
        await channel.receive()
    raw.close()
    channel.close()
