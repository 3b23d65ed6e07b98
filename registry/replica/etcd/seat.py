"""The leader's seat: a key bound to a lease, and what fences those who sit in it.

Leadership is the revision at which the key was made. Whoever writes as a leader has etcd compare it, so a
leader that was deposed without noticing writes nothing. By its own clock a server gives the seat up when
its lease, counted from when the last renewal was sent, may have run out.
"""

import asyncio
from dataclasses import dataclass

import structlog

from weft.pb.etcd.v1.log_pb2 import Server
from weft.pb.vendor.etcd.v3 import rpc_pb2 as pb

from ...errors import DiskFull, NotReady
from . import limits
from .client import Etcd, created_at, get, put
from .layout import Keys, after_prefix, read_server

log = structlog.get_logger(__name__)

LEASE_MARGIN_S = 0.5  # clocks that differ in rate by an eighth, which none does


@dataclass(frozen=True, slots=True)
class View:
    """Who is there, as of the last beat."""

    leader: Server | None = None
    servers: tuple[Server, ...] = ()


class Seat:
    """Holds this server's lease and takes the seat when it is empty. `run` does it."""

    def __init__(self, etcd: Etcd, keys: Keys, me: Server) -> None:
        self._etcd = etcd
        self._keys = keys
        self._me = me
        self._lease = 0
        self._made_at = 0
        self._until = 0.0
        self._stir = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.view = View()

    @property
    def epoch(self) -> int:
        """The revision that made this server the leader; 0 when it is not, or may not be any more."""
        return self._made_at if self._loop.time() < self._until else 0

    def fence(self, epoch: int) -> list[pb.Compare]:
        """What a transaction of a leader of that epoch compares."""
        return [created_at(self._keys.leader, epoch)]

    def stir(self) -> None:
        """The seat may be empty: look at once."""
        self._stir.set()

    def vacate(self) -> None:
        """A transaction showed that the seat is another's."""
        self._made_at = 0
        self.stir()

    async def beat(self) -> None:
        """Renews the lease, looks who is there, takes the seat when it is empty."""
        started = self._loop.time()
        if not (self._lease and await self._etcd.renew(self._lease)):
            self._made_at = 0
            self._lease = await self._etcd.grant(limits.LEASE_TTL_S)
            await self._appear()
        self._until = started + limits.LEASE_TTL_S - LEASE_MARGIN_S
        if await self._look() is None:
            await self._sit_down()
            await self._look()

    async def _appear(self) -> None:
        await self._etcd.txn(
            [], [put(self._keys.server(self._me.id), self._me.SerializeToString(), self._lease)]
        )

    async def _look(self) -> Server | None:
        found = await self._etcd.read(
            get(self._keys.leader), get(self._keys.servers, after_prefix(self._keys.servers))
        )
        seats, servers = (answer.response_range.kvs for answer in found.responses)
        leader = read_server(seats[0].value) if seats else None
        mine = bool(leader and leader.id == self._me.id and seats[0].lease == self._lease)
        if mine and not self._made_at:
            log.info("leading", server=self._me.id)
        self._made_at = seats[0].create_revision if mine else 0
        self.view = View(leader, tuple(read_server(row.value) for row in servers))
        return leader

    async def _sit_down(self) -> None:
        await self._etcd.txn(
            [created_at(self._keys.leader, 0)],
            [put(self._keys.leader, self._me.SerializeToString(), self._lease)],
        )

    async def run(self) -> None:
        """Beats until it is cancelled. Raises what `Etcd` says is not to be retried."""
        while True:
            self._stir.clear()
            try:
                await self.beat()
            except (NotReady, DiskFull) as error:  # the lease runs on until its own end
                if self._loop.time() >= self._until:
                    self.view = View()
                log.warning("the lease was not renewed", reason=str(error))
                await asyncio.sleep(limits.BEAT_S)
            try:
                async with asyncio.timeout(limits.BEAT_S):
                    await self._stir.wait()
            except TimeoutError:
                continue

    async def leave(self) -> None:
        """Frees the seat at once instead of when the lease ends."""
        self._made_at = 0
        if self._lease:
            await self._etcd.revoke(self._lease)
            self._lease = 0
