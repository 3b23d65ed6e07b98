"""Headers, bodies and errors that all endpoints share: reference sections 1, 2 and 5."""

import gzip
import json

import aiohttp
import pytest

from tests.support.registry import Client

SERVICE = {"Name": "web", "Port": 8080}


async def test_reads_of_the_catalog_carry_the_index_and_consistency_headers(client: Client) -> None:
    _, headers, _ = await client.call("GET", "/v1/health/service/none?consistent")
    assert int(headers["X-Consul-Index"]) >= 1
    assert headers["X-Consul-KnownLeader"] == "true"
    assert headers["X-Consul-LastContact"] == "0"
    assert headers["X-Consul-Effective-Consistency"] == "consistent"
    assert headers["X-Consul-Default-ACL-Policy"] == "allow"
    assert headers["X-Consul-Query-Backend"] == "blocking-query"
    assert headers["Content-Type"] == "application/json"


async def test_agent_reads_carry_no_index(client: Client) -> None:
    _, headers, body = await client.call("GET", "/v1/agent/services")
    assert "X-Consul-Index" not in headers
    assert body == b"{}"


async def test_pretty_indents_by_four_and_ends_the_line(client: Client) -> None:
    _, _, compact = await client.call("GET", "/v1/catalog/datacenters")
    _, _, pretty = await client.call("GET", "/v1/catalog/datacenters?pretty")
    assert (compact, pretty) == (b'["dc1"]', b'[\n    "dc1"\n]\n')


async def test_large_answers_are_compressed_and_small_ones_are_not(client: Client) -> None:
    for n in range(12):
        await client.register({"Name": "web", "ID": f"web-{n}"})
    async with aiohttp.ClientSession(auto_decompress=False) as raw:
        asked = raw.get(client.url("/v1/catalog/service/web"), headers={"Accept-Encoding": "gzip"})
        async with asked as large:
            assert large.headers["Content-Encoding"] == "gzip"
            assert large.headers["Vary"] == "Accept-Encoding"
            assert len(json.loads(gzip.decompress(await large.read()))) == 12
    _, small, _ = await client.call("GET", "/v1/catalog/datacenters")
    assert "Content-Encoding" not in small


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v1/health/service/", None, 400, "Missing service name"),
        ("GET", "/v1/catalog/service/", None, 400, "Missing service name"),
        ("GET", "/v1/catalog/node/", None, 400, "Missing node name"),
        ("GET", "/v1/health/service/web?index=x", None, 400, "Invalid index"),
        ("GET", "/v1/health/service/web?wait=x", None, 400, "Invalid wait time"),
        ("GET", "/v1/health/service/web?passing=x", None, 400, "Invalid value for ?passing"),
        ("GET", "/v1/health/service/web?dc=dc2", None, 500, "No path to datacenter"),
        ("PUT", "/v1/agent/service/register", {}, 400, "Missing service name"),
        (
            "PUT",
            "/v1/agent/service/register",
            {"Name": "a", "Address": "0.0.0.0"},
            400,
            "Invalid service address",
        ),
        ("PUT", "/v1/agent/check/register", {"TTL": "10s"}, 400, "Missing check name"),
        (
            "PUT",
            "/v1/agent/check/register",
            {"Name": "c", "TTL": "1s", "ServiceID": "x"},
            404,
            'ServiceID "x" does not exist',
        ),
        ("GET", "/v1/agent/service/x", None, 404, "unknown service ID: x"),
        ("PUT", "/v1/agent/check/update/x", {"Status": "bad"}, 400, "Invalid check status: 'bad'"),
        ("GET", "/v1/connect/intentions/match?name=a", None, 500, "required query parameter 'by' not set"),
        (
            "GET",
            "/v1/connect/intentions/exact?source=a",
            None,
            500,
            "required query parameter 'destination' not set",
        ),
        ("GET", "/v1/connect/intentions/exact?source=a&destination=b", None, 404, "Intention not found"),
        (
            "PUT",
            "/v1/agent/service/deregister/x",
            None,
            404,
            'Unknown service ID "x". Ensure that the service ID is passed, not the service name.',
        ),
    ],
)
async def test_errors_have_the_status_and_text_that_clients_compare(
    client: Client, method: str, path: str, body: object, status: int, text: str
) -> None:
    answered, headers, found = await client.call(method, path, body)
    assert (answered, found.decode()) == (status, text)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_404_of_a_read_still_carries_the_index(client: Client) -> None:
    _, headers, _ = await client.call("GET", "/v1/connect/intentions/exact?source=a&destination=b")
    assert int(headers["X-Consul-Index"]) >= 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"Name": 1}', b'{"Name": "a", "Prot": 1}', b"\xff\xfe"])
async def test_a_body_that_does_not_decode_is_400(client: Client, body: bytes) -> None:
    status, _, text = await client.call("PUT", "/v1/agent/service/register", body)
    assert status == 400
    assert text.startswith(b"Request decode failed: ")


async def test_a_body_over_its_bound_is_413_and_registers_nothing(client: Client) -> None:
    status, _, _ = await client.call("PUT", "/v1/agent/service/register", b" " * 600_000)
    assert status == 413
    assert await client.get("/v1/agent/services") == {}


async def test_trap_1_host_and_origin_are_checked_on_every_path(client: Client) -> None:
    for path in ("/v1/agent/services", "/v1/nothing", "/"):
        assert (await client.call("GET", path, Host="evil.example:8500"))[0] == 403
    status, _, _ = await client.call(
        "PUT", "/v1/agent/service/register", SERVICE, Origin="https://evil.example"
    )
    assert status == 403
    assert await client.get("/v1/agent/services") == {}


async def test_trap_28_a_token_in_the_query_reaches_no_log(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in (
        "/v1/agent/services",
        "/v1/nothing",
        "/v1/health/service/web",
        "/v1/agent/connect/ca/leaf/%20",
    ):
        await client.call("GET", f"{path}?token=s3cr3t&index=bad")
    await client.call("PUT", "/v1/agent/service/register?token=s3cr3t", b"{")
    told = capfd.readouterr()
    assert "s3cr3t" not in told.out + told.err
