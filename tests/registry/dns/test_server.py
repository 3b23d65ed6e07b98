"""The listener and the recursors, over real sockets."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rrset
import pytest

from registry.acl.caller import EVERYBODY, Caller
from registry.audit.event import Event, Outcome
from registry.audit.log import Audit
from registry.catalog.state import State
from registry.dns import limits, recursor
from registry.dns import server as listener
from registry.dns.answer import Choices
from registry.dns.desk import Desk
from registry.dns.recursor import Recursors
from registry.dns.server import DnsServer
from registry.dns.settings import Recursor
from registry.identity.errors import TokenUnknown
from registry.limits.guard import Limits
from registry.limits.refusals import Limit
from registry.limits.settings import LimitSettings, Mode, RequestRates
from tests.support.catalog import World, service
from tests.support.dns import nobody, rcode, texts
from tests.support.waiting import until
from weft.errors import PortTaken

HOST = "127.0.0.1"
DEADLINE_S = 20.0


def catalog() -> State:
    world = World.set_up()
    world.register(service("web-1", "web"), service("ext", address="db.example.com"))
    for at in range(10):
        some = range(at * 60, at * 60 + 60)
        world.register(
            *(service(f"c{it}", "crowd", address=f"10.1.{it // 200}.{it % 200 + 1}") for it in some)
        )
    return world.state


STATE = catalog()


@asynccontextmanager
async def running(
    *recursors: Recursor,
    caller: Callable[[State], Caller] = lambda _: EVERYBODY,
    audit: Audit | None = None,
    guard: Limits | None = None,
) -> AsyncIterator[int]:
    desk = Desk(Choices(), lambda: STATE, caller, nobody, time.time, lambda: 0.5, recursion=bool(recursors))
    server = DnsServer(desk, Recursors(recursors, os.urandom), time.monotonic, audit, guard)
    try:
        yield await server.start(HOST, 0)
    finally:
        await server.close()


async def udp(port: int, name: str, kind: str = "A", **how: Any) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **how)
    return await dns.asyncquery.udp(query, HOST, DEADLINE_S, port)


async def tcp(port: int, name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    return await dns.asyncquery.tcp(query, HOST, DEADLINE_S, port)


async def test_udp_and_tcp_answer_at_one_port() -> None:
    async with running() as port:
        for ask in (udp, tcp):
            found = await ask(port, "web.service.consul")
            assert texts(found) == ["10.0.0.1"]


async def test_a_taken_port_is_said_with_the_flag() -> None:
    async with running() as port:
        server = DnsServer(None, None, time.monotonic)  # type: ignore[arg-type]
        with pytest.raises(PortTaken, match="--dns-port"):
            await server.start(HOST, port)
        await server.close()


async def test_a_port_taken_on_udp_only_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        server = DnsServer(None, None, time.monotonic)  # type: ignore[arg-type]
        with pytest.raises(PortTaken):
            await server.start(HOST, taken.getsockname()[1])
        await server.close()


async def test_an_unknown_token_refuses_every_question() -> None:
    def unknown(_: State) -> Caller:
        raise TokenUnknown("ACL not found")

    async with running(caller=unknown) as port:
        assert rcode(await udp(port, "web.service.consul")) == "REFUSED"


async def test_a_fault_of_ours_is_servfail_and_the_next_question_is_answered() -> None:
    faults = [RuntimeError("boom")]

    def caller(_: State) -> Caller:
        if faults:
            raise faults.pop()
        return EVERYBODY

    async with running(caller=caller) as port:
        assert rcode(await udp(port, "web.service.consul")) == "SERVFAIL"
        assert texts(await udp(port, "web.service.consul")) == ["10.0.0.1"]


def framed(query: dns.message.Message) -> bytes:
    return query.to_wire(prepend_length=True)


async def read(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(DEADLINE_S):
        length = int.from_bytes(await reader.readexactly(2), "big")
        return dns.message.from_wire(await reader.readexactly(length))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


async def test_questions_on_one_connection_are_answered_in_turn() -> None:
    queries = [dns.message.make_query(f"{name}.service.consul", "A") for name in ("web", "nobody", "web")]
    async with running() as port, connected(port) as (reader, writer):
        whole = b"".join(map(framed, queries))
        writer.write(whole[:5])
        await writer.drain()
        writer.write(whole[5:])
        for query in queries:
            assert query.is_response(await read(reader))


@pytest.mark.parametrize(
    "wire", [(limits.QUESTION_BYTES_MAX + 1).to_bytes(2, "big"), b"\x00\x00", b"\x00\x03abc"]
)
async def test_a_connection_that_brings_no_query_ends(wire: bytes) -> None:
    async with running() as port, connected(port) as (reader, writer):
        writer.write(wire)
        assert await ended(reader)


async def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_IDLE_S", 0.05)
    async with running() as port, connected(port) as (reader, writer):
        writer.write(b"\x00")  # half a length is no query either
        assert await ended(reader)


async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_IDLE_S", 0.2)
    monkeypatch.setattr(limits, "QUERIES_BURST", 1_000_000)
    wire = framed(dns.message.make_query("crowd.service.consul", "A")) * 100
    async with running() as port:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            silent.setblocking(False)
            await asyncio.get_running_loop().sock_connect(silent, (HOST, port))

            def dropped() -> bool:
                try:
                    silent.send(wire)
                except BlockingIOError:
                    return False
                except ConnectionError:
                    return True
                return False

            await until(dropped, "the connection is dropped", DEADLINE_S)


async def test_connections_are_bounded_by_source_and_come_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_CONNECTIONS_PER_SOURCE_MAX", 2)
    query = framed(dns.message.make_query("web.service.consul", "A"))
    async with running() as port:
        async with connected(port) as (one, to_one), connected(port) as (two, to_two):
            for reader, writer in ((one, to_one), (two, to_two)):
                writer.write(query)
                await read(reader)
            async with connected(port) as (third, _):
                assert await ended(third)
        await until(lambda: answered(port), "a connection is free again", DEADLINE_S)


async def answered(port: int) -> bool:
    try:
        return texts(await tcp(port, "web.service.consul")) == ["10.0.0.1"]
    except (EOFError, OSError):
        return False


async def test_who_asks_too_often_over_udp_is_left_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUERIES_PER_S", 0.0)
    monkeypatch.setattr(limits, "QUERIES_BURST", 5)
    monkeypatch.setattr(listener, "TCP_SLOWED_S", 0.0)
    async with running() as port:
        for _ in range(5):
            await udp(port, "web.service.consul")
        with pytest.raises(dns.exception.Timeout):
            query = dns.message.make_query("web.service.consul", "A")
            await dns.asyncquery.udp(query, HOST, 0.3, port)
        assert texts(await tcp(port, "web.service.consul")) == ["10.0.0.1"]  # slower, but answered


# Recursors


class Other(asyncio.DatagramProtocol):
    """A resolver of the outer world: `lies` come before each answer, `code` is its answer."""

    def __init__(self, code: str = "NOERROR", lies: int = 0, truncated: bool = False, silent: bool = False):
        self.asked: list[dns.message.Message] = []
        self.ports: list[int] = []
        self._code, self._lies, self._truncated, self._silent = code, lies, truncated, silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self.ports.append(addr[1])
        for lie in range(self._lies):
            forged = dns.message.make_response(query)
            forged.id = (query.id + 1 + lie) & 0xFFFF
            forged.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "6.6.6.6"))
            self._transport.sendto(forged.to_wire(), addr)
        self._transport.sendto(b"garbage", addr)
        if not self._silent:
            self._transport.sendto(self.answer(query, self._truncated), addr)

    def answer(self, query: dns.message.Message, truncated: bool = False) -> bytes:
        found = dns.message.make_response(query)
        found.set_rcode(dns.rcode.from_text(self._code))
        if truncated:
            found.flags |= dns.flags.TC
        elif self._code == "NOERROR":
            found.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        return found.to_wire()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        wire = self.answer(dns.message.from_wire(await reader.readexactly(length)))
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def other(**how: Any) -> AsyncIterator[tuple[Other, Recursor]]:
    loop, found = asyncio.get_running_loop(), Other(**how)
    server = await asyncio.start_server(found.converse, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: found, local_addr=(HOST, port))
    try:
        yield found, Recursor(HOST, port)
    finally:
        transport.close()
        server.close()
        await server.wait_closed()


async def test_foreign_names_are_asked_of_a_recursor_and_ours_are_not() -> None:
    async with other() as (found, at), running(at) as port:
        for ask in (udp, tcp):
            answer = await ask(port, "example.com")
            assert texts(answer) == ["192.0.2.1"]
            assert answer.answer[0].ttl == 60
            assert answer.flags & dns.flags.RA
            assert not answer.flags & dns.flags.AA
        assert rcode(await udp(port, "nobody.service.consul")) == "NXDOMAIN"
        assert len(found.asked) == 2


async def test_a_query_that_wants_no_recursion_is_refused() -> None:
    async with other() as (found, at), running(at) as port:
        query = dns.message.make_query("example.com", "A")
        query.flags &= ~dns.flags.RD
        assert rcode(await dns.asyncquery.udp(query, HOST, DEADLINE_S, port)) == "REFUSED"
        assert not found.asked


async def test_forged_answers_are_passed_over() -> None:
    async with other(lies=3) as (_, at), running(at) as port:
        assert texts(await udp(port, "example.com")) == ["192.0.2.1"]


async def test_ids_and_ports_are_new_with_each_question() -> None:
    async with other() as (found, at), running(at) as port:
        query = dns.message.make_query("example.com", "A")
        for _ in range(8):
            await dns.asyncquery.udp(query, HOST, DEADLINE_S, port)
        assert len({it.id for it in found.asked}) > 4
        assert len(set(found.ports)) > 4


async def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    async with other(truncated=True) as (_, at), running(at) as port:
        assert texts(await udp(port, "example.com")) == ["192.0.2.1"]


@pytest.mark.parametrize("how", [{"code": "SERVFAIL"}, {"code": "REFUSED"}, {"silent": True}])
async def test_the_next_recursor_is_asked_where_one_cannot_tell(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recursor, "RECURSOR_TIMEOUT_S", 0.5)
    async with other(**how) as (_, first), other() as (_, second), running(first, second) as port:
        assert texts(await udp(port, "example.com")) == ["192.0.2.1"]


async def test_nxdomain_is_an_answer() -> None:
    async with (
        other(code="NXDOMAIN") as (_, first),
        other() as (found, second),
        running(first, second) as port,
    ):
        assert rcode(await udp(port, "example.com")) == "NXDOMAIN"
        assert not found.asked


async def test_servfail_where_no_recursor_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind((HOST, 0))
        gone = Recursor(HOST, closed.getsockname()[1])
    async with running(gone) as port:
        assert rcode(await udp(port, "example.com")) == "SERVFAIL"


async def test_recursions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recursor, "RECURSIONS_MAX", 0)
    async with other() as (found, at), running(at) as port:
        assert rcode(await udp(port, "example.com")) == "SERVFAIL"
        assert not found.asked


async def test_an_alias_comes_with_its_address() -> None:
    async with other() as (_, at), running(at) as port:
        assert texts(await udp(port, "ext.service.consul")) == ["192.0.2.1", "db.example.com."]
    async with other(code="SERVFAIL") as (_, at), running(at) as port:
        found = await udp(port, "ext.service.consul")
        assert (rcode(found), texts(found)) == ("NOERROR", ["db.example.com."])


async def test_reverse_names_that_the_catalog_does_not_know_are_asked_for() -> None:
    async with other() as (found, at), running(at) as port:
        assert texts(await udp(port, "1.0.0.10.in-addr.arpa", "PTR")) == ["n1.node.dc1.consul."]
        assert not found.asked
        await udp(port, "9.9.9.9.in-addr.arpa", "PTR")
        assert len(found.asked) == 1


class Told:
    """An audit log that a test reads."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def check(self) -> None:
        """Nothing is ever full."""

    async def written(self) -> None:
        """All of it is."""

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_refused_question_is_told_to_the_audit_log() -> None:
    def unknown(_: State) -> Caller:
        raise TokenUnknown("ACL not found")

    told = Told()
    async with running(caller=unknown, audit=told) as port:
        for ask in (udp, tcp):
            assert rcode(await ask(port, "web.service.consul")) == "REFUSED"
    assert [it.operation for it in told.events] == ["DNS UDP", "DNS TCP"]
    assert {it.resource for it in told.events} == {"web.service.consul. A"}
    assert all(it.source.startswith("127.0.0.1:") and it.outcome is Outcome.DENIED for it in told.events)


async def test_a_source_over_the_rate_of_reads_gets_no_answer_and_is_counted() -> None:
    now_s = 0.0
    limits = Limits(LimitSettings(rates=RequestRates(Mode.ENFORCING, source_read=0.1)), lambda: now_s)
    async with running(guard=limits) as port:
        assert texts(await udp(port, "web.service.consul")) == ["10.0.0.1"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(dns.message.make_query("web.service.consul", "A").to_wire(), (HOST, port))
            await until(lambda: limits.counts()[Limit.SOURCE_READ_RATE] == 1, "the question is counted")
            asking.setblocking(False)
            with pytest.raises(BlockingIOError):
                asking.recv(512)
        now_s = 10.0
        assert texts(await udp(port, "web.service.consul")) == ["10.0.0.1"]
