"""An agent's DNS: what a server is asked, what is told again, and what never mixes."""

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dns.flags
import dns.message
import dns.rcode
import pytest
from multidict import CIMultiDict

from registry.client_agent.dns import STALE_MAX_S, RemoteAnswers, RemoteDesk
from registry.client_agent.servers import Told
from registry.dns.desk import Forward
from registry.dns.message import Transport
from registry.errors import NoServers


@dataclass
class FakeServers:
    """Answers with one address, by the token that asks; counts how often it was asked."""

    ttl_s: int = 0
    away: bool = False
    status: int = 200
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    asked: list[tuple[bytes, str, str]] = field(default_factory=list)

    async def ask(self, method: str, target: str, token: str, *, within_s: float) -> Told:
        query = parse_qs(urlsplit(target).query)
        wire = base64.urlsafe_b64decode(query["dns"][0] + "==")
        self.asked.append((wire, query["transport"][0], token))
        if self.away:
            raise NoServers("No known Consul servers")
        message = dns.message.from_wire(wire)
        answer = dns.message.make_response(message)
        answer.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR:
            answer.flags |= dns.flags.AA
            address = f"10.0.0.{len(self.asked)}"
            answer.answer.append(
                dns.rrset.from_text(message.question[0].name, self.ttl_s, "IN", "A", address)
            )
        return Told(self.status, CIMultiDict(), answer.to_wire())


class Agent:
    def __init__(self, servers: FakeServers, recursors: Any = None) -> None:
        self.now = 1000.0
        self.token = "one"
        self.desk = RemoteDesk()
        faked: Any = servers
        self.answers = RemoteAnswers(faked, lambda: self.token, recursors, lambda: self.now)

    async def ask(self, name: str, transport: Transport = Transport.UDP, **how: Any) -> dns.message.Message:
        query = dns.message.make_query(name, "A", **how)
        found = self.desk.take(query.to_wire(), transport)
        assert isinstance(found, Forward)
        answer = dns.message.from_wire(await self.answers.answer(found))
        assert answer.id == query.id
        assert answer.question == query.question
        return answer


def address(message: dns.message.Message) -> str:
    return str(message.answer[0][0])


async def test_each_question_is_a_servers_and_its_id_stays_here() -> None:
    servers = FakeServers()
    agent = Agent(servers)
    assert [address(await agent.ask("web.service.consul")) for _ in range(2)] == ["10.0.0.1", "10.0.0.2"]
    wire, transport, token = servers.asked[0]
    assert (dns.message.from_wire(wire).id, transport, token) == (0, "udp", "one")


async def test_letters_come_back_as_they_were_written() -> None:
    answer = await Agent(FakeServers()).ask("wEb.SerVice.Consul")
    assert answer.question[0].name.to_text() == "wEb.SerVice.Consul."
    assert answer.answer[0].name.to_text() == "wEb.SerVice.Consul."


async def test_an_answer_is_told_again_for_as_long_as_it_says() -> None:
    servers = FakeServers(ttl_s=10)
    agent = Agent(servers)
    first = await agent.ask("web.service.consul")
    agent.now += 9
    assert address(await agent.ask("WEB.service.consul")) == address(first)
    agent.now += 2
    assert address(await agent.ask("web.service.consul")) != address(first)


async def test_without_servers_what_was_known_is_told_for_a_day() -> None:
    servers = FakeServers()
    agent = Agent(servers)
    first = address(await agent.ask("web.service.consul"))
    servers.away = True
    assert address(await agent.ask("web.service.consul")) == first
    assert (await agent.ask("other.service.consul")).rcode() == dns.rcode.SERVFAIL
    agent.now += STALE_MAX_S + 1
    assert (await agent.ask("web.service.consul")).rcode() == dns.rcode.SERVFAIL


async def test_trap_26_nothing_is_told_with_another_token_or_in_another_shape() -> None:
    servers = FakeServers(ttl_s=1000)
    agent = Agent(servers)
    seen = [address(await agent.ask("web.service.consul"))]
    agent.token = "two"
    seen.append(address(await agent.ask("web.service.consul")))
    seen.append(address(await agent.ask("web.service.consul", Transport.TCP)))
    seen.append(address(await agent.ask("web.service.consul", use_edns=0, payload=1232)))
    seen.append(address(await agent.ask("web.service.consul", use_edns=0, payload=4096)))
    seen.append(address(await agent.ask("web.service.consul", flags=0)))
    assert len(set(seen)) == 6


async def test_a_token_that_is_gone_is_refused() -> None:
    assert (await Agent(FakeServers(status=403)).ask("web.service.consul")).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("status", [500, 429])
async def test_a_server_that_cannot_answer_is_as_none(status: int) -> None:
    assert (await Agent(FakeServers(status=status)).ask("web.service.consul")).rcode() == dns.rcode.SERVFAIL


async def test_names_of_others_go_to_recursors_where_there_are_any() -> None:
    class Recursors:
        async def answer(self, asked: Forward) -> bytes:
            answer = dns.message.make_response(
                dns.message.make_query(asked.question.name, "A", id=asked.query.id)
            )
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer.to_wire()

    refused = FakeServers(rcode=dns.rcode.REFUSED)
    assert (await Agent(refused).ask("example.org")).rcode() == dns.rcode.REFUSED
    asked = await Agent(refused, Recursors()).ask("example.org")
    assert asked.rcode() == dns.rcode.NXDOMAIN
    own = await Agent(FakeServers(), Recursors()).ask("web.service.consul")
    assert own.flags & dns.flags.RA


def test_what_is_no_query_is_answered_here() -> None:
    desk = RemoteDesk()
    assert desk.take(b"x", Transport.UDP) is None
    found = desk.take(b"\0\1\1\0" + b"\0\2" + b"\0" * 6, Transport.UDP)
    assert isinstance(found, bytes)
    assert dns.message.from_wire(found, ignore_trailing=True).rcode() == dns.rcode.FORMERR
