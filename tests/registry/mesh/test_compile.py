"""The mesh compiler: what one proxy must do, and when that must be worked out again."""

import datetime
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import commands
from registry.catalog.model import NODE_MAINTENANCE, SERVICE_MAINTENANCE, Check, Upstream
from registry.discovery_chain.chain import Leg
from registry.errors import NotFound
from registry.mesh.compile import ProxyCompiler, Settings, compile_proxy, depends
from sidecar.policy.compile import compile_snapshot
from tests.support.catalog import CLUSTER, World, check, digest, intention, node, proxy, root, service, stamp
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.mesh.v1 import mesh_pb2 as pb

KEY = "dc1/n1/web-1"
DENY = Settings(default_allow=False)
TARGET = "orders.default.default.dc1"
ORDERS = Upstream(
    "orders", 9191, config_json=b'{"balance":"round_robin","limits":{"max_pending_requests":7}}'
)


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2036))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def world() -> World:
    world = World.set_up()
    world.do(commands.set_roots(stamp(), [root(certificate_der=_certificate())], 0))
    world.register(service("web-1", "web"), proxy("web-1", "web", upstreams=(ORDERS,)))
    for number in (2, 1):
        world.do(
            commands.register(
                stamp(),
                node(f"n{number}", address=f"10.0.0.{number}"),
                [
                    service(f"orders-{number}", "orders", f"n{number}"),
                    proxy(f"orders-{number}", "orders", f"n{number}"),
                ],
                [check(f"app{number}", f"orders-{number}", on=f"n{number}")],
            )
        )
    return world


def _compiled(world: World, key: str = KEY) -> dict[str, pb.Resource]:
    return compile_proxy(world.state, key, DENY)


def _health(world: World) -> list[tuple[str, bool, int]]:
    found = _compiled(world)[f"endpoints/{TARGET}"].endpoints.endpoints
    return [(it.service_id, it.healthy, it.weight) for it in found]


def test_the_resources_of_a_proxy(world: World) -> None:
    found = _compiled(world)
    assert sorted(found) == [
        f"bundle/{CLUSTER.trust_domain}",
        f"endpoints/{TARGET}",
        "intentions",
        "proxy",
        "revocations",
        f"target/{TARGET}",
        "upstream/orders",
    ]
    assert all(resource.name == name and len(resource.version) == 16 for name, resource in found.items())
    proxied = found["proxy"].proxy
    assert (proxied.instance_key, proxied.service, proxied.service_id) == (KEY, "web", "web-1")
    assert proxied.spiffe_id == f"spiffe://{CLUSTER.trust_domain}/ns/default/dc/dc1/svc/web"
    assert (proxied.public_address, proxied.public_port) == ("10.0.0.1", 21000)
    assert (proxied.app_address, proxied.app_port, proxied.protocol) == ("127.0.0.1", 8080, "grpc")
    upstream = found["upstream/orders"].upstream
    assert (upstream.bind_address, upstream.bind_port) == ("127.0.0.1", 9191)
    target = found[f"target/{TARGET}"].target
    assert target.ejection.consecutive_failures == 5
    assert [(split.weight, split.target) for split in upstream.routes[0].splits] == [(10_000, TARGET)]
    assert (upstream.default_target, target.id) == (TARGET, TARGET)
    assert upstream.protocol == pb.PROTOCOL_UNSPECIFIED
    assert (target.service, target.spiffe_id[-11:]) == ("orders", "/svc/orders")
    assert (target.balance, target.max_pending_requests) == (pb.Target.BALANCE_ROUND_ROBIN, 7)


def test_the_sidecar_takes_what_is_compiled(world: World) -> None:
    """Both sides of the contract, with an upstream on a socket and a bare application."""
    socket = Upstream("cache", local_bind_socket_path="/run/cache.sock", local_bind_socket_mode="0660")
    world.register(proxy("web-1", "web", upstreams=(ORDERS, socket)))
    world.do(commands.set_intention(stamp(), intention("*", "web")))
    world.do(commands.mint_credential(stamp(), KEY, digest("s")))
    world.do(commands.record_leaf(stamp(), KEY, digest("s"), 2**100, 10**9))
    world.do(commands.revoke_credential(stamp(), KEY))
    snapshot = compile_snapshot(_compiled(world), world.state.index)
    assert [it.service_id for it in snapshot.targets[TARGET].instances] == ["orders-1", "orders-2"]
    assert snapshot.upstreams["cache"].listen.mode == 0o660
    assert snapshot.revoked == {(CLUSTER.trust_domain, 2**100)}
    assert [rule.source for rule in snapshot.inbound.rules] == ["*"]


def test_a_dot_in_a_service_name_is_no_subset() -> None:
    assert Leg("v2.orders", "", "dc1").id != Leg("orders", "v2", "dc1").id


def test_application_and_proxy_key_give_the_same(world: World) -> None:
    by_proxy = _compiled(world, f"{KEY}-sidecar-proxy")
    by_application = _compiled(world)
    assert {name: it.version for name, it in by_proxy.items() if name != "proxy"} == {
        name: it.version for name, it in by_application.items() if name != "proxy"
    }
    assert by_proxy["proxy"].proxy.spiffe_id == by_application["proxy"].proxy.spiffe_id


@pytest.mark.parametrize("key", ["dc1/n1/nope", "dc2/n1/web-1", "dc1/n1/bare", "", "/"])
def test_what_has_no_sidecar_is_not_found(world: World, key: str) -> None:
    world.register(service("bare"))
    with pytest.raises(NotFound):
        _compiled(world, key)


def test_endpoints_are_in_a_stable_order_with_their_addresses(world: World) -> None:
    found = _compiled(world)[f"endpoints/{TARGET}"].endpoints.endpoints
    assert [(it.instance_key, it.address, it.port) for it in found] == [
        ("dc1/n1/orders-1-sidecar-proxy", "10.0.0.1", 21000),
        ("dc1/n2/orders-2-sidecar-proxy", "10.0.0.2", 21000),
    ]


def test_trap_17_a_dead_application_behind_a_live_sidecar_is_unhealthy(world: World) -> None:
    assert _health(world) == [("orders-1", True, 1), ("orders-2", True, 1)]
    world.do(commands.update_check(stamp(), "n1", "app1", "critical", "refused"))
    assert _health(world) == [("orders-1", False, 1), ("orders-2", True, 1)]


@pytest.mark.parametrize(
    ("row", "healthy"),
    [
        (check("disk", status="critical", on="n2"), False),
        (check("p", "orders-2-sidecar-proxy", "critical", on="n2"), False),
        (check("own", "orders-2", "critical", on="n2"), False),
        (check("own", "orders-2", "warning", on="n2"), True),
    ],
)
def test_health_is_the_worst_of_node_proxy_and_application(world: World, row: object, healthy: bool) -> None:
    world.register(row, on="n2")  # type: ignore[arg-type]
    assert _health(world) == [("orders-1", True, 1), ("orders-2", healthy, 1)]


@pytest.mark.parametrize(
    "row",
    [
        check(NODE_MAINTENANCE, status="critical", on="n2"),
        check(SERVICE_MAINTENANCE + "orders-2", "orders-2", "critical", on="n2"),
        check(SERVICE_MAINTENANCE + "orders-2-sidecar-proxy", "orders-2-sidecar-proxy", "critical", on="n2"),
    ],
)
def test_what_is_in_maintenance_is_left_out(world: World, row: Check) -> None:
    """Not listed as unhealthy: callers then let open streams end, and never fall back to it."""
    world.register(row, on="n2")
    assert _health(world) == [("orders-1", True, 1)]
    world.do(commands.deregister_check(stamp(), "n2", row.id))
    assert _health(world) == [("orders-1", True, 1), ("orders-2", True, 1)]


def test_a_sidecar_is_told_that_it_drains(world: World) -> None:
    own = "web-1-sidecar-proxy"
    assert not _compiled(world)["proxy"].proxy.draining
    world.register(check(SERVICE_MAINTENANCE + own, own, "critical"))
    assert _compiled(world)["proxy"].proxy.draining
    world.do(commands.deregister_check(stamp(), "n1", SERVICE_MAINTENANCE + own))
    world.register(check(SERVICE_MAINTENANCE + own, "orders-1", "critical"))  # in another's name
    assert not _compiled(world)["proxy"].proxy.draining


def test_a_warning_takes_the_weight_of_warnings(world: World) -> None:
    sidecar = replace(proxy("orders-2", "orders", "n2"), weight_passing=9, weight_warning=0)
    world.register(sidecar, on="n2")
    assert _health(world)[1] == ("orders-2", True, 9)
    world.do(commands.update_check(stamp(), "n2", "app2", "warning", ""))
    assert _health(world)[1] == ("orders-2", False, 0)


def test_intentions_come_by_precedence_with_the_default(world: World) -> None:
    for source, destination, allow in (
        ("*", "*", True),
        ("api", "web", False),
        ("*", "web", True),
        ("x", "db", True),
    ):
        world.do(commands.set_intention(stamp(), intention(source, destination, allow)))
    found = _compiled(world)["intentions"].intentions
    assert [(it.source, it.allow, it.precedence) for it in found.rules] == [
        ("api", False, 9), ("*", True, 8), ("*", True, 5),
    ]  # fmt: skip
    assert {it.source_trust_domain for it in found.rules} == {CLUSTER.trust_domain}
    assert found.default_allow is False
    assert compile_proxy(world.state, KEY, Settings(default_allow=True))[
        "intentions"
    ].intentions.default_allow


def test_trap_4_revoked_leaves_reach_every_proxy(world: World) -> None:
    world.do(commands.mint_credential(stamp(), "dc1/n1/orders-1", digest("s")))
    world.do(commands.record_leaf(stamp(), "dc1/n1/orders-1", digest("s"), 0xABCD, 5_500))
    world.do(commands.deregister_services(stamp(), "n1", ["orders-1"]))
    for key in (KEY, "dc1/n2/orders-2"):
        [leaf] = _compiled(world, key)["revocations"].revocations.leaves
        assert (leaf.serial, leaf.trust_domain, leaf.not_after_unix_s) == (
            b"\xab\xcd", CLUSTER.trust_domain, 6,
        )  # fmt: skip


def test_a_proxy_on_a_named_address_listens_on_all(world: World) -> None:
    world.do(commands.register(stamp(), node(address="host.example")))
    assert _compiled(world)["proxy"].proxy.public_address == "0.0.0.0"
    bound = proxy("web-1", "web", config_json=b'{"bind_address":"127.0.0.7","bind_port":4000}')
    world.register(bound)
    proxied = _compiled(world)["proxy"].proxy
    assert (proxied.public_address, proxied.public_port) == ("127.0.0.7", 4000)


def test_equal_content_has_an_equal_version(world: World) -> None:
    before = {name: it.version for name, it in _compiled(world).items()}
    world.do(commands.update_check(stamp(), "n1", "app1", "critical", ""))
    changed = {name: it.version for name, it in _compiled(world).items()}
    assert {name for name in before if before[name] != changed[name]} == {
        f"endpoints/{TARGET}",
    }
    world.do(commands.update_check(stamp(), "n1", "app1", "passing", "other output"))
    assert {name: it.version for name, it in _compiled(world).items()} == before


_ids = st.sampled_from(["web-1", "orders-1", "orders-2", "other"])
_services = st.sampled_from(["web", "orders", "*", "other"])
_nodes = st.sampled_from(["n1", "n2"])
_steps = st.one_of(
    st.builds(lambda it, on: commands.deregister_services(stamp(), on, [it]), _ids, _nodes),
    st.builds(
        lambda it, on: commands.deregister_services(stamp(), on, [f"{it}-sidecar-proxy"]), _ids, _nodes
    ),
    st.builds(lambda on: commands.deregister_node(stamp(), on), _nodes),
    st.builds(
        lambda on, port: commands.register(stamp(), node(on, address=f"10.1.1.{port}")),
        _nodes,
        st.integers(1, 3),
    ),
    st.builds(
        lambda it, name, on: commands.register(
            stamp(), node(on), [service(it, name, on), proxy(it, name, on)]
        ),
        _ids,
        st.sampled_from(["web", "orders", "other"]),
        _nodes,
    ),
    st.builds(
        lambda it, on, to: commands.register(stamp(), node(on), [], [check("c" + it, it, to, on)]),
        st.one_of(_ids, st.just("")),
        _nodes,
        st.sampled_from(["passing", "critical"]),
    ),
    st.builds(
        lambda it, of, on: commands.register(
            stamp(), node(on), [], [check(SERVICE_MAINTENANCE + it, of, "critical", on)]
        ),
        st.one_of(_ids, st.builds("{}-sidecar-proxy".format, _ids)),
        st.one_of(_ids, st.builds("{}-sidecar-proxy".format, _ids)),
        _nodes,
    ),
    st.builds(lambda a, b: commands.set_intention(stamp(), intention(a, b)), _services, _services),
    st.builds(lambda a, b: commands.delete_intention(stamp(), a, b), _services, _services),
    st.builds(lambda it: commands.mint_credential(stamp(), f"dc1/n1/{it}", digest(it)), _ids),
    st.builds(
        lambda it, serial: commands.record_leaf(stamp(), f"dc1/n1/{it}", digest(it), serial, 10**9),
        _ids,
        st.integers(1, 9),
    ),
    st.builds(lambda it: commands.revoke_credential(stamp(), f"dc1/n1/{it}"), _ids),
)


def _versions(world: World, key: str) -> dict[str, str] | None:
    try:
        return {name: it.version for name, it in _compiled(world, key).items()}
    except NotFound:
        return None


@settings(max_examples=80, deadline=None)
@given(st.lists(_steps, max_size=15))
def test_nothing_changes_without_a_key_that_it_depends_on(steps: list[Command]) -> None:
    """So that a proxy none of whose keys moved need not be compiled again."""
    world = World.set_up()
    world.do(commands.set_roots(stamp(), [root()], 0))
    for it in ("web-1", "orders-1"):
        world.register(service(it, it[:-2]), proxy(it, it[:-2], upstreams=(Upstream("orders", 1),)))
    lasting = ProxyCompiler(DENY)
    for step in steps:
        for key in (KEY, f"{KEY}-sidecar-proxy"):
            before, keys = _versions(world, key), depends(world.state, key)
            assert lasting.depends(world.state, key) == keys  # with what it has kept
            trial = World(world.state)
            touched = trial.attempt(step).touched
            if not touched & keys:
                assert _versions(trial, key) == before
                assert depends(trial.state, key) == keys
        world.attempt(step)


def test_what_proxies_share_is_made_once_for_each_content() -> None:
    world = World.set_up()
    world.do(commands.set_roots(stamp(), [root()], 0))
    for it in ("web-1", "web-2"):
        world.register(service(it, "web"), proxy(it, "web", upstreams=(Upstream("orders", 1),)))
    compiler, keys = ProxyCompiler(DENY), ("dc1/n1/web-1", "dc1/n1/web-2")
    first, second = (compiler.resources(world.state, key) for key in keys)
    shared = {name for name in first if first[name] is second[name]}
    bundle = f"bundle/{CLUSTER.trust_domain}"
    assert shared == {"intentions", "revocations", bundle, f"endpoints/{TARGET}"}
    world.do(commands.set_intention(stamp(), intention("*", "*", False)))
    after = compiler.resources(world.state, keys[0])
    assert {name for name in after if after[name] is not first[name]} == {"intentions"}
    assert after == compile_proxy(world.state, keys[0], DENY)
    assert compiler.resources(world.state, keys[1])["intentions"] is after["intentions"]


@settings(max_examples=60, deadline=None)
@given(st.lists(_steps, max_size=15))
def test_trap_11_what_is_kept_never_shows(steps: list[Command]) -> None:
    world, compiler = World.set_up(), ProxyCompiler(DENY)
    world.do(commands.set_roots(stamp(), [root()], 0))
    for it in ("web-1", "orders-1"):
        world.register(service(it, it[:-2]), proxy(it, it[:-2], upstreams=(Upstream("orders", 1),)))
    for step in steps:
        world.attempt(step)
        for key in (KEY, f"{KEY}-sidecar-proxy"):
            if _versions(world, key) is not None:
                assert compiler.resources(world.state, key) == compile_proxy(world.state, key, DENY)
