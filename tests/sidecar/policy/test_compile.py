"""What the registry sends becomes a snapshot, or is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.errors import InvalidResource
from sidecar.policy.compile import compile_snapshot
from sidecar.snapshot import Address, Balance, EjectionPolicy
from tests.support import resources as make
from weft.pb.mesh.v1 import mesh_pb2
from weft.spiffe import SpiffeId

Resources = dict[str, mesh_pb2.Resource]
ORDERS = make.target_id("orders")


def test_a_full_set_compiles() -> None:
    snapshot = compile_snapshot(make.all_resources(), 42)
    assert snapshot.index == 42
    assert snapshot.identity == SpiffeId(make.TRUST_DOMAIN, "dc1", "web")
    assert snapshot.instance_key == make.WEB_KEY
    assert snapshot.inbound.listen == Address("127.0.0.1", 20000)
    assert snapshot.inbound.app == Address("127.0.0.1", 8080)
    assert snapshot.revoked == {(make.TRUST_DOMAIN, 7)}
    orders = snapshot.upstreams["orders"]
    assert orders.listen == Address("127.0.0.1", 19000)
    assert orders.default_target == orders.routes[0].splits[0].target == ORDERS
    instances = snapshot.targets[ORDERS].instances
    assert [str(instance.address) for instance in instances] == ["127.0.0.1:21000", "127.0.0.1:21001"]


def test_numbers_not_set_take_the_defaults() -> None:
    orders = compile_snapshot(make.all_resources(), 1).targets[ORDERS]
    assert orders.ejection == EjectionPolicy()
    assert orders.balance is Balance.LEAST_REQUEST
    assert (orders.connect_timeout_s, orders.pending_max) == (5.0, 1024)


def test_numbers_set_are_taken() -> None:
    resources = make.all_resources()
    body = resources[f"target/{ORDERS}"].target
    body.balance = mesh_pb2.Target.BALANCE_ROUND_ROBIN
    body.connect_timeout_ms, body.max_pending_requests = 250, 9
    body.ejection.CopyFrom(
        mesh_pb2.Ejection(
            consecutive_failures=3, base_ejection_ms=1500, max_ejection_ms=9000, max_ejection_percent=67
        )
    )
    orders = compile_snapshot(resources, 1).targets[ORDERS]
    assert orders.ejection == EjectionPolicy(3, 1.5, 9.0, 67)
    assert orders.balance is Balance.ROUND_ROBIN
    assert (orders.connect_timeout_s, orders.pending_max) == (0.25, 9)


def test_what_is_told_of_requests_is_taken() -> None:
    resources = make.all_resources()
    assert not compile_snapshot(resources, 1).telemetry.traces
    resources["proxy"].proxy.telemetry.CopyFrom(
        mesh_pb2.Telemetry(trace_ppm=1000, otlp_endpoint="grpc://c:4317", access_log_errors=True)
    )
    told = compile_snapshot(resources, 1).telemetry
    assert (told.trace_ppm, told.otlp_endpoint, told.traces, told.logs) == (1000, "grpc://c:4317", True, True)
    assert told.access_log_path == ""


@pytest.mark.parametrize(
    "said",
    [
        {"trace_ppm": 1_000_001},
        {"access_log_ppm": 1_000_001},
        {"otlp_endpoint": "c:4317"},
        {"otlp_endpoint": "http://user:secret@c:4318"},
        {"otlp_endpoint": "http://c:0"},
        {"access_log_path": "relative.log"},
    ],
)
def test_what_cannot_be_told_is_refused(said: dict[str, Any]) -> None:
    resources = make.all_resources()
    resources["proxy"].proxy.telemetry.CopyFrom(mesh_pb2.Telemetry(**said))
    with pytest.raises(InvalidResource, match="telemetry"):
        compile_snapshot(resources, 1)


def test_rules_are_sorted_by_precedence() -> None:
    resources = make.all_resources()
    resources["intentions"] = make.intentions(make.rule("*", True, 8), make.rule("shop", False, 9))
    assert [rule.source for rule in compile_snapshot(resources, 1).inbound.rules] == ["shop", "*"]


def test_unix_sockets_replace_tcp() -> None:
    resources = make.all_resources()
    resources["proxy"].proxy.app_socket_path = "/run/web.sock"
    resources["upstream/orders"].upstream.bind_socket_path = "/run/orders.sock"
    resources["upstream/orders"].upstream.bind_socket_mode = 0o660
    snapshot = compile_snapshot(resources, 1)
    assert snapshot.inbound.app == Address(path="/run/web.sock")
    assert snapshot.upstreams["orders"].listen == Address(path="/run/orders.sock", mode=0o660)


def _drop(name: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        del resources[name]

    return change


def _set(name: str, field: str, value: object) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        resource = resources[name]
        setattr(getattr(resource, str(resource.WhichOneof("body"))), field, value)

    return change


def _put(resource: mesh_pb2.Resource, name: str = "") -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        resources[name or resource.name] = resource

    return change


def _endpoint(field: str, value: object) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        setattr(resources[f"endpoints/{ORDERS}"].endpoints.endpoints[0], field, value)

    return change


REFUSED: dict[str, tuple[Callable[[Resources], None], str]] = {
    "no proxy": (_drop("proxy"), "'proxy' is missing"),
    "no intentions": (_drop("intentions"), "'intentions' is missing"),
    "no revocations": (_drop("revocations"), "'revocations' is missing"),
    "no own bundle": (_drop(f"bundle/{make.TRUST_DOMAIN}"), "this proxy's own"),
    "no endpoints": (_drop(f"endpoints/{ORDERS}"), f"'endpoints/{ORDERS}' is missing"),
    "no target": (_drop(f"target/{ORDERS}"), f"'target/{ORDERS}' is missing"),
    "unknown kind": (_put(mesh_pb2.Resource(name="faults/x")), "does not know"),
    "unknown single": (_put(mesh_pb2.Resource(name="upstream")), "does not know"),
    "empty body": (_put(mesh_pb2.Resource(name="upstream/x")), "must hold a body of kind 'upstream'"),
    "name of another": (_put(make.proxy(), "intentions"), "under the same name"),
    "other service": (_set("proxy", "service", "admin"), "is not that of"),
    "bad identity": (_set("proxy", "spiffe_id", "spiffe://x"), "bad SPIFFE id"),
    "bad key": (_set("proxy", "instance_key", "web"), "is not <datacenter>/<node>/<service id>"),
    "egress on the proxy's": (
        _put(
            mesh_pb2.Resource(
                name="egress", egress=mesh_pb2.Egress(bind_address="127.0.0.1", bind_port=20000)
            )
        ),
        "listens on",
    ),
    "unknown protocol": (_set("proxy", "app_protocol", 9), "protocol 9 is unknown to this version"),
    "no public port": (_set("proxy", "public_port", 0), "port 0"),
    "port too high": (_set("proxy", "app_port", 65536), "port 65536"),
    "name to listen on": (_set("proxy", "public_address", "localhost"), "is not an IP address"),
    "bad app address": (_set("proxy", "app_address", "a b"), "neither IP nor host name"),
    "relative socket": (_set("upstream/orders", "bind_socket_path", "x.sock"), "is not absolute"),
    "long socket": (_set("upstream/orders", "bind_socket_path", "/" + "x" * 107), "over 107 bytes"),
    "target identity": (_set(f"target/{ORDERS}", "spiffe_id", make.spiffe_id("web")), "is not that of"),
    "unknown balance": (_set(f"target/{ORDERS}", "balance", 9), "balance 9"),
    "long connect": (_set(f"target/{ORDERS}", "connect_timeout_ms", 60_001), "connect_timeout_ms 60001"),
    "same listener": (_set("upstream/orders", "bind_port", 20000), "as 'proxy' does"),
    "bundle of another": (
        _put(make.bundle(trust_domain="dc2.weft"), "bundle/dc3.weft"),
        "under the same name",
    ),
    "bundle says another": (_set(f"bundle/{make.TRUST_DOMAIN}", "trust_domain", "x"), "of trust domain 'x'"),
    "bad root": (_put(make.bundle(b"not DER")), "not a DER certificate"),
    "weight": (_endpoint("weight", 65536), "weight 65536"),
    "endpoint port": (_endpoint("port", 0), "port 0"),
    "twice": (_endpoint("instance_key", "dc1/node1/orders-21001"), "one instance twice"),
    "rule without trust domain": (
        _put(make.intentions(make.rule("shop", True, trust_domain=""))),
        "rule 'shop-to-web': source trust domain ''",
    ),
    "rule of no service": (_put(make.intentions(make.rule("", True))), "source service ''"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_obeyed_is_refused(case: str) -> None:
    """Nothing unknown or contradictory is skipped."""
    change, message = REFUSED[case]
    resources = make.all_resources()
    change(resources)
    with pytest.raises(InvalidResource, match="resource ") as refused:
        compile_snapshot(resources, 1)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
