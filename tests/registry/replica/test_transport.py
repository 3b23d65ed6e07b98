"""Who may speak on the servers' port, and what becomes of what is sent while the way is broken."""

import asyncio
import re
import time
from typing import Any

import grpc
import pytest

from registry.errors import NotReady
from registry.raft import messages as raft
from registry.raft.config import Config, Member
from registry.replica import limits
from registry.replica.errors import PeerRefused
from registry.replica.options import Options
from registry.replica.peer_tls import PeerTls, channel, check_caller, server_name
from registry.replica.replica import Replica
from registry.replica.transport import Transport
from registry.replica.wire import from_pb, to_pb
from tests.support.cluster import DATACENTER, peer_tls, running_cluster
from tests.support.waiting import until
from weft.errors import PortTaken
from weft.pb.raft.v1 import raft_pb2 as pb
from weft.pb.raft.v1 import raft_pb2_grpc

CONFIG = Config((Member("a", "10.0.0.1:8300"), Member("b", "10.0.0.2:8300", voter=False)))
ENTRIES = (
    raft.Entry(3, 8, raft.EntryKind.NORMAL, b"x" * 300),
    raft.Entry(4, 9, raft.EntryKind.CONFIG, CONFIG.encode()),
)
ENDS = ("a", "b", 7)
MESSAGES: list[raft.Message] = [
    raft.PreVote(*ENDS, 5, 4),
    raft.PreVoteReply(*ENDS, True),
    raft.Vote(*ENDS, 5, 4, True),
    raft.VoteReply(*ENDS, False),
    raft.Append(*ENDS, 7, 3, ENTRIES, 6, 99),
    raft.AppendReply(*ENDS, 9, True, 8, 3, 6, 99),
    raft.Heartbeat(*ENDS, 99),
    raft.HeartbeatReply(*ENDS, 6, 99),
    raft.InstallSnapshot(*ENDS, raft.SnapshotMeta(9, 4, CONFIG), 256, b"chunk", True, 99),
    raft.SnapshotReply(*ENDS, 9, 512, 99),
    raft.TimeoutNow(*ENDS),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda it: type(it).__name__)
def test_every_message_survives_the_wire(message: raft.Message) -> None:
    sent = to_pb(message).SerializeToString()
    assert from_pb(pb.Message.FromString(sent), "a", "b") == message


def test_every_kind_of_message_is_tried() -> None:
    assert {type(message) for message in MESSAGES} == set(raft.Message.__args__)  # type: ignore[attr-defined]


def test_a_message_of_a_newer_version_is_refused_not_skipped() -> None:
    with pytest.raises(PeerRefused, match="unknown kind"):
        from_pb(pb.Message(term=3), "a", "b")
    with pytest.raises(PeerRefused, match="entry of unknown kind"):
        from_pb(pb.Message(append=pb.Append(entries=[pb.Entry(kind=77)])), "a", "b")


async def _told(address: str, tls: PeerTls, hello: pb.Hello | None = None) -> str:
    """How a caller with this certificate is refused; "" if it is not."""
    async with channel(address, tls, DATACENTER) as way:
        stub: Any = raft_pb2_grpc.PeerStub(way)
        try:
            if hello is None:
                await stub.Identify(pb.IdentifyRequest(), timeout=5.0)
                return ""
            call = stub.Exchange(timeout=5.0)
            await call.write(pb.Packet(hello=hello))
            return "" if await call.read() else str(await call.details())
        except grpc.RpcError as error:
            return str(error.details())  # type: ignore[attr-defined]


async def test_trap_3_only_a_server_of_the_datacenter_opens_the_port() -> None:
    async with running_cluster(1) as cluster:
        address = cluster.servers[0].address
        assert await _told(address, cluster.issue()) == ""
        foreign, own = peer_tls()(), cluster.issue()
        assert await _told(address, foreign), "another root: it does not trust us, nor we it"
        half = PeerTls(own.roots_pem, foreign.chain_pem, foreign.key_pem)
        assert await _told(address, half), "a certificate under another root"
        for name in ("web.dc1.example", server_name("dc2")):
            told = await _told(address, cluster.issue(name))
            assert "not of a server of dc1" in told and name in told


async def test_a_server_refuses_to_call_what_is_no_server() -> None:
    """The root alone is not enough: the called one must be a server of the datacenter too."""
    issue = peer_tls()
    service = issue("web.dc1.example")
    replica = await Replica.start(Options(None, "127.0.0.1:0", lambda: service, DATACENTER))
    try:
        assert await _told(replica.address, issue())
    finally:
        await replica.close()


async def test_a_hello_names_the_cluster_and_both_ends() -> None:
    async with running_cluster(1) as cluster:
        [server] = cluster.servers
        good = pb.Hello(
            cluster_id=server.cluster_id, sender="other", receiver=server.server_id, address="127.0.0.1:1"
        )
        assert await _told(server.address, cluster.issue(), good) == ""
        for field, value, why in (
            ("cluster_id", "another", "this is cluster .*, the caller is of another"),
            ("receiver", "another", "not another: remove the old id"),
            ("sender", server.server_id, "two servers must not share"),
            ("sender", "", "no id of its own"),
            ("address", "", "does not say where"),
        ):
            wrong = pb.Hello()
            wrong.CopyFrom(good)
            setattr(wrong, field, value)
            assert re.search(why, await _told(server.address, cluster.issue(), wrong))


def test_trap_7_a_certificate_is_checked_for_its_dates_even_where_tls_was_resumed() -> None:
    leaf = peer_tls()().chain_pem
    check_caller({"x509_pem_cert": [leaf]}, DATACENTER, time.time())
    with pytest.raises(PeerRefused, match="not valid now"):
        check_caller({"x509_pem_cert": [leaf]}, DATACENTER, time.time() + 10 * 365 * 86_400)
    with pytest.raises(PeerRefused, match="no certificate"):
        check_caller({}, DATACENTER, time.time())


async def test_a_key_never_shows_in_a_representation() -> None:
    tls = peer_tls()()
    assert "PRIVATE" not in repr(tls) and "key_pem" not in repr(tls)


async def test_a_port_in_use_is_named() -> None:
    async with running_cluster(1) as cluster:
        taken = cluster.servers[0].address
        tls = cluster.issue()
        with pytest.raises(PortTaken, match=taken):
            await Replica.start(Options(None, taken, lambda: tls, DATACENTER))


async def test_what_waits_for_a_peer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_cluster(2) as cluster:
        leader = await cluster.leader()
        other = next(it for it in cluster.servers if it is not leader)
        transport = leader._transport
        assert isinstance(transport, Transport)
        link = transport._links[other.server_id]
        await until(lambda: link.connected, "they are connected")
        heartbeat = raft.Heartbeat(leader.server_id, other.server_id, 1, 1)
        for _ in range(limits.LINK_MESSAGES_MAX + 10):
            transport.send(heartbeat)
        assert len(link._messages) == limits.LINK_MESSAGES_MAX
        monkeypatch.setattr(limits, "CALLS_MAX", 0)
        with pytest.raises(NotReady):
            await transport.call(other.server_id, pb.Call(read=pb.ReadIndex()))


async def test_a_link_is_made_again_after_a_break() -> None:
    async with running_cluster(2) as cluster:
        leader = await cluster.leader()
        number = next(at for at, it in enumerate(cluster.servers) if it is not leader)
        other = cluster.servers[number]
        transport = leader._transport
        assert transport
        link = transport._links[other.server_id]
        await other.close()
        await until(lambda: not link.connected, "the break is noticed")
        await cluster.start(number, other.address)
        # In memory it is another server: the link finds out, and says so, and goes on trying.
        await asyncio.sleep(0)
        assert not link.connected
