"""`weft explain`, against a real registry; no sidecar runs."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.dev import Dev, running_dev
from weft.cli import run

Weft = Callable[..., str]
ENTRIES: tuple[dict[str, Any], ...] = (
    {
        "Kind": "service-resolver",
        "Name": "orders",
        "DefaultSubset": "v1",
        "Subsets": {it: {"Filter": f"Service.Meta.version == {it}"} for it in ("v1", "v2")},
    },
    {
        "Kind": "service-splitter",
        "Name": "orders",
        "Splits": [{"Weight": 95, "ServiceSubset": "v1"}, {"Weight": 5, "ServiceSubset": "v2"}],
        "Sticky": [{"Field": "header", "FieldValue": "x-user"}],
    },
    {
        "Kind": "service-router",
        "Name": "orders",
        "Routes": [
            {
                "Match": {"HTTP": {"PathPrefix": "/admin/", "Header": [{"Name": "x-beta", "Exact": "1"}]}},
                "Destination": {
                    "ServiceSubset": "v2",
                    "PrefixRewrite": "/",
                    "NumRetries": 2,
                    "RequestTimeout": "3s",
                },
            }
        ],
    },
    {
        "Kind": "service-intentions",
        "Name": "orders",
        "Sources": [
            {
                "Name": "web",
                "Permissions": [
                    {"Action": "deny", "HTTP": {"PathPrefix": "/secret"}},
                    {"Action": "allow", "HTTP": {"Methods": ["GET"]}},
                ],
            }
        ],
    },
    {
        "Kind": "service-rate-limits",
        "Name": "orders",
        "Limits": [{"Name": "each", "RequestsPerSecond": 50, "PerCaller": True}],
    },
    {
        "Kind": "service-faults",
        "Name": "orders",
        "Faults": [
            {
                "Name": "slow",
                "Percent": 10,
                "Delay": {"Fixed": "200ms"},
                "EndsAt": "2999-01-01T00:00:00Z",
            }
        ],
    },
)


def _register(dev: Dev, name: str, version: str = "", upstreams: tuple[str, ...] = (), **more: Any) -> None:
    service = name if not version else f"{name}-{version}"
    proxy = {
        "Upstreams": [{"DestinationName": it, "LocalBindPort": 9_200 + n} for n, it in enumerate(upstreams)]
    }
    meta = {"version": version} if version else {}
    sidecar = {"Proxy": proxy, "Meta": meta, "Check": {"TTL": "1h", "Status": "passing"}}
    dev.register(
        {"ID": service, "Name": name, "Port": 8_080, "Meta": meta, "Connect": {"SidecarService": sidecar}}
        | more
    )


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1", "--default-intention", "deny") as found:
        _register(found, "web", upstreams=("orders",))
        for version in ("v1", "v2"):
            _register(found, "orders", version)
        _register(found, "orders", "v3")
        for entry in ENTRIES:
            found.ok("PUT", "/v1/config", entry)
        yield found


@pytest.fixture
def weft(dev: Dev, capsys: pytest.CaptureFixture[str]) -> Weft:
    def call(*arguments: str, code: int = 0) -> str:
        assert run(["explain", *arguments, "--http-addr", dev.http]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.err

    return call


def test_a_request_is_explained_as_a_tree(weft: Weft) -> None:
    told = weft("web", "orders", "--path", "/items")
    for line in (
        "web -> orders: GET /items",
        "|- route orders/0: no, it asks that path begins with /admin/  [service-router/orders Routes[0]]",
        "|- route default: yes, it takes every request"
        "  [service-router/orders: what none of its routes takes]",
        "|- 95 % of requests to v1.orders.default.default.dc1"
        "  [service-splitter/orders; service-resolver/orders Subsets[v1]]",
        "`- 5 % of requests to v2.orders.default.default.dc1"
        "  [service-splitter/orders; service-resolver/orders Subsets[v2]]",
        "|  |- instances: 1 of 3 take requests",
        "|  |  `- orders-v3 at ",
        "left out, the subset's filter does not keep it: Service.Meta.version == v1",
        "let in by orders as /items: permission 1 of intention ",
        "[intention web => orders, precedence 9]",
        "rate limit each: 50 requests/s, 50 at once for each caller  [service-rate-limits/orders Limits]",
        "fault slow on 10 %: delay 0.2s  [service-faults/orders Faults]",
    ):
        assert line in told, f"{line!r} is not in\n{told}"


def test_a_route_that_takes_it_says_all_that_it_does(weft: Weft) -> None:
    told = weft("web", "orders", "--path", "/admin/secret", "--header", "x-beta=1")
    assert "route orders/0: yes, because path begins with /admin/ and header x-beta is 1" in told
    assert "time-out 3 s for all attempts" in told
    assert "3 attempts, on connect-failure, refused-stream, unavailable; budget 20 %" in told
    assert "prefix rewritten to /" in told
    assert "refused by orders (403): permission 0 of intention " in told, "by the path that goes on"


def test_programs_get_json(weft: Weft) -> None:
    user = ("--header", "x-user=7", "--format", "json")
    found = json.loads(weft("web", "orders", "--path", "/items", *user))
    (side,) = found["Sides"]
    assert (side["ByHash"], side["Percent"]) == (True, 100.0)
    target = found["Targets"][side["Target"]]
    assert [it["ServiceID"] for it in target["Instances"] if it["Takes"]] == [f"orders-{target['Subset']}"]
    arrival = found["Arrivals"][side["Target"]]
    assert (arrival["Allowed"], arrival["Path"]) == (True, "/items")
    call = json.loads(weft("web", "orders", "--grpc", "shop.Orders/Get", "--format", "json"))
    assert call["Request"]["Path"] == "/shop.Orders/Get"
    assert {it["Allowed"] for it in call["Arrivals"].values()} == {False}, "only GET is let in"


def test_what_cannot_be_explained_is_refused_with_what_to_do(weft: Weft) -> None:
    assert "web has no upstream payments: add it to Proxy.Upstreams" in weft("web", "payments", code=1)
    assert "has no sidecar; register it with Connect.SidecarService" in weft("nobody", "orders", code=1)
    assert "write NAME=VALUE" in weft("web", "orders", "--header", "x", code=2)
    assert "no client could send this request" in weft("web", "orders", "--path", "x y", code=2)


def test_an_instance_that_fails_its_check_is_left_out_by_name(dev: Dev, weft: Weft) -> None:
    dev.ok("PUT", "/v1/agent/check/fail/service:orders-v2-sidecar-proxy")
    told = weft("web", "orders", "--path", "/admin/", "--header", "x-beta=1")
    assert "left out, check service:orders-v2-sidecar-proxy is critical" in told
    assert "nobody can answer: 503, or UNAVAILABLE" in told
    dev.ok("PUT", "/v1/agent/check/pass/service:orders-v2-sidecar-proxy")
