"""The engines of the log, as the conformance suite handles them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from registry.raft.config import Member
from registry.replica.etcd.client import Etcd, delete
from registry.replica.etcd.engine import EtcdLog, open_etcd
from registry.replica.etcd.layout import Keys
from registry.replica.port import Log
from registry.replica.replica import Replica
from tests.support.cluster import InProcess, peer_tls
from tests.support.conformance import SNAPSHOT_AFTER_BYTES
from tests.support.waiting import until

ELECTED_S = 20.0


class MemoryEngine:
    """One server that ends with the process."""

    def __init__(self) -> None:
        self._opened: list[Replica] = []

    async def open(self) -> Log:
        self._opened.append(await Replica.in_memory())
        return self._opened[-1]

    async def leader(self) -> Log:
        return self._opened[-1]

    async def close(self) -> None:
        for replica in self._opened:
            await replica.close()


class DiskEngine:
    """One server with a data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cluster = InProcess(peer_tls(), None, {})
        self._running: list[Replica] = []

    async def open(self) -> Log:
        self._running.append(await Replica.open(self._path, snapshot_after_bytes=SNAPSHOT_AFTER_BYTES))
        return self._running[-1]

    async def leader(self) -> Log:
        return self._running[-1]

    async def crash(self, log: Log) -> None:
        await self._cluster.kill(self._running.pop())

    async def is_trimmed(self) -> bool:
        names = [path.name for path in (self._path / "log").iterdir()]
        first = min(int(name.removeprefix("log-")) for name in names if name.startswith("log-"))
        return any(name.startswith("snapshot-") and "." not in name for name in names) and first > 1

    async def close(self) -> None:
        for replica in self._running:
            await replica.close()


class RaftEngine:
    """Three servers, and more as they are asked for."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._cluster = InProcess(peer_tls(), base, {"snapshot_after_bytes": SNAPSHOT_AFTER_BYTES})
        self._given = 0
        self._away: list[Replica] = []

    async def start(self) -> None:
        servers = [await self._cluster.start() for _ in range(3)]
        members = [Member(it.server_id, it.address) for it in servers]
        await asyncio.gather(*(it.bootstrap(members) for it in servers))
        await self.leader()

    async def open(self) -> Log:
        if self._given == len(self._cluster.servers):
            late = await self._cluster.start()
            await late.join((await self._cluster.leader(among=self._cluster.servers[:-1])).address)
        self._given += 1
        return self._cluster.servers[self._given - 1]

    async def leader(self) -> Log:
        return await self._cluster.leader(among=[it for it in self._cluster.servers if it not in self._away])

    async def cut_off(self, log: Log) -> Callable[[], Awaitable[None]]:
        assert isinstance(log, Replica)
        heal_links = self._cluster.isolate(log)
        self._away.append(log)

        async def heal() -> None:
            heal_links()
            self._away.remove(log)

        await self.leader()
        return heal

    async def is_trimmed(self) -> bool:
        heads = [path.name for path in (self._base / "server-1" / "log").iterdir()]
        return any(name.startswith("snapshot-") and "." not in name for name in heads)

    async def close(self) -> None:
        for replica in self._cluster.servers:
            await replica.close()


class EtcdEngine:
    """Servers of a log in a running etcd."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._keys = Keys(prefix)
        self._running: list[EtcdLog] = []
        self._away: list[EtcdLog] = []
        self._opened = 0

    async def open(self) -> EtcdLog:
        self._opened += 1
        made = await open_etcd(
            self._url, address=f"127.0.0.1:{8300 + self._opened}", snapshot_after_bytes=SNAPSHOT_AFTER_BYTES
        )
        self._running.append(made)
        return made

    async def crash(self, log: Log) -> None:
        """Its lease stays, as a dead server's does, until it runs out; here it is ended by its etcd."""
        assert isinstance(log, EtcdLog)
        self._running.remove(log)
        lease = log._seat._lease
        log._closing = True
        await log._tasks.close()
        await log._etcd.close()
        await self._raw(lambda etcd: etcd.revoke(lease))

    async def leader(self) -> EtcdLog:
        def leads() -> EtcdLog | None:
            return next((it for it in self._running if it not in self._away and it.status().is_leader), None)

        found: EtcdLog = await until(leads, "a server leads", ELECTED_S)
        return found

    async def cut_off(self, log: Log) -> Callable[[], Awaitable[None]]:
        """It hears nothing and believes that its lease goes on; another server takes the seat.

        Its own requests still reach etcd: that is what the fence is for.
        """
        assert isinstance(log, EtcdLog)
        heard, epoch = asyncio.Event(), log._seat.epoch
        follow, beat = log._follower._take_rows, log._seat.beat

        async def deaf(_rows: object) -> None:
            await heard.wait()

        async def still() -> None:
            log._seat._made_at, log._seat._until = epoch, float("inf")

        log._follower._take_rows, log._seat.beat = deaf, still  # type: ignore[assignment, method-assign]
        await self._raw(lambda etcd: etcd.txn([], [delete(self._keys.leader)]))
        self._away.append(log)
        await self.leader()
        await still()
        assert log.status().is_leader, "it believes that it still leads"

        async def heal() -> None:
            log._follower._take_rows, log._seat.beat = follow, beat  # type: ignore[method-assign]
            heard.set()
            self._away.remove(log)

        return heal

    async def is_trimmed(self) -> bool:
        found = await self._raw(lambda etcd: etcd.range(self._keys.logs, self._keys.log(10**15), limit=1))
        return not found.kvs or self._keys.first_index(found.kvs[0].key) > 1

    async def _raw(self, ask: Callable[[Etcd], Awaitable[Any]]) -> Any:
        from registry.replica.etcd.address import parse

        etcd = Etcd(parse(self._url), lambda _error: None)
        try:
            return await ask(etcd)
        finally:
            await etcd.close()

    async def close(self) -> None:
        for log in self._running:
            with contextlib.suppress(Exception):
                await log.close()
