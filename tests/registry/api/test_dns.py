"""One DNS query over the API, as agents ask."""

import base64
from typing import Any

import dns.flags
import dns.message
import pytest

from tests.support.registry import Client


def asked(name: str, kind: str = "A", **how: Any) -> str:
    wire = dns.message.make_query(name, kind, **how).to_wire()
    return base64.urlsafe_b64encode(wire).decode().rstrip("=")


async def test_an_answer_is_that_of_dns(client: Client) -> None:
    await client.call("PUT", "/v1/agent/service/register", {"Name": "web", "Port": 80, "Address": "10.1.2.3"})
    status, headers, body = await client.call("GET", f"/v1/internal/dns?dns={asked('web.service.consul')}")
    assert (status, headers["Content-Type"]) == (200, "application/dns-message")
    answer = dns.message.from_wire(body)
    assert [str(row) for row in answer.answer[0]] == ["10.1.2.3"]
    assert answer.flags & dns.flags.AA


async def test_a_datagram_is_bounded_and_a_stream_is_not(client: Client) -> None:
    for number in range(40):
        body = {"Name": "many", "ID": f"many-{number}", "Port": 80, "Address": f"10.1.2.{number}"}
        await client.call("PUT", "/v1/agent/service/register", body)
    query = asked("many.service.consul", "SRV")
    _, _, short = await client.call("GET", f"/v1/internal/dns?dns={query}&transport=udp")
    _, _, whole = await client.call("GET", f"/v1/internal/dns?dns={query}&transport=tcp")
    assert len(short) <= 512
    assert dns.message.from_wire(short).flags & dns.flags.TC
    assert len(dns.message.from_wire(whole).answer[0]) == 40


@pytest.mark.parametrize("text", ["", "!", "AA", "AAAA" * 4000, "é"])
async def test_what_is_no_query_is_refused(client: Client, text: str) -> None:
    status, _, body = await client.call("GET", f"/v1/internal/dns?dns={text}")
    assert (status, body.startswith(b"Invalid dns: ")) == (400, True)
