"""Clients of a cluster that write down what they asked and what they were told.

Three kinds of data, all read and written through every server:

    registers   intentions; the value is the description       PUT and GET of /v1/connect/intentions/exact
    instances   services; the value is in their meta           Registration.Register, /v1/catalog/service
    a set       intentions that are only ever added            PUT, /v1/connect/intentions/match

One client asks one server all the time, so that a server that hangs holds up its own clients only.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc

from tests.e2e.cluster.servers import Cluster, Server
from tests.simulation.history import History, Operation
from tests.simulation.linearizability import DONE
from tests.simulation.model import EMPTY, PUT, READ
from weft.aio import Tasks
from weft.pb.registration.v1 import registration_pb2 as pb
from weft.pb.registration.v1 import registration_pb2_grpc

WRITERS = READERS = 8
CALL_S = 14.0  # a server looks for a leader for 10 s before it gives up
THINK_S = 0.01
NOT_DONE = "No cluster leader"  # the answer that says that nothing was done
REGISTERS = 12


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Refused(Exception):
    """The server says that nothing was done."""


# Of which nobody knows whether something was done: aiohttp sends a PUT again when a connection breaks, so
# even a refused connection says nothing about the attempt before it.
FAILURES = (aiohttp.ClientError, OSError, AssertionError, grpc.aio.AioRpcError)


@dataclass
class Round:
    """What was asked in one round, which has keys of its own."""

    name: str
    history: History = field(default_factory=History)
    added: set[str] = field(default_factory=set)  # answered
    perhaps: set[str] = field(default_factory=set)  # outcome unknown
    refused: set[str] = field(default_factory=set)  # answered that it was not done
    writes: list[tuple[int, int]] = field(default_factory=list)  # when each answered write began and ended
    failures: list[str] = field(default_factory=list)  # of unknown outcome, reads included

    def recovered_us(self, since_us: int) -> int | None:
        """When the first write that began after that moment was answered."""
        ends = [ended for began, ended in self.writes if began >= since_us]
        return min(ends, default=None)


class Load:
    """`run` it beside faults; `stop` returns once every call has ended."""

    def __init__(self, cluster: Cluster, name: str, seed: int, *, think_s: float = THINK_S) -> None:
        self.round = Round(name)
        self._cluster = cluster
        self._draw = random.Random(seed)
        self._think_s = think_s
        self._number = 0
        self._stopping = False
        self._tasks = Tasks()
        self._clients: list[asyncio.Task[None]] = []
        self._http = self._session()

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(CALL_S),
            connector=aiohttp.TCPConnector(ssl=self._cluster.tls, limit=0),
            headers={"X-Consul-Token": self._cluster.token},
        )

    def start(self) -> None:
        servers = self._cluster.servers
        for number in range(WRITERS):
            self._spawn(self._write(servers[number % len(servers)], f"w{number}"))
        for number in range(READERS):
            self._spawn(self._read(servers[number % len(servers)], f"r{number}"))
        for server in servers:
            self._spawn(self._register(server))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._clients.append(self._tasks.spawn(work, "client"))

    async def stop(self) -> Round:
        self._stopping = True
        await asyncio.gather(*self._clients)
        return self.round

    async def close(self) -> None:
        await self._tasks.close()
        await self._http.close()

    async def _think(self) -> None:
        await asyncio.sleep(self._draw.random() * 2 * self._think_s)

    # Clients

    async def _write(self, server: Server, client: str) -> None:
        while not self._stopping:
            self._number += 1
            if self._draw.random() < 0.5:
                await self._put(server, client, self._number)
            else:
                await self._add(server, client, self._number)
            await self._think()

    async def _put(self, server: Server, client: str, number: int) -> None:
        key = f"k{self._draw.randrange(REGISTERS)}"

        async def put() -> str:
            await self._call(server, "PUT", self._register_path(key), {"Description": str(number)})
            return DONE

        await self._recorded(server, client, key, PUT, number, put)

    async def _add(self, server: Server, client: str, number: int) -> None:
        began, name = now_us(), f"{client}-{number}"
        path = f"/v1/connect/intentions/exact?source={name}&destination={self.round.name}"
        try:
            await self._call(server, "PUT", path, {"Description": "an element"})
        except Refused:
            self.round.refused.add(name)
            await asyncio.sleep(0.05)
        except FAILURES as error:
            self.round.perhaps.add(name)
            await self._failed(error, server)
        else:
            self.round.added.add(name)
            self.round.writes.append((began, now_us()))

    async def _register(self, server: Server) -> None:
        """Over gRPC, where a server takes instances for its own node."""
        key = f"service {server.name}"
        root = self._cluster.ca.read_bytes()
        async with grpc.aio.secure_channel(server.grpc, grpc.ssl_channel_credentials(root)) as channel:
            stub: Any = registration_pb2_grpc.RegistrationStub(channel)
            while not self._stopping:
                with suppress(TimeoutError):
                    await asyncio.wait_for(channel.channel_ready(), 1.0)
                    await self._register_once(stub, server, key)
                await asyncio.sleep(0.1)

    async def _register_once(self, stub: Any, server: Server, key: str) -> None:
        self._number += 1
        service = self._service(server)
        definition = {"Name": service, "ID": service, "Port": 80, "Meta": {"n": str(self._number)}}

        async def register() -> str:
            request = pb.RegisterRequest(definition_json=json.dumps(definition).encode())
            metadata = (("x-consul-token", self._cluster.token),)
            await stub.Register(request, metadata=metadata, timeout=CALL_S)
            return DONE

        await self._recorded(server, "grpc", key, PUT, self._number, register)

    async def _read(self, server: Server, client: str) -> None:
        while not self._stopping:
            if self._draw.random() < 0.8:
                await self.read_register(server, client, f"k{self._draw.randrange(REGISTERS)}")
            else:
                await self.read_instance(server, client, self._draw.choice(self._cluster.servers[:3]))
            await self._think()

    async def read_register(self, server: Server, client: str, key: str) -> None:
        async def read() -> tuple[int, ...]:
            path = self._register_path(key) + self._draw.choice(("", "&consistent"))
            found = await self._call(server, "GET", path)
            return (int(found["Description"]),) if found else EMPTY

        await self._recorded(server, client, key, READ, None, read)

    async def read_instance(self, server: Server, client: str, of: Server) -> None:
        async def read() -> tuple[int, ...]:
            found = await self._call(server, "GET", f"/v1/catalog/service/{self._service(of)}")
            return tuple(int(row["ServiceMeta"]["n"]) for row in found)

        await self._recorded(server, client, f"service {of.name}", READ, None, read)

    # Afterwards

    async def read_all(self) -> None:
        """Every key once from every server, as a part of the history."""
        for server in self._cluster.servers:
            for number in range(REGISTERS):
                await self.read_register(server, f"last {server.name}", f"k{number}")
            for of in self._cluster.servers[:3]:
                await self.read_instance(server, f"last {server.name}", of)

    async def elements(self, server: Server) -> set[str]:
        """The set as the server shows it."""
        path = f"/v1/connect/intentions/match?by=destination&name={self.round.name}&consistent"
        found = await self._call(server, "GET", path)
        rows = found[self.round.name] or []
        return {row["SourceName"] for row in rows if row["DestinationName"] == self.round.name}

    # One call

    def _register_path(self, key: str) -> str:
        return f"/v1/connect/intentions/exact?source={key}&destination=register-{self.round.name}"

    def _service(self, server: Server) -> str:
        return f"{self.round.name}-{server.name}"

    async def _recorded(
        self,
        server: Server,
        client: str,
        key: str,
        kind: str,
        argument: int | None,
        call: Callable[[], Awaitable[object]],
    ) -> None:
        operation = self.round.history.call(client, key, kind, argument, now_us())
        try:
            operation.result = await call()
        except Refused:
            self.round.history.drop(operation)
            await asyncio.sleep(0.05)
        except FAILURES as error:
            if kind == READ:
                self.round.history.drop(operation)
            await self._failed(error, server)
        else:
            self._returned(operation)

    def _returned(self, operation: Operation) -> None:
        operation.returned_us = now_us()
        if operation.kind == PUT:
            self.round.writes.append((operation.called_us, operation.returned_us))

    async def _failed(self, error: Exception, server: Server) -> None:
        """Waits until the server accepts connections: one failure per client and death is enough."""
        text = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        self.round.failures.append(f"{type(error).__name__}: {text}"[:300])
        while not self._stopping:
            await asyncio.sleep(0.05)
            with suppress(OSError):
                _, writer = await asyncio.open_connection(server.host, server.ports["https"])
                writer.close()
                return

    async def _call(
        self, server: Server, method: str, path: str, changes: dict[str, str] | None = None
    ) -> Any:
        """The JSON; None where there is nothing. Raises Refused, or what leaves the outcome unknown."""
        body = {"Action": "allow", **changes} if changes else None
        async with self._http.request(method, server.https + path, json=body) as answer:
            text = await answer.text()
        if answer.status == 404:
            return None
        if answer.status == 500 and text == NOT_DONE:
            raise Refused
        assert answer.status == 200, f"{answer.status} {text}"
        return json.loads(text)
