"""Replicas of one cluster in this process, over real TCP and TLS on loopback.

async with running_cluster(3) as cluster:
    await cluster.leader()
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import private_pem
from ca.server_identity import issue_server, new_server_root
from registry.errors import NotReady
from registry.raft.config import Member
from registry.replica.options import Options
from registry.replica.peer_tls import PeerTls, server_name
from registry.replica.replica import Replica
from tests.support.waiting import until

DATACENTER = "dc1"
ELECTED_S = 20.0


def peer_tls(datacenter: str = DATACENTER) -> Callable[..., PeerTls]:
    """A new root; the answer issues certificates under it, for a server unless names are given."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = new_server_root(datacenter, root_key, 1, datetime.now(UTC))
    root_pem = der_to_pem(root.public_bytes(Encoding.DER)).encode()

    def issue(*names: str) -> PeerTls:
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = names or (server_name(datacenter), "127.0.0.1")
        serial = int.from_bytes(os.urandom(8), "big") + 1
        leaf = issue_server(root, root_key, key.public_key(), hosts, serial, datetime.now(UTC))
        return PeerTls(root_pem, chain_to_pem([leaf.leaf_der]), private_pem(key))

    return issue


@dataclass
class InProcess:
    """Servers by the order they were started in."""

    issue: Callable[..., PeerTls]
    base: Path | None
    options: dict[str, Any]
    servers: list[Replica] = field(default_factory=list)

    async def start(self, number: int | None = None, listen: str = "127.0.0.1:0") -> Replica:
        """A new server, or the one of that number again, from its directory and on its address."""
        name = len(self.servers) if number is None else number
        tls = self.issue()
        directory = self.base / f"server-{name}" if self.base else None
        replica = await Replica.start(Options(directory, listen, lambda: tls, DATACENTER, **self.options))
        if number is None:
            self.servers.append(replica)
        else:
            self.servers[number] = replica
        return replica

    async def restart(self, number: int) -> Replica:
        address = self.servers[number].address
        await self.servers[number].close()
        return await self.start(number, address)

    async def leader(self, *, among: list[Replica] | None = None) -> Replica:
        """The one leader whom all running servers know."""

        def agreed() -> Replica | None:
            running = [it for it in among or self.servers if not it._closing]
            leaders = {it.status().leader_id for it in running}
            leading = [it for it in running if it.status().is_leader]
            return leading[0] if len(leading) == 1 and leaders == {leading[0].server_id} else None

        found: Replica = await until(agreed, "the servers agree on a leader", ELECTED_S)
        return found

    async def elect(self, first: Replica) -> None:
        """Saves the tests an election timeout."""
        transport = first._transport
        assert transport
        others = [it.server_id for it in self.servers if it is not first]
        await until(lambda: all(map(transport.connected, others)), "the servers are connected", ELECTED_S)
        first._driver.node.campaign()
        first._driver.poke()
        await first.read_index()  # the leader's own first entry is applied

    def isolate(self, replica: Replica) -> Callable[[], None]:
        """Cuts one server off from all others, until the answer is called."""
        transport: Any = replica._transport

        async def no_call(_server: str, _call: object) -> None:
            raise NotReady("cut off")

        replica.deliver = replica.send = lambda message: None  # type: ignore[method-assign]
        transport.call = no_call

        def heal() -> None:
            del replica.deliver, replica.send, transport.call

        return heal

    async def kill(self, replica: Replica) -> None:
        """As kill -9 would: nothing is handed over, nothing is finished."""
        replica._closing = True
        replica._ticker.close()
        replica._driver.close()
        if replica._transport:
            await replica._transport.close()
        await asyncio.wait((replica._writer,))
        await replica._tasks.close()
        await replica._snapshots.close()
        replica._home.close()


@asynccontextmanager
async def running_cluster(count: int, base: Path | None = None, **options: Any) -> AsyncIterator[InProcess]:
    """That many servers, bootstrapped together."""
    cluster = InProcess(peer_tls(), base, options)
    try:
        for _ in range(count):
            await cluster.start()
        members = [Member(it.server_id, it.address) for it in cluster.servers]
        await asyncio.gather(*(it.bootstrap(members) for it in cluster.servers))
        await cluster.elect(cluster.servers[0])
        yield cluster
    finally:
        for replica in cluster.servers:
            await replica.close()
