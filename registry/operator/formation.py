"""How servers become one cluster: the first start together, and joining later.

A new server asks those it was told of who they are. When one of them belongs to a cluster, it joins that.
When none does and as many as expected are there, each begins the cluster with the same list, from which the
cluster's id follows: servers that saw different lists refuse each other instead of splitting in two.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from weft.errors import WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

from ..raft.config import Member
from ..replica.port import Status
from ..replica.server_file import cluster_id_of
from .errors import CannotForm, Removed

log = structlog.get_logger(__name__)

RETRY_S = 1.0
REMIND_AFTER = 10  # attempts: an operator who waits is told why
LEADERLESS_S = 5.0  # several elections: then it is worth asking whether this server still belongs


class Newcomer(Protocol):
    """What formation needs of a replica (`replica.replica.Replica`)."""

    @property
    def server_id(self) -> str: ...

    @property
    def cluster_id(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def initialised(self) -> bool: ...

    async def identify(self, address: str) -> pb.Identity: ...

    async def bootstrap(self, members: Sequence[Member]) -> None: ...

    async def join(self, address: str) -> None: ...

    def status(self) -> Status: ...


class Formation:
    """`expect` servers begin a cluster together; 0 only joins. `addresses` are `host:port` of others."""

    def __init__(self, replica: Newcomer, expect: int, addresses: Sequence[str]) -> None:
        self._replica = replica
        self._expect = expect
        self._addresses = tuple(addresses)
        self._attempts = 0

    async def run(self) -> None:
        """Returns once this server has the log of a cluster. Raises CannotForm."""
        if not (self._replica.initialised or self._expect or self._addresses):
            raise CannotForm(
                "this server belongs to no cluster yet: give --bootstrap-expect (1 for a cluster of one), "
                "or --retry-join with the address of a server"
            )
        while not self._replica.initialised:
            self._attempts += 1
            try:
                await self._attempt()
            except CannotForm:
                raise
            except WeftError as error:
                log.warning("the cluster cannot be joined yet", reason=str(error))
            if not self._replica.initialised:
                await asyncio.sleep(RETRY_S)

    async def _attempt(self) -> None:
        found = await self._identities()
        begun = [it for it in found if it.cluster_id]
        if len({it.cluster_id for it in begun}) > 1:
            raise CannotForm(
                "--retry-join names servers of two clusters: "
                + ", ".join(f"{it.address} ({it.cluster_id})" for it in begun)
            )
        if begun:
            await self._enter(begun)
        elif self._expect:
            await self._begin(found)

    async def _identities(self) -> list[pb.Identity]:
        """Of the others that answer, each once."""
        asked = await asyncio.gather(*map(self._ask, self._addresses))
        found = {
            it.server_id: it for it in asked if it is not None and it.server_id != self._replica.server_id
        }
        return [found[server_id] for server_id in sorted(found)]

    async def _ask(self, address: str) -> pb.Identity | None:
        try:
            return await self._replica.identify(address)
        except WeftError as error:
            say = log.warning if self._attempts % REMIND_AFTER == 0 else log.debug
            say("a server does not answer yet", address=address, reason=str(error))
            return None

    async def _enter(self, begun: list[pb.Identity]) -> None:
        for it in begun:
            voters = [member for member in it.members if member.voter]
            ids = [member.id for member in voters]
            if self._replica.server_id in ids and cluster_id_of(ids) == it.cluster_id:
                # The others have begun with this one already: it begins with the same list.
                await self._bootstrap([Member(member.id, member.address) for member in voters])
                return
        await self._replica.join(begun[0].address)
        log.info("joined a cluster", by=begun[0].address, cluster=begun[0].cluster_id)

    async def _begin(self, found: list[pb.Identity]) -> None:
        members = [Member(it.server_id, it.address) for it in found]
        members.append(Member(self._replica.server_id, self._replica.address))
        if len(members) > self._expect:
            raise CannotForm(
                f"--bootstrap-expect is {self._expect}, but {len(members)} new servers were found: "
                f"{', '.join(sorted(it.address for it in members))}; give the same number on all of them"
            )
        if len(members) == self._expect:
            await self._bootstrap(members)

    async def _bootstrap(self, members: list[Member]) -> None:
        await self._replica.bootstrap(members)
        log.info("the cluster begins", servers=sorted(it.address for it in members))

    async def belongs(self) -> None:
        """For ever; raises Removed once the others say that this server is none of them any more, and
        CannotForm when it was told of servers of another cluster."""
        await self._refuse_other_clusters()
        while True:
            await asyncio.sleep(LEADERLESS_S)
            if self._replica.status().leader or not self._replica.initialised:
                continue
            others = {*self._addresses, *self._replica.status().peers} - {self._replica.address}
            for address in sorted(others):
                it = await self._ask(address)
                if it is not None and self._is_without_us(it):
                    raise Removed(
                        "this server was removed from its cluster; to join again, stop it, "
                        "empty its data directory, and start it with --retry-join"
                    )

    async def _refuse_other_clusters(self) -> None:
        own = self._replica.cluster_id
        for it in await self._identities():
            if own and it.cluster_id and it.cluster_id != own:  # own is empty until a new server has joined
                raise CannotForm(
                    f"the server at {it.address} is of cluster {it.cluster_id}, this one's data directory "
                    f"of {own}: check --retry-join, or start with an empty data directory"
                )

    def _is_without_us(self, it: pb.Identity) -> bool:
        ids = {member.id for member in it.members}
        same = it.cluster_id == self._replica.cluster_id and bool(it.leader)
        return same and self._replica.server_id not in ids
