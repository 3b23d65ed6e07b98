"""Who may speak on the servers' port, and what becomes of what is sent while the way is broken."""

import asyncio
import re
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.catalog.commands import COMMAND_VERSION
from registry.errors import NotReady
from registry.raft import messages as raft
from registry.raft.config import Config, Member
from registry.replica import connection, limits
from registry.replica.errors import PeerRefused
from registry.replica.link import pause_s
from registry.replica.opening import PROTOCOL
from registry.replica.options import Options
from registry.replica.peer_tls import ALPN, PeerContexts, PeerTls, Proof, check_peer, server_name
from registry.replica.replica import Replica
from registry.replica.transport import Transport
from registry.replica.turn import Turn
from registry.replica.wire import from_pb, to_pb
from tests.support.cluster import DATACENTER, peer_tls, running_cluster
from tests.support.waiting import until
from weft.errors import PortTaken, WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

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
    raft.Heartbeat(*ENDS, 99, 8, 3),
    raft.Commit(*ENDS, 8, 3),
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
    assert {type(message) for message in MESSAGES} == set(raft.Message.__args__)


def test_a_message_of_a_newer_version_is_refused_not_skipped() -> None:
    with pytest.raises(PeerRefused, match="unknown kind"):
        from_pb(pb.Message(term=3), "a", "b")
    with pytest.raises(PeerRefused, match="entry of unknown kind"):
        from_pb(pb.Message(append=pb.Append(entries=[pb.Entry(kind=77)])), "a", "b")


def _opening(hello: pb.Hello | None = None) -> pb.Opening:
    """A question who answers, or a hello."""
    if hello is None:
        return pb.Opening(protocol=PROTOCOL, level=COMMAND_VERSION, identify=pb.IdentifyRequest())
    return pb.Opening(protocol=PROTOCOL, level=COMMAND_VERSION, hello=hello)


async def _told(address: str, tls: PeerTls, opening: pb.Opening | None = None) -> str:
    """How a caller with this certificate is refused; "" if it is not."""
    contexts = PeerContexts(lambda: tls, DATACENTER)
    try:
        made, _ = await connection.call(
            address,
            contexts.calling(),
            contexts.name,
            lambda proof: contexts.check(proof, time.time()),
            opening or _opening(),
            Turn(),
        )
    except WeftError as error:
        return str(error)
    made.finish()
    await made.gone()
    return ""


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
        assert "CERTIFICATE_VERIFY_FAILED: Hostname mismatch" in await _told(replica.address, issue())
    finally:
        await replica.close()


async def test_a_hello_names_the_cluster_and_both_ends() -> None:
    async with running_cluster(1) as cluster:
        [server] = cluster.servers
        good = pb.Hello(
            cluster_id=server.cluster_id, sender="other", receiver=server.server_id, address="127.0.0.1:1"
        )
        assert await _told(server.address, cluster.issue(), _opening(good)) == ""
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
            assert re.search(why, await _told(server.address, cluster.issue(), _opening(wrong)))


async def test_a_caller_of_another_protocol_or_of_an_old_level_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_cluster(1) as cluster:
        [server] = cluster.servers
        other = pb.Opening(protocol=77, identify=pb.IdentifyRequest())
        told = await _told(server.address, cluster.issue(), other)
        assert f"this server speaks protocol {PROTOCOL}, the caller 77" in told
        told = await _told(server.address, cluster.issue(), pb.Opening(protocol=PROTOCOL))
        assert "does not say what it wants" in told
        old = pb.Opening(protocol=PROTOCOL, level=1, join=pb.JoinRequest(server_id="x", address="y:1"))
        assert "upgrade it" in await _told(server.address, cluster.issue(), old)


def test_trap_7_sessions_never_resume_and_a_certificate_is_checked_for_its_dates() -> None:
    tls = peer_tls()()
    assert PeerContexts(lambda: tls, DATACENTER).called().num_tickets == 0
    der = x509.load_pem_x509_certificate(tls.chain_pem).public_bytes(Encoding.DER)
    assert check_peer(Proof(der, ALPN), DATACENTER, time.time()) > 0
    with pytest.raises(PeerRefused, match="not valid now"):
        check_peer(Proof(der, ALPN), DATACENTER, time.time() + 10 * 365 * 86_400)
    with pytest.raises(PeerRefused, match="no certificate"):
        check_peer(Proof(b"", ALPN), DATACENTER, time.time())
    with pytest.raises(PeerRefused, match="another protocol"):
        check_peer(Proof(der, "h2"), DATACENTER, time.time())


async def test_trap_9_a_connection_ends_with_the_certificate_it_rests_on() -> None:
    async with running_cluster(2) as cluster:
        leader = await cluster.leader()
        other = next(it for it in cluster.servers if it is not leader)
        transport = leader._transport
        assert transport
        made = transport._links[other.server_id]._connection
        assert made
        made.expire_after(0.0, PeerRefused("its certificate has expired"))
        assert "has expired" in str(await asyncio.wait_for(asyncio.shield(made.ended), 10))
        await until(lambda: transport.connected(other.server_id), "it is made again")


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
        assert link._connection
        assert link._connection.session.outbox.waiting == limits.LINK_MESSAGES_MAX
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


def test_the_pause_before_another_attempt_grows_and_is_drawn() -> None:
    assert pause_s(0, 0.0) == limits.RECONNECT_MIN_S / 2
    assert [pause_s(failures, 1.0) for failures in range(3)] == [0.05, 0.1, 0.2]
    assert pause_s(1000, 1.0) == limits.RECONNECT_MAX_S


async def test_a_caller_that_sends_garbage_is_told_and_refused() -> None:
    async with running_cluster(1) as cluster:
        [server] = cluster.servers
        tls = cluster.issue()
        contexts = PeerContexts(lambda: tls, DATACENTER)
        host, port = server.address.split(":")
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0\0\0\0\4\0\1", b"\0\0\0\1\1\0\1\xff"):
            reader, writer = await asyncio.open_connection(
                host, int(port), ssl=contexts.calling(), server_hostname=contexts.name
            )
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 10)
            assert b"run the same version" in answer
            writer.close()


async def test_a_caller_that_speaks_no_tls_or_says_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "OPENING_TIMEOUT_S", 0.2)
    async with running_cluster(1) as cluster:
        host, port = cluster.servers[0].address.split(":")
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b""):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
