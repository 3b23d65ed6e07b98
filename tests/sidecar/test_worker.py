"""A worker beside its supervisor: what it asks for and no longer wants."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from sidecar.channel import Channel, Kind
from sidecar.traffic import Address
from sidecar.worker import RemoteBinder
from weft.aio import Tasks
from weft.errors import PortTaken

HERE = Address("127.0.0.1", 5000)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    one, other = map(Channel, socket.socketpair())
    yield one, other
    one.close()
    other.close()


async def test_sockets_that_nobody_waits_for_any_more_are_given_back(ends: tuple[Channel, Channel]) -> None:
    worker, supervisor = ends
    tasks = Tasks()
    binder = RemoteBinder(worker, tasks)
    asked = asyncio.ensure_future(binder.bind(HERE))
    question = await supervisor.receive()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    with socket.create_server(("127.0.0.1", 0)) as bound:
        await supervisor.send(Kind.BOUND, b"", question.about, [bound])
        answer = await worker.receive()
        (passed,) = answer.sockets
        binder.bound(answer)
    assert passed.fileno() == -1, "it is closed"
    told = await asyncio.wait_for(supervisor.receive(), 5)
    assert (told.kind, json.loads(told.content)["port"]) == (Kind.RELEASE, HERE.port)
    await tasks.close()


async def test_a_port_that_another_process_has_is_told(ends: tuple[Channel, Channel]) -> None:
    worker, supervisor = ends
    binder = RemoteBinder(worker, Tasks())
    asked = asyncio.ensure_future(binder.bind(HERE))
    question = await supervisor.receive()
    await supervisor.send(
        Kind.BOUND, json.dumps({"why": "it is taken", "taken": True}).encode(), question.about
    )
    binder.bound(await worker.receive())
    with pytest.raises(PortTaken, match="it is taken"):
        await asked
