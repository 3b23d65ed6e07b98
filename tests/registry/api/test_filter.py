"""`?filter=` on the lists of the API."""

from urllib.parse import quote

import pytest

from registry.api.routes import ROUTES
from tests.support.registry import Client

WEB = {"Name": "web", "ID": "web-1", "Port": 80, "Tags": ["v1"], "Meta": {"env": "prod"}}
WEB_2 = {"Name": "web", "ID": "web-2", "Port": 81, "Tags": ["v2"], "Meta": {"env": "test"}}


@pytest.fixture
async def registered(client: Client) -> Client:
    for body in (WEB, WEB_2):
        await client.put("/v1/agent/service/register", body | {"Connect": {"SidecarService": {}}})
    await client.put("/v1/connect/intentions/exact?source=a&destination=web", {"Action": "allow"})
    await client.put("/v1/connect/intentions/exact?source=b&destination=web", {"Action": "deny"})
    return client


CASES = {
    "/v1/agent/checks": ("ServiceName == web-sidecar-proxy", 4),
    "/v1/agent/members": ("Name != nobody", 1),
    "/v1/agent/services": ("Meta.env == test", 2),
    "/v1/catalog/connect/:service": ("v1 in ServiceTags", 1),
    "/v1/catalog/node/:node": ("Kind == connect-proxy", 2),
    "/v1/catalog/node-services/:node": ("Kind == connect-proxy", 2),
    "/v1/catalog/nodes": ("Meta.nope is empty", 1),
    "/v1/catalog/service/:service": ("ServiceMeta.env == prod", 1),
    "/v1/catalog/services": ("ServiceMeta.env == prod", 2),
    "/v1/connect/intentions": ("Action == deny", 1),
    "/v1/health/checks/:service": ("CheckID matches `:1$`", 2),
    "/v1/health/connect/:service": ("Service.Meta.env == prod", 1),
    "/v1/health/ingress/:service": ("Service.Port == 81", 0),
    "/v1/health/node/:node": ("CheckID == serfHealth", 1),
    "/v1/health/service/:service": ("Service.Port == 81 and Checks.CheckID == serfHealth", 1),
    "/v1/health/state/:state": ("CheckID matches `^serf`", 1),
}


@pytest.mark.parametrize(
    "path", [route.path for route in ROUTES if route.filters and "config" not in route.path]
)
async def test_lists_keep_what_the_filter_says(registered: Client, path: str) -> None:
    expression, count = CASES[path]
    head, _, name = path.partition(":")
    node = (await registered.get("/v1/agent/self"))["Config"]["NodeName"]
    names = {"node": node, "service": "web", "state": "any", "": ""}
    if path == "/v1/health/checks/:service":
        names["service"] = "web-sidecar-proxy"
    found = await registered.get(f"{head}{names[name]}?filter={quote(expression)}")
    rows = found["Services"] if name == "node" and "catalog" in path else found
    assert len(rows) == count, rows


async def test_a_filter_of_services_drops_tags_of_other_instances(registered: Client) -> None:
    found = await registered.get(f"/v1/catalog/services?filter={quote('ServiceMeta.env == prod')}")
    assert found == {"web": ["v1"], "web-sidecar-proxy": ["v1"]}


@pytest.mark.parametrize(("expression", "says"), [("a ==", b"1:5"), ("Nope == x", b"not valid")])
async def test_a_wrong_filter_is_answered_as_consul_does(
    client: Client, expression: str, says: bytes
) -> None:
    status, _, body = await client.call("GET", f"/v1/catalog/nodes?filter={quote(expression)}")
    assert status == 500
    assert says in body


async def test_where_nothing_can_be_filtered_a_filter_is_refused(client: Client) -> None:
    status, _, body = await client.call("GET", "/v1/catalog/datacenters?filter=x")
    assert status == 400
    assert b"filter" in body
