"""What config entries make of a proxy's resources: scripts of writes, and what the sidecar is then told."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from registry.catalog import commands, watches
from registry.catalog.model import Service, Upstream
from registry.config_entries.kinds import encoded, entry_of
from registry.mesh.compile import ProxyCompiler, Settings, compile_proxy, depends
from sidecar.policy.compile import compile_snapshot
from tests.registry.mesh.test_compile import _certificate
from tests.support.catalog import CLUSTER, World, check, intention, node, proxy, root, service, stamp
from weft.pb.mesh.v1 import mesh_pb2 as pb

KEY = "dc1/n1/web-1"
ORDERS = Upstream("orders", 9191, config_json=b'{"limits":{"max_pending_requests":7}}')
AUDIT = Upstream("audit", 9192)


def _instance(world: World, name: str, number: int, **fields: Any) -> None:
    """One behind its proxy, on a node of its own; `fields` are of both."""
    on, own = f"{name}{number}", f"{name}-{number}"
    rows = [service(own, name, on, **fields), proxy(own, name, on)]
    rows[1] = Service(**{**{it: getattr(rows[1], it) for it in Service.__dataclass_fields__}, **fields})
    checks = [check(f"app-{own}", own, "passing", on)]
    world.do(commands.register(stamp(), node(on, address=f"10.1.0.{number}"), rows, checks))


@pytest.fixture
def world() -> World:
    world = World.set_up()
    world.do(commands.set_roots(stamp(), [root(certificate_der=_certificate())], 0))
    world.register(service("web-1", "web"), proxy("web-1", "web", upstreams=(ORDERS, AUDIT)))
    for number, version in ((1, "v1"), (2, "v1"), (3, "v2")):
        _instance(world, "orders", number, meta={"version": version})
    _instance(world, "audit", 4)
    return world


def put(world: World, kind: str, name: str, **fields: Any) -> None:
    entry = entry_of({"Kind": kind, "Name": name, **fields})
    world.do(commands.set_config_entry(stamp(), encoded(entry)))


def compiled(world: World, key: str = KEY) -> dict[str, pb.Resource]:
    """What the sidecar takes."""
    found = compile_proxy(world.state, key, Settings(default_allow=False))
    compile_snapshot(found, world.state.index)
    return found


def splits(route: pb.Route) -> list[tuple[int, str]]:
    return [(it.weight, it.target.removesuffix(".default.default.dc1")) for it in route.splits]


def instances(found: dict[str, pb.Resource], target: str) -> list[str]:
    rows = found[f"endpoints/{target}.default.default.dc1"].endpoints.endpoints
    return [row.service_id for row in rows]


def test_a_canary_step_by_step(world: World) -> None:
    put(
        world, "service-resolver", "orders",
        DefaultSubset="v1",
        Subsets={it: {"Filter": f"Service.Meta.version == {it}"} for it in ("v1", "v2")},
    )  # fmt: skip
    found = compiled(world)
    assert splits(found["upstream/orders"].upstream.routes[0]) == [(10_000, "v1.orders")]
    assert instances(found, "v1.orders") == ["orders-1", "orders-2"]
    put(
        world, "service-splitter", "orders",
        Splits=[{"Weight": 99.5, "ServiceSubset": "v1"}, {"Weight": 0.5, "ServiceSubset": "v2"}],
        Sticky=[{"Field": "cookie", "FieldValue": "user", "CookieConfig": {"TTL": "1h"}}],
    )  # fmt: skip
    found = compiled(world)
    (route,) = found["upstream/orders"].upstream.routes
    assert splits(route) == [(9_950, "v1.orders"), (50, "v2.orders")]
    assert (route.sticky.inputs[0].cookie, route.sticky.inputs[0].cookie_ttl_s) == ("user", 3600)
    assert instances(found, "v2.orders") == ["orders-3"]
    put(
        world, "service-splitter", "orders",
        Splits=[{"Weight": 0, "ServiceSubset": "v1"}, {"Weight": 100, "ServiceSubset": "v2"}],
    )  # fmt: skip
    assert splits(compiled(world)["upstream/orders"].upstream.routes[0]) == [(10_000, "v2.orders")]


def test_a_router_with_retries_mirrors_and_edits(world: World) -> None:
    put(
        world, "service-router", "orders",
        Routes=[
            {
                "Match": {
                    "HTTP": {
                        "PathPrefix": "/v2/",
                        "Header": [{"Name": "X-Beta", "Exact": "1"}],
                        "Methods": ["GET"],
                    }
                },
                "Destination": {
                    "Service": "audit",
                    "PrefixRewrite": "/",
                    "RequestTimeout": "2s",
                    "NumRetries": 2,
                    "Mirrors": [{"Service": "orders", "Percent": 0.5}],
                    "RequestHeaders": {"Set": {"X-Route": "beta"}, "Remove": ["X-Debug"]},
                },
            },
            {
                "Match": {"GRPC": {"Service": "shop.Orders", "Method": "Get"}},
                "Destination": {"RetryOn": ["reset"]},
            },
        ],
    )  # fmt: skip
    first, second, last = compiled(world)["upstream/orders"].upstream.routes
    assert MessageToDict(first, preserving_proto_field_name=True) == {
        "name": "orders/0",
        "match": {
            "path_prefix": "/v2/",
            "headers": [{"name": "x-beta", "exact": "1"}],
            "methods": ["GET"],
        },
        "splits": [{"weight": 10000, "target": "audit.default.default.dc1"}],
        "prefix_rewrite": "/",
        "request_headers": {"set": {"x-route": "beta"}, "remove": ["x-debug"]},
        "request_timeout_ms": 2000,
        "retry": {
            "attempts_max": 3,
            "on": ["connect-failure", "refused-stream", "unavailable"],
            "budget_percent": 20,
            "budget_min": 3,
        },
        "mirrors": [{"target": "orders.default.default.dc1", "ppm": 5000}],
    }
    assert (second.match.grpc_service, second.retry.attempts_max, list(second.retry.on)) == (
        "shop.Orders",
        2,
        ["reset"],
    )
    assert (last.name, last.HasField("match"), last.HasField("retry")) == ("default", False, False)


def test_splitters_within_each_other_are_one_with_all_their_edits(world: World) -> None:
    outer = {"Weight": 33.33, "RequestHeaders": {"Set": {"side": "a", "outer": "1"}}, "Service": "audit"}
    inner = [{"Weight": 50, "RequestHeaders": {"Set": {"side": "b"}}}, {"Weight": 50, "Service": "web"}]
    put(world, "service-splitter", "orders", Splits=[outer, {"Weight": 66.67}])
    put(world, "service-splitter", "audit", Splits=inner)
    (route,) = compiled(world)["upstream/orders"].upstream.routes
    assert splits(route) == [(1_667, "audit"), (1_666, "web"), (6_667, "orders")]
    assert dict(route.splits[0].request_headers.set) == {"side": "b", "outer": "1"}
    assert sum(it.weight for it in route.splits) == 10_000


def test_failover_names_targets_in_order_and_other_datacenters_as_data(world: World) -> None:
    put(
        world, "service-resolver", "orders",
        Failover={"*": {"Targets": [{"Service": "audit"}, {"Datacenter": "dc2"}]}},
    )  # fmt: skip
    found = compiled(world)
    assert list(found["target/orders.default.default.dc1"].target.failover) == [
        "audit.default.default.dc1",
        "orders.default.default.dc2",
    ]
    assert not found["endpoints/orders.default.default.dc2"].endpoints.endpoints
    assert found["target/orders.default.default.dc2"].target.datacenter == "dc2"


def test_only_passing_takes_instances_with_a_warning_for_ill(world: World) -> None:
    put(world, "service-resolver", "orders", DefaultSubset="ok", Subsets={"ok": {"OnlyPassing": True}})
    world.do(commands.update_check(stamp(), "orders1", "app-orders-1", "warning", ""))
    rows = compiled(world)["endpoints/ok.orders.default.default.dc1"].endpoints.endpoints
    assert [row.healthy for row in rows] == [False, True, True]


def test_what_is_said_of_upstreams_the_narrower_over_the_wider(world: World) -> None:
    put(
        world,
        "proxy-defaults",
        "global",
        Config={"connect_timeout_ms": 100, "envoy_x": 1, "limits": {"max_connections": 9}},
    )
    put(
        world, "service-defaults", "web",
        UpstreamConfig={
            "Defaults": {"Limits": {"MaxConcurrentRequests": 50, "MaxPendingRequests": 1}},
            "Overrides": [
                {
                    "Name": "orders",
                    "ConnectTimeoutMs": 200,
                    "PassiveHealthCheck": {"MaxFailures": 3, "PanicPercent": 40},
                    "HealthCheck": {"Interval": "2s", "GRPC": {"Service": "shop"}},
                },
            ],
        },
    )  # fmt: skip
    put(
        world, "service-resolver", "orders",
        ConnectTimeout="9s",
        LoadBalancer={
            "Policy": "ring_hash",
            "RingHashConfig": {"MinimumRingSize": 64},
            "HashPolicies": [{"Field": "header", "FieldValue": "X-User", "Terminal": True}],
            "SlowStart": "30s",
        },
        PrioritizeByLocality={"Mode": "failover"},
    )  # fmt: skip
    target = compiled(world)["target/orders.default.default.dc1"].target
    assert (target.connect_timeout_ms, target.max_connections, target.max_requests) == (200, 9, 50)
    assert target.max_pending_requests == 7  # the registration's
    assert (target.ejection.consecutive_failures, target.panic_percent) == (3, 40)
    assert (target.health_check.grpc_service, target.health_check.interval_ms) == ("shop", 2000)
    assert (target.balance, target.ring_size_min) == (pb.Target.BALANCE_RING_HASH, 64)
    assert (target.hash.inputs[0].header, target.hash.inputs[0].terminal) == ("x-user", True)
    assert (target.slow_start_ms, target.prioritize_by_locality) == (30_000, True)
    other = compiled(world)["target/audit.default.default.dc1"].target
    assert (other.connect_timeout_ms, other.max_pending_requests, other.max_connections) == (100, 1, 9)


def test_inbound_rules_reach_the_proxies_of_their_service_only(world: World) -> None:
    put(world, "service-defaults", "web", Protocol="http", MaxInboundConnections=5, LocalRequestTimeoutMs=900)
    put(
        world,
        "service-rate-limits",
        "web",
        Limits=[{"Name": "all", "RequestsPerSecond": 2.5, "PerCaller": True}],
    )
    put(
        world, "service-faults", "web",
        Faults=[
            {
                "Name": "slow",
                "Percent": 10,
                "Match": {"Sources": ["shop"], "HTTP": {"PathExact": "/x"}},
                "Delay": {"Distribution": "normal", "Mean": "100ms", "Deviation": "20ms"},
                "EndsAt": "2026-03-01T10:00:00Z",
            }
        ],
    )  # fmt: skip
    put(world, "mesh", "mesh", HTTP={"Incoming": {"RequestNormalization": {"MergeSlashes": True}}})
    put(
        world, "proxy-defaults", "global",
        AccessLogs={"Enabled": True, "SamplePercent": 1}, Tracing={"SamplePercent": 0.1, "OTLPEndpoint": "http://c:1"},
    )  # fmt: skip
    found = compiled(world)["proxy"].proxy
    assert (found.app_protocol, found.max_inbound_connections) == (pb.PROTOCOL_HTTP, 5)
    assert [(it.name, it.requests_per_second, it.burst, it.per_caller) for it in found.rate_limits] == [
        ("all", 2.5, 2, True)
    ]
    fault = found.faults[0]
    assert (fault.ppm, fault.delay.mean_ms, fault.ends_unix_ms) == (100_000, 100, 1_772_359_200_000)
    assert (list(fault.match.sources), fault.match.path_exact) == (["shop"], "/x")
    assert found.normalization.merge_slashes
    assert (found.telemetry.access_log_ppm, found.telemetry.trace_ppm) == (10_000, 1_000)
    other = compiled(world, "dc1/audit4/audit-4")["proxy"].proxy
    assert (len(other.faults), other.normalization.merge_slashes) == (0, True)


def test_permissions_and_tokens_come_with_their_providers(world: World) -> None:
    put(world, "jwt-provider", "okta", Issuer="i", JSONWebKeySet={"Remote": {"URI": "https://a.example/k"}})
    put(world, "jwt-provider", "other", JSONWebKeySet={"Remote": {"URI": "https://b.example/k"}})
    put(
        world, "service-intentions", "web",
        Sources=[
            {"Name": "shop", "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/pay"}}]},
            {"Name": "*", "Action": "allow"},
        ],
        JWT={"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["perms", "role"], "Value": "x"}]}]},
    )  # fmt: skip
    world.do(commands.set_intention(stamp(), intention("*", "*", False)))
    found = compiled(world)
    exact, any_source, default = found["intentions"].intentions.rules
    assert (exact.allow, exact.permissions[0].allow, exact.permissions[0].match.path_prefix) == (
        False,
        True,
        "/pay",
    )
    assert list(exact.jwt.providers[0].claims[0].path) == ["perms", "role"]
    assert any_source.HasField("jwt")
    assert not default.HasField("jwt")
    assert found["jwt-provider/okta"].jwt_provider.remote.uri == "https://a.example/k"
    assert "jwt-provider/other" not in found
    snapshot = compile_snapshot(found, 1)
    assert [bool(rule.jwt) for rule in snapshot.inbound.rules] == [True, True, False]
    assert snapshot.inbound.admission.jwt[0].provider == "okta"


def test_a_token_is_asked_of_callers_too_that_no_rule_matches(world: World) -> None:
    """By the service's own entry, or else by the one for all services."""
    for name in ("narrow", "wide"):
        put(
            world, "jwt-provider", name,
            JSONWebKeySet={"Remote": {"URI": f"https://{name}.example/k"}},
        )  # fmt: skip
    shop = [{"Name": "shop", "Action": "allow"}]
    for entry, provider in (("*", "wide"), ("web", "narrow")):
        put(
            world, "service-intentions", entry, Sources=shop, JWT={"Providers": [{"Name": provider}]}
        )  # fmt: skip
        found = compiled(world)
        assert found["intentions"].intentions.jwt.providers[0].name == provider
        assert f"jwt-provider/{provider}" in found


def test_egress_is_for_every_proxy_on_the_port_that_it_asked_for(world: World) -> None:
    put(
        world,
        "egress",
        "global",
        BindPort=9000,
        Rules=[{"Name": "api", "Hosts": ["a.example", "b.example"], "Ports": [443]}],
    )
    egress = compiled(world)["egress"].egress
    assert (egress.bind_address, egress.bind_port, egress.default_allow) == ("127.0.0.1", 9000, False)
    assert [(it.name, it.host, list(it.ports)) for it in egress.rules] == [
        ("api", "a.example", [443]),
        ("api", "b.example", [443]),
    ]
    world.register(proxy("web-1", "web", config_json=b'{"egress_bind_port":9100}'))
    assert compiled(world)["egress"].egress.bind_port == 9100


def test_declared_protocols_are_told_and_others_detected(world: World) -> None:
    assert compiled(world)["upstream/audit"].upstream.protocol == pb.PROTOCOL_UNSPECIFIED
    put(world, "service-defaults", "audit", Protocol="tcp")
    put(world, "proxy-defaults", "global", Config={"protocol": "http2"})
    found = compiled(world)
    assert found["upstream/audit"].upstream.protocol == pb.PROTOCOL_TCP
    assert found["upstream/orders"].upstream.protocol == pb.PROTOCOL_HTTP2
    assert found["proxy"].proxy.app_protocol == pb.PROTOCOL_HTTP2


def test_locality_is_the_instances(world: World) -> None:
    _instance(world, "audit", 5, locality_json=b'{"Region":"eu","Zone":"a"}')
    rows = compiled(world)["endpoints/audit.default.default.dc1"].endpoints.endpoints
    assert [row.locality.zone for row in rows] == ["", "a"]


CHANGES: list[tuple[str, dict[str, Any], bool]] = [
    ("service-resolver/orders", {"ConnectTimeout": "1s"}, True),
    ("service-splitter/audit", {"Splits": [{"Weight": 100}]}, True),
    ("service-defaults/web", {"MaxInboundConnections": 1}, True),
    ("mesh/mesh", {}, True),
    ("service-resolver/other", {"ConnectTimeout": "1s"}, False),
    ("service-faults/orders", {"Faults": []}, False),
    ("service-rate-limits/orders", {"Limits": []}, False),
    ("jwt-provider/okta", {"JSONWebKeySet": {"Remote": {"URI": "https://a.example/k"}}}, False),
    ("service-router/web", {"Routes": []}, False),
    ("exported-services/default", {"Services": []}, False),
]


@pytest.mark.parametrize(("entry", "fields", "is_read"), CHANGES)
def test_a_change_wakes_only_the_proxies_that_it_touches(
    world: World, entry: str, fields: dict[str, Any], is_read: bool
) -> None:
    before, keys = compiled(world), depends(world.state, KEY)
    kind, name = entry.split("/")
    touched = world.do(
        commands.set_config_entry(stamp(), encoded(entry_of({"Kind": kind, "Name": name, **fields})))
    )
    assert bool(touched & keys) == is_read
    if not is_read:
        assert {name: it.version for name, it in compiled(world).items()} == {
            name: it.version for name, it in before.items()
        }


def test_what_a_chain_newly_leads_to_is_waited_for(world: World) -> None:
    lasting = ProxyCompiler(Settings(False))
    assert watches.connect("billing") not in lasting.depends(world.state, KEY)
    put(world, "service-resolver", "orders", Redirect={"Service": "billing"})
    keys = lasting.depends(world.state, KEY)
    assert keys == depends(world.state, KEY)
    assert {watches.connect("billing"), watches.config_entry("service-resolver", "billing")} <= keys
    assert watches.connect("orders") not in keys


def test_a_dot_in_a_name_is_no_subset(world: World) -> None:
    world.register(proxy("web-1", "web", upstreams=(Upstream("v2.orders", 9000), ORDERS)))
    put(world, "service-resolver", "orders", DefaultSubset="v2", Subsets={"v2": {}})
    found = compiled(world)
    assert {name for name in found if name.startswith("target/")} == {
        "target/v2%2Eorders.default.default.dc1",
        "target/v2.orders.default.default.dc1",
    }
    assert CLUSTER.trust_domain in found["target/v2%2Eorders.default.default.dc1"].target.spiffe_id
