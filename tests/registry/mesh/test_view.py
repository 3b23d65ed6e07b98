"""The view of a proxy for people: which entry says what, and who is left out of a target."""

import pytest

from registry.catalog import commands
from registry.errors import NotFound
from registry.mesh.compile import ProxyCompiler, Settings
from registry.mesh.view import View, view
from tests.registry.mesh.test_entries import KEY, put
from tests.registry.mesh.test_entries import world as world
from tests.support.catalog import World, check, intention, node, stamp

ORDERS = "orders.default.default.dc1"


def shown(world: World, service: str = "web", instance: str = "") -> View:
    return view(world.state, ProxyCompiler(Settings(default_allow=False)), service, instance)


def test_each_part_says_where_it_comes_from(world: World) -> None:
    put(
        world, "service-resolver", "orders",
        DefaultSubset="v1", LoadBalancer={"Policy": "maglev"}, Failover={"*": {"Service": "audit"}},
        Subsets={it: {"Filter": f"Service.Meta.version == {it}"} for it in ("v1", "v2")},
    )  # fmt: skip
    put(
        world, "service-splitter", "orders",
        Splits=[{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}],
    )  # fmt: skip
    put(
        world, "service-router", "orders",
        Routes=[{"Match": {"HTTP": {"PathPrefix": "/v2"}}, "Destination": {"ServiceSubset": "v2"}}],
    )  # fmt: skip
    put(
        world, "service-defaults", "web",
        UpstreamConfig={"Defaults": {"ConnectTimeoutMs": 900}, "Overrides": [{"Name": "audit"}]},
    )  # fmt: skip
    found = shown(world).origins
    assert found["route/orders/orders/0"] == ["service-router/orders Routes[0]"]
    assert found["route/orders/default"] == ["service-router/orders: what none of its routes takes"]
    assert found["split/orders/orders/0"] == []
    assert found["split/orders/default"] == ["service-splitter/orders"]
    assert found["route/audit/default"] == ["there is no service-router/audit"]
    assert found[f"target/v2.{ORDERS}"] == [
        f"service-resolver/orders {it}" for it in ("Subsets[v2]", "LoadBalancer", "Failover")
    ]
    assert found[f"use/v1.{ORDERS}"] == [
        "service-defaults/web UpstreamConfig.Defaults",
        "registration of web: Upstreams[orders].Config",
    ]
    assert "service-defaults/web UpstreamConfig.Overrides[audit]" in found["use/audit.default.default.dc1"]


def test_what_is_asked_of_callers_has_origins_too(world: World) -> None:
    row = intention("web", "orders")
    world.do(commands.set_intention(stamp(), row))
    put(world, "service-rate-limits", "orders", Limits=[{"Name": "all", "RequestsPerSecond": 5}])
    fault = {"Name": "exp1", "Abort": {"HTTPStatus": 503}, "EndsAt": "2026-03-01T10:00:00Z"}
    put(world, "service-faults", "orders", Faults=[fault])
    found = shown(world, "orders").origins
    assert found[f"intention/{row.id}"] == ["intention web => orders, precedence 9"]
    assert found["limit/all"] == ["service-rate-limits/orders Limits"]
    assert found["fault/exp1"] == ["service-faults/orders Faults"]


def test_who_is_left_out_and_why(world: World) -> None:
    put(world, "service-resolver", "orders", Subsets={"v2": {"Filter": "Service.Meta.version == v2"}})
    put(world, "service-splitter", "orders", Splits=[{"Weight": 100, "ServiceSubset": "v2"}])
    sick = check("app-orders-3", "orders-3", "critical", "orders3")
    world.do(commands.register(stamp(), node("orders3", address="10.1.0.3"), (), [sick]))
    rows = shown(world).standings[f"v2.{ORDERS}"]
    left_out = "the subset's filter does not keep it: Service.Meta.version == v2"
    assert [(it.service_id, it.out) for it in rows] == [
        ("orders-1", left_out),
        ("orders-2", left_out),
        ("orders-3", "check app-orders-3 is critical"),
    ]


def test_a_view_is_of_one_instance_and_moves_with_what_it_reads(world: World) -> None:
    found = shown(world, instance="web-1")
    assert (found.instance_key, found.others) == (f"{KEY}-sidecar-proxy", (f"{KEY}-sidecar-proxy",))
    assert found.resources.keys() >= {"proxy", "intentions", "upstream/orders", f"target/{ORDERS}"}
    for service, instance in (("nobody", ""), ("web", "web-7")):
        with pytest.raises(NotFound, match="has no sidecar"):
            shown(world, service, instance)
