"""How servers find each other, without sockets: who bootstraps, who joins, who is refused."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from registry.errors import NotReady
from registry.operator import formation
from registry.operator.errors import CannotForm, Removed
from registry.operator.formation import Formation
from registry.raft.config import Member
from registry.replica.port import Status
from registry.replica.server_file import cluster_id_of
from weft.pb.raft.v1 import raft_pb2 as pb


@dataclass
class Fake:
    """A server among others, which are found by their address."""

    server_id: str
    world: "dict[str, Fake]"
    cluster_id: str = ""
    members: list[Member] = field(default_factory=list)
    leader: str = ""
    joined: list[str] = field(default_factory=list)
    reachable: bool = True

    def __post_init__(self) -> None:
        self.world[self.address] = self

    @property
    def address(self) -> str:
        return f"{self.server_id}:8300"

    @property
    def initialised(self) -> bool:
        return bool(self.members)

    async def identify(self, address: str) -> pb.Identity:
        found = self.world.get(address)
        if found is None or not found.reachable:
            raise NotReady("nobody answers")
        members = [pb.Member(id=it.id, address=it.address, voter=it.voter) for it in found.members]
        return pb.Identity(
            server_id=found.server_id,
            cluster_id=found.cluster_id,
            address=found.address,
            leader=found.leader,
            members=members,
        )

    async def bootstrap(self, members: Sequence[Member]) -> None:
        self.members = sorted(members, key=lambda it: it.id)
        self.cluster_id = cluster_id_of(it.id for it in members)

    async def join(self, address: str) -> None:
        self.joined.append(address)
        other = self.world[address]
        other.members.append(Member(self.server_id, self.address, voter=False))
        self.cluster_id, self.members = other.cluster_id, list(other.members)

    def status(self) -> Status:
        return Status(self.leader, tuple(it.address for it in self.members), False, 0, 0, False)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formation, "RETRY_S", 0.0)
    monkeypatch.setattr(formation, "LEADERLESS_S", 0.0)


def world(*names: str) -> list[Fake]:
    known: dict[str, Fake] = {}
    return [Fake(name, known) for name in names]


async def form(servers: Sequence[Fake], expect: int) -> None:
    addresses = [server.address for server in servers]
    async with asyncio.timeout(5):
        await asyncio.gather(*(Formation(server, expect, addresses).run() for server in servers))


async def test_as_many_as_expected_begin_with_the_same_list() -> None:
    servers = world("a", "b", "c")
    await form(servers, 3)
    assert {server.cluster_id for server in servers} == {cluster_id_of("abc")}
    assert all(not server.joined for server in servers)


async def test_one_alone_begins_at_once() -> None:
    (server,) = world("a")
    await Formation(server, 1, ()).run()
    assert server.cluster_id == cluster_id_of("a")


async def test_who_comes_later_to_the_bootstrap_begins_with_the_list_of_the_others() -> None:
    """The first ones have begun without waiting for it to notice: it is a voter, and must not join."""
    a, b, c = world("a", "b", "c")
    everyone = [Member(it.server_id, it.address) for it in (a, b, c)]
    await a.bootstrap(everyone)
    await Formation(c, 3, (a.address, b.address)).run()
    assert c.cluster_id == a.cluster_id
    assert not c.joined


async def test_a_new_server_joins_the_cluster_that_is_there() -> None:
    a, b, new = world("a", "b", "new")
    await form((a, b), 2)
    await Formation(new, 3, (a.address, "nobody:8300", new.address)).run()
    assert new.joined == [a.address]


async def test_without_enough_servers_it_waits_for_more() -> None:
    a, b, c = world("a", "b", "c")
    c.reachable = False
    waiting = asyncio.ensure_future(form((a, b), 3))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not a.initialised
    c.reachable = True
    addresses = [it.address for it in (a, b, c)]
    await Formation(c, 3, addresses).run()
    waiting.cancel()


async def test_more_new_servers_than_expected_are_a_mistake() -> None:
    with pytest.raises(CannotForm, match="--bootstrap-expect is 2, but 3 new servers"):
        await form(world("a", "b", "c"), 2)


async def test_a_server_that_could_never_find_anybody_says_so() -> None:
    (server,) = world("a")
    with pytest.raises(CannotForm, match="give --bootstrap-expect"):
        await Formation(server, 0, ()).run()


async def test_addresses_of_two_clusters_are_a_mistake() -> None:
    a, b, new = world("a", "b", "new")
    for server in (a, b):
        await server.bootstrap([Member(server.server_id, server.address)])
    with pytest.raises(CannotForm, match="servers of two clusters"):
        await Formation(new, 0, (a.address, b.address)).run()


async def test_a_server_without_a_leader_learns_that_it_was_removed() -> None:
    a, b, gone = servers = world("a", "b", "gone")
    await form(servers, 3)
    a.members = b.members = [it for it in a.members if it.id != "gone"]
    a.leader = b.leader = a.address
    async with asyncio.timeout(5):
        with pytest.raises(Removed, match="was removed from its cluster"):
            await Formation(gone, 3, ()).belongs()


async def test_others_without_a_leader_do_not_decide_who_belongs() -> None:
    """Their list may be one that never was committed."""
    a, gone = world("a", "gone")
    await form((a, gone), 2)
    a.members = [it for it in a.members if it.id != "gone"]
    asking = asyncio.ensure_future(Formation(gone, 2, ()).belongs())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not asking.done()
    asking.cancel()


async def test_a_server_with_the_log_of_one_cluster_does_not_run_beside_another() -> None:
    first, second = world("a", "b")
    for server in (first, second):
        await server.bootstrap([Member(server.server_id, server.address)])
    first.leader = first.address
    with pytest.raises(CannotForm, match=f"is of cluster {second.cluster_id}.*of {first.cluster_id}: check"):
        await asyncio.wait_for(Formation(first, 0, (second.address,)).belongs(), 5)
