"""The clients of the registry's bench: as many as are wanted in one process, each one call at a time.

    python -m bench.registry_load    reads a line of JSON per run from stdin and answers with one

Both sides are called from the same loop, with the same bytes. Writes to Weft go as calls over the connection
by which servers pass on what their clients write; what waits goes in one write. etcd has no such stream: it
is given one Put per call by grpc.aio. "Batched", whatever waits is one entry of the log on both sides: the
command that registers many services of a node, and a Txn of Puts.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import grpc

from registry.catalog import commands
from registry.catalog.model import Node, Service
from registry.replica import connection
from registry.replica.link import Link, Peer
from registry.replica.opening import PROTOCOL
from registry.replica.peer_tls import PeerContexts, PeerTls
from registry.replica.turn import Turn
from weft import logs
from weft.aio import Tasks
from weft.pb.raft.v1 import raft_pb2 as raft
from weft.pb.vendor.etcd.v3 import rpc_pb2 as etcd

from .errors import LoadFailed

_DATACENTER = "dc1"
_NODE = Node("bench", "127.0.0.1", _DATACENTER, "00000000-0000-4000-8000-0000000000be")
_SETTLE_S = 0.5  # connections are made meanwhile
_ROWS = 1000  # services that writes go round
_BATCH_MAX = 64  # services that one command registers; etcd's bound for a Txn is 128
_SERIALIZABLE = etcd.RangeRequest.FromString(b"\x38\x01")  # field 7; our copy of the contract is without


def registration(*numbers: int) -> bytes:
    """A command with a row of each of these services, different from the last of that service."""
    stamp = commands.Stamp(int(time.time() * 1000), os.urandom(commands.REQUEST_ID_BYTES))
    return commands.register(stamp, _NODE, map(_row, numbers)).SerializeToString()


def _row(number: int) -> Service:
    name = f"bench-{number % _ROWS:04d}"
    return Service(_NODE.name, name, name, _DATACENTER, tags=("v1",), port=1024 + number % 60_000)


class Target(Protocol):
    """Calls of one client; each raises unless the server says that it is done."""

    async def write(self, number: int) -> None: ...

    async def batched_write(self, number: int) -> None:
        """In one entry of the log with whatever else waits."""

    async def read(self, number: int) -> None:
        """Linearizable."""

    async def stale_read(self, number: int) -> None: ...

    async def close(self) -> None: ...


Waiting = list[tuple[int, "asyncio.Future[None]"]]


class Queue:
    """Joins what waits to batches, each row once: a round of `_ROWS` is longer than one."""

    def __init__(self, write: Callable[..., Awaitable[None]]) -> None:
        self._write = write
        self._waiting: Waiting = []
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self._tasks.spawn(self._run(), "batches")

    async def ask(self, number: int) -> None:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, outcome))
        self._wake.set()
        await outcome

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                part = self._waiting[:_BATCH_MAX]
                del self._waiting[:_BATCH_MAX]
                self._tasks.spawn(self._carry(part), "batch")

    async def _carry(self, part: Waiting) -> None:
        try:
            await self._write(*(number for number, _ in part))
        except LoadFailed as error:
            for _, outcome in part:
                outcome.set_exception(error)
            return
        for _, outcome in part:
            outcome.set_result(None)

    async def close(self) -> None:
        await self._tasks.close()


class WeftTarget:
    """The leader of a Weft cluster: writes over the servers' own protocol, reads of a row over HTTP."""

    def __init__(self, told: dict[str, Any], link: Link, http: str) -> None:
        self._link = link
        self._queue = Queue(self.write)
        self._address = http
        self._http = aiohttp.ClientSession(
            headers={"X-Consul-Token": told["token"]}, connector=aiohttp.TCPConnector(limit=0)
        )

    @classmethod
    async def connect(cls, told: dict[str, Any]) -> "WeftTarget":
        tls = PeerTls(*_read(told["tls"]))
        contexts = PeerContexts(lambda: tls, _DATACENTER)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for at, address in enumerate(told["servers"]):
                about = await _identify(address, contexts)
                if about.cluster_id and about.leader == about.address:
                    link = Link(
                        Peer(about.server_id, address), _opening(about), contexts, random.random, Turn()
                    )
                    return cls(told, link, told["http"][at])
            await asyncio.sleep(0.2)
        raise LoadFailed("no server says that it leads")

    async def write(self, *numbers: int) -> None:
        answer = await self._link.call(raft.Call(command=registration(*numbers)))
        if answer.outcome != raft.Answer.APPLIED or answer.code:
            raise LoadFailed(f"a write was refused: {answer.message}")

    async def batched_write(self, number: int) -> None:
        await self._queue.ask(number)

    async def read_index(self, number: int) -> None:
        """What makes a read linearizable, without the row."""
        answer = await self._link.call(raft.Call(read=raft.ReadIndex(consistent=True)))
        if answer.outcome != raft.Answer.APPLIED:
            raise LoadFailed(f"a read was refused: {answer.message}")

    async def read(self, number: int) -> None:
        await self._get(number, "consistent")

    async def stale_read(self, number: int) -> None:
        await self._get(number, "stale")

    async def _get(self, number: int, mode: str) -> None:
        url = f"http://{self._address}/v1/catalog/service/bench-{number % _ROWS:04d}?{mode}"
        async with self._http.get(url) as response:
            body = await response.read()
            if response.status != 200 or len(body) < 10:
                raise LoadFailed(f"a read was answered {response.status}: {body[:200]!r}")

    async def close(self) -> None:
        await self._queue.close()
        await self._link.close()
        await self._http.close()


def _opening(about: raft.Identity) -> Callable[[str], raft.Opening]:
    def opening(receiver: str) -> raft.Opening:
        hello = raft.Hello(
            cluster_id=about.cluster_id, sender="bench", receiver=receiver, address="127.0.0.1:1"
        )
        return raft.Opening(protocol=PROTOCOL, level=commands.COMMAND_VERSION, hello=hello)

    return opening


async def _identify(address: str, contexts: PeerContexts) -> raft.Identity:
    opening = raft.Opening(protocol=PROTOCOL, identify=raft.IdentifyRequest())
    made, opened = await connection.call(
        address,
        contexts.calling(),
        contexts.name,
        lambda proof: contexts.check(proof, time.time()),
        opening,
        Turn(),
    )
    made.finish()
    await made.gone()
    return opened.identity


class EtcdTarget:
    """The leader of an etcd cluster."""

    def __init__(self, address: str) -> None:
        self._way = grpc.aio.insecure_channel(address)
        self._put = self._call("Put", etcd.PutRequest, etcd.PutResponse)
        self._range = self._call("Range", etcd.RangeRequest, etcd.RangeResponse)
        self._txn = self._call("Txn", etcd.TxnRequest, etcd.TxnResponse)
        self._queue = Queue(self._write_all)

    def _call(self, name: str, request: Any, response: Any) -> Any:
        return self._way.unary_unary(
            f"/etcdserverpb.KV/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    @classmethod
    async def connect(cls, told: dict[str, Any]) -> "EtcdTarget":
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for address in told["servers"]:
                if await _etcd_leads(address):
                    return cls(address)
            await asyncio.sleep(0.2)
        raise LoadFailed("no etcd says that it leads")

    async def write(self, number: int) -> None:
        await self._put(_put(number))

    async def batched_write(self, number: int) -> None:
        await self._queue.ask(number)

    async def _write_all(self, *numbers: int) -> None:
        request = etcd.TxnRequest(success=[etcd.RequestOp(request_put=_put(number)) for number in numbers])
        try:
            await self._txn(request)
        except grpc.aio.AioRpcError as error:
            raise LoadFailed(f"etcd: {error.details()}") from None

    async def read(self, number: int) -> None:
        self._check(await self._range(etcd.RangeRequest(key=_key(number))))

    async def stale_read(self, number: int) -> None:
        request = etcd.RangeRequest(key=_key(number))
        request.MergeFrom(_SERIALIZABLE)
        self._check(await self._range(request))

    @staticmethod
    def _check(found: Any) -> None:
        if len(found.kvs) != 1:
            raise LoadFailed("etcd found no row")

    async def close(self) -> None:
        await self._queue.close()
        await self._way.close(None)


def _read(files: list[str]) -> list[bytes]:
    return [Path(file).read_bytes() for file in files]


async def _etcd_leads(address: str) -> bool:
    """By etcd's own JSON gateway: its Status names the leader and the member itself."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}/v3/maintenance/status", json={}) as answer,
    ):
        found = await answer.json(content_type=None)
    return bool(found.get("leader")) and found["leader"] == found["header"]["member_id"]


def _key(number: int) -> bytes:
    return f"/bench/{number % _ROWS:04d}".encode()


def _put(number: int) -> etcd.PutRequest:
    return etcd.PutRequest(key=_key(number), value=registration(number))


async def run(call: Callable[[int], Awaitable[None]], clients: int, seconds: float) -> dict[str, float]:
    """`clients` of them, each with its next call as soon as the last is answered."""
    waits: list[float] = []
    began = time.monotonic()
    end = began + seconds

    async def client(first: int) -> None:
        number = first
        while (now := time.monotonic()) < end:
            await call(number)
            waits.append(time.monotonic() - now)
            number += clients

    async with asyncio.TaskGroup() as group:
        for first in range(clients):
            group.create_task(client(first))
    took = time.monotonic() - began
    waits.sort()
    return {
        "per_s": len(waits) / took,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[len(waits) * 99 // 100] * 1e3,
        "count": len(waits),
    }


async def serve() -> None:
    targets: dict[str, Any] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wish = json.loads(line)
        if "connect" in wish:
            kind: Any = {"weft": WeftTarget, "etcd": EtcdTarget}[wish["connect"]["side"]]
            target = targets[wish["connect"]["side"]] = await kind.connect(wish["connect"])
            await asyncio.sleep(_SETTLE_S)
            for number in range(0, _ROWS, 50):
                await asyncio.gather(*(target.write(at) for at in range(number, number + 50)))
            answer: dict[str, Any] = {"rows": _ROWS}
        else:
            call = getattr(targets[wish["side"]], wish["call"])
            answer = await run(call, wish["clients"], wish["seconds"])
        print(json.dumps(answer), flush=True)
    for target in targets.values():
        await target.close()


if __name__ == "__main__":
    logs.configure("warning")
    asyncio.run(serve())
