"""The clients of the registry's API in the bench, all in one process that is told what to do line by line.

    python -m bench.registry_clients    reads a line of JSON per task from stdin and answers with one

HTTP is spoken over plain sockets, so that a call costs the client little beside what it costs the server.
Sidecars are subscriptions of weft.mesh.v1, each on a connection of its own, that acknowledge what they get.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast

import grpc
import uvloop

from weft.aio import Tasks
from weft.credential import Credential
from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.pb.mesh.v1 import mesh_pb2_grpc

from .errors import LoadFailed

Json = dict[str, Any]

SERVICES = 1_000  # with one instance each, watched by parked queries
FAT, FAT_INSTANCES = 10, 10  # services that are read, and their instances
KEYS = 1_000
VALUE = b"v" * 100
PER_ADDRESS = 3_000  # parked queries from one local address: below the registry's bound for a source
MESHED, MESHED_INSTANCES = 100, 10  # services with sidecars
_TOUCHED_TIMEOUT_S = 60.0
_WOKEN_TIMEOUT_S, _POLL_S = 20.0, 0.05


class Http(asyncio.Protocol):
    """One connection with one call at a time."""

    def __init__(self, token: str) -> None:
        self._token = f"X-Consul-Token: {token}\r\n" if token else ""
        self._received = bytearray()
        self._done: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def connect(cls, address: str, token: str, source: str = "127.0.0.1") -> "Http":
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: cls(token), host, int(port), local_addr=(source, 0))
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        length = int(field(head, b"Content-Length") or 0)
        if len(self._received) >= end + 4 + length and self._done and not self._done.done():
            body = bytes(self._received[end + 4 : end + 4 + length])
            del self._received[: end + 4 + length]
            self._done.set_result((head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(LoadFailed(f"the connection was lost: {exc}"))

    def close(self) -> None:
        self._transport.abort()

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[bytes, bytes]:
        """Head and body of an answer that must be 200. Raises LoadFailed."""
        head_got, body_got = await self.ask(method, path, body)
        if head_got[9:12] != b"200":
            raise LoadFailed(f"{method} {path}: {head_got[:40]!r} {body_got[:200]!r}")
        return head_got, body_got

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[bytes, bytes]:
        """Head and body, whatever the status. Raises LoadFailed where the connection is lost."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._token}Content-Length: {len(body)}\r\n\r\n"
        )
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + body)
        return await self._done

    async def put(self, path: str, body: object) -> bytes:
        return (await self.call("PUT", path, json.dumps(body).encode()))[1]


def field(head: bytes, name: bytes) -> bytes:
    """The value of a field as servers of ours write it; b"" without one."""
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0] if found else b""


def registration(service: str, number: int, port: int) -> Json:
    """An instance with a passing check, on a node of its own."""
    node, service_id = f"node-{number:03d}", f"{service}-{number}"
    check = {
        "Name": "serving",
        "CheckID": f"service:{service_id}",
        "Status": "passing",
        "ServiceID": service_id,
    }
    instance = {"ID": service_id, "Service": service, "Port": port, "Tags": ["v1"], "Meta": {"version": "1"}}
    return {"Node": node, "Address": f"10.0.0.{number + 1}", "Service": instance, "Check": check}


class Clients:
    """What one side of a run is told. Addresses are of the leader first."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.token = ""
        self.grpc = ""
        self._numbers = count()

    async def connect(self, told: Json) -> Json:
        self.addresses, self.token, self.grpc = told["http"], told.get("token", ""), told.get("grpc", "")
        return {}

    async def fill(self, _: Json) -> Json:
        lanes = [await Http.connect(self.addresses[0], self.token) for _ in range(16)]
        rows = [registration(f"watched-{it:04d}", 0, 1024) for it in range(SERVICES)]
        rows += [registration(f"fat-{it}", at, 1024) for it in range(FAT) for at in range(FAT_INSTANCES)]
        await spread(lanes, rows, lambda lane, row: lane.put("/v1/catalog/register", row))
        keys = [f"/v1/kv/bench/{it:04d}" for it in range(KEYS)]
        await spread(lanes, keys, lambda lane, path: lane.call("PUT", path, VALUE))
        for lane in lanes:
            lane.close()
        return {"services": SERVICES + FAT}

    async def run(self, wish: Json) -> Json:
        """`clients` of them, each with its next call as soon as the last is answered."""
        addresses = self.addresses if wish.get("everywhere") else self.addresses[:1]
        lanes = [
            await Http.connect(addresses[at % len(addresses)], self.token) for at in range(wish["clients"])
        ]
        call: Callable[[Http, int], Awaitable[object]] = getattr(self, wish["call"])
        waits: list[float] = []
        began = time.monotonic()
        end = began + wish["seconds"]

        async def client(lane: Http) -> None:
            while (now := time.monotonic()) < end:
                await call(lane, next(self._numbers))
                waits.append(time.monotonic() - now)

        await asyncio.gather(*map(client, lanes))
        took = time.monotonic() - began
        for lane in lanes:
            lane.close()
        return {"count": len(waits), "per_s": len(waits) / took, **percentiles(waits)}

    @staticmethod
    async def health_read(lane: Http, number: int) -> None:
        await lane.call("GET", f"/v1/health/service/fat-{number % FAT}?passing")

    @staticmethod
    async def stale_health_read(lane: Http, number: int) -> None:
        await lane.call("GET", f"/v1/health/service/fat-{number % FAT}?passing&stale")

    @staticmethod
    async def kv_read(lane: Http, number: int) -> None:
        await lane.call("GET", f"/v1/kv/bench/{number % KEYS:04d}")

    @staticmethod
    async def kv_write(lane: Http, number: int) -> None:
        await lane.call("PUT", f"/v1/kv/bench/{number % KEYS:04d}", VALUE)

    async def park(self, wish: Json) -> Json:
        """So many blocking queries on health, and so many changes a second of what they watch."""
        parked = Parked(self.addresses[0], self.token)
        await parked.begin(wish["queries"])
        self._parked = parked
        return {"parked": wish["queries"]}

    async def change(self, wish: Json) -> Json:
        return await self._parked.changes(wish["per_s"], wish["seconds"])

    async def unpark(self, _: Json) -> Json:
        await self._parked.end()
        return {}

    async def subscribe(self, wish: Json) -> Json:
        self._mesh = Subscribed(self.addresses[0], self.token, self.grpc)
        await self._mesh.begin(wish["sidecars"])
        return {"sidecars": wish["sidecars"]}

    async def touch(self, wish: Json) -> Json:
        return await self._mesh.changes(wish["changes"], everybody=wish["everybody"])

    async def policy(self, wish: Json) -> Json:
        """How soon each server goes by a policy that was changed at the first."""
        lane = await Http.connect(self.addresses[0], self.token)
        made = json.loads(await lane.put("/v1/acl/policy", {"Name": "bench", "Rules": rules(True)}))
        token = json.loads(await lane.put("/v1/acl/token", {"Policies": [{"ID": made["ID"]}]}))
        asking = [await Http.connect(it, token["SecretID"]) for it in self.addresses]
        waits: list[float] = []

        async def until(server: Http, status: bytes, began: float) -> None:
            while (await server.ask("GET", "/v1/kv/bench/0001?stale"))[0][9:12] != status:
                continue
            waits.append(time.monotonic() - began)

        await asyncio.gather(*(until(it, b"200", time.monotonic()) for it in asking))
        waits.clear()
        for number in range(wish["changes"]):
            allowed = number % 2 == 1
            began, status = time.monotonic(), b"200" if allowed else b"403"
            change = lane.put(f"/v1/acl/policy/{made['ID']}", {"Name": "bench", "Rules": rules(allowed)})
            await asyncio.gather(change, *(until(it, status, began) for it in asking))
        return {**percentiles(waits), "longest_ms": max(waits) * 1e3}


def rules(allowed: bool) -> str:
    return f'key_prefix "" {{ policy = "{"read" if allowed else "deny"}" }}'


async def spread(lanes: list[Http], work: list[Any], do: Callable[[Http, Any], Awaitable[object]]) -> None:
    """Every piece of work over some lane."""
    waiting = iter(work)

    async def carry(lane: Http) -> None:
        for piece in waiting:
            await do(lane, piece)

    await asyncio.gather(*map(carry, lanes))


def percentiles(waits: list[float]) -> dict[str, float]:
    waits = sorted(waits)
    return {"p50_ms": waits[len(waits) // 2] * 1e3, "p99_ms": waits[len(waits) * 99 // 100] * 1e3}


class Parked:
    """Blocking queries that come back whenever they are answered."""

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token
        self._lanes: list[Http] = []
        self._tasks = Tasks()
        self._began: dict[int, float] = {}  # service -> when its change was sent
        self._waits: list[float] = []

    async def begin(self, queries: int) -> None:
        for number in range(queries):
            source = f"127.0.1.{1 + number // PER_ADDRESS}"
            lane = await Http.connect(self._address, self._token, source)
            self._lanes.append(lane)
            self._tasks.spawn(self._watch(lane, number % SERVICES), "watcher")
        self._writer = await Http.connect(self._address, self._token)

    async def _watch(self, lane: Http, service: int) -> None:
        path, index = f"/v1/health/service/watched-{service:04d}?passing&wait=600s&index=", b"1"
        while True:
            head, _ = await lane.call("GET", path + index.decode())
            if index != b"1" and service in self._began:
                self._waits.append(time.monotonic() - self._began[service])
            index = field(head, b"X-Consul-Index")

    async def changes(self, per_s: float, seconds: float) -> Json:
        self._waits.clear()
        began, total = time.monotonic(), int(per_s * seconds)
        for number in range(total):
            await asyncio.sleep(began + number / per_s - time.monotonic())
            service = number * 37 % SERVICES
            self._began[service] = time.monotonic()
            await self._writer.put(
                "/v1/catalog/register",
                registration(f"watched-{service:04d}", 0, 2000 + next(_PORTS) % 60_000),
            )
        took = time.monotonic() - began
        expected, deadline = total * len(self._lanes) // SERVICES, time.monotonic() + _WOKEN_TIMEOUT_S
        while len(self._waits) < expected:  # the last ones are being woken
            if time.monotonic() > deadline:
                raise LoadFailed(f"{len(self._waits)} queries were woken of {expected}")
            await asyncio.sleep(_POLL_S)
        return {"changes_per_s": total / took, "woken": len(self._waits), **percentiles(self._waits)}

    async def end(self) -> None:
        await self._tasks.close()
        for lane in self._lanes:
            lane.close()


_PORTS = count()


class Subscribed:
    """Sidecars without their data path: each holds its configuration and acknowledges what changes."""

    def __init__(self, address: str, token: str, grpc_address: str) -> None:
        self._address, self._token, self._grpc = address, token, grpc_address
        self._tasks = Tasks()
        self._channels: list[grpc.aio.Channel] = []
        self._waits: list[float] = []
        self._began = 0.0
        self._missing = 0
        self._all_told = asyncio.Event()

    async def begin(self, sidecars: int) -> None:
        self._count = sidecars
        lane = await Http.connect(self._address, self._token)
        self._lane = lane
        self._missing = sidecars
        for number in range(sidecars):
            definition = {
                "Name": f"mesh-{number % MESHED:03d}",
                "ID": f"mesh-{number % MESHED:03d}-{number // MESHED}",
                "Port": 1024 + number,
                "Connect": {"SidecarService": {"Port": 21_000 + number, "Checks": []}},
            }
            told = await lane.put("/v1/agent/service/register?credential", definition)
            self._tasks.spawn(self._hold(Credential.from_json(told)), "sidecar")
        await asyncio.wait_for(self._all_told.wait(), _TOUCHED_TIMEOUT_S)

    async def _hold(self, credential: Credential) -> None:
        channel = grpc.aio.secure_channel(
            self._grpc,
            grpc.ssl_channel_credentials(credential.registry_ca_pem.encode()),
            options=(("grpc.use_local_subchannel_pool", 1),),
        )
        self._channels.append(channel)
        stub: Any = mesh_pb2_grpc.MeshStub(channel)
        stream = stub.Subscribe(metadata=(credential.metadata(),))
        await stream.write(pb.SubscribeRequest(hello=pb.Hello()))
        while isinstance(delta := await stream.read(), pb.Delta):
            self._told()
            await stream.write(pb.SubscribeRequest(ack=pb.Ack(nonce=delta.nonce)))

    def _told(self) -> None:
        self._waits.append(time.monotonic() - self._began)
        self._missing -= 1
        if not self._missing:
            self._all_told.set()

    async def changes(self, changes: int, *, everybody: bool) -> Json:
        self._waits.clear()
        lasts = []
        for number in range(changes):
            # One that denies and one that allows, in turns: each is a change.
            action = {"Action": "deny" if number // MESHED % 2 == 0 else "allow"}
            destination, touched = f"mesh-{number % MESHED:03d}", self._count // MESHED
            if everybody:
                action = {"Action": "deny" if number % 2 == 0 else "allow"}
                destination, touched = "*", self._count
            self._missing = touched
            self._all_told.clear()
            self._began = time.monotonic()
            path = (
                f"/v1/connect/intentions/exact?source={'*' if everybody else 'web'}&destination={destination}"
            )
            await self._lane.put(path, action)
            await asyncio.wait_for(self._all_told.wait(), _TOUCHED_TIMEOUT_S)
            lasts.append(time.monotonic() - self._began)
        last = percentiles(lasts)
        return {**percentiles(self._waits), "last_p50_ms": last["p50_ms"], "last_p99_ms": last["p99_ms"]}

    async def end(self) -> None:
        await self._tasks.close()


async def serve() -> None:
    clients, loop = Clients(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        [(task, wish)] = json.loads(line).items()
        print(json.dumps(await getattr(clients, task)(wish)), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())
