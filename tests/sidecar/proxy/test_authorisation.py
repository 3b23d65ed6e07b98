"""Who may call: per connection and per request, by the verified certificate and the intentions."""

import dataclasses
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sidecar.h2.errors import ErrorCode
from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, Rule
from tests.support.pki import Domain
from tests.support.switch import Mesh, inbound_port, outbound_port, with_rules
from tests.support.waiting import until
from tests.support.wire import GRPC, HEAD_OK, App, Wire, dial
from weft.tls import client_context


def _deny(source: str) -> Rule:
    return Rule(f"deny-{source}", source, "dc1.weft", "", False)


def _allow(source: str) -> Rule:
    return Rule(f"allow-{source}", source, "dc1.weft", "", True)


@pytest.fixture
async def orders(mesh: Mesh, app: App) -> Engine:
    return await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))


@pytest.fixture
async def web(mesh: Mesh, orders: Engine) -> AsyncIterator[Wire]:
    """A caller with web's certificate."""
    wire = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
    yield wire
    wire.close()


async def test_trap_18_a_deny_ends_open_streams_with_permission_denied(
    mesh: Mesh, orders: Engine, web: Wire, app: App
) -> None:
    """Before an answer: trailers only. In the middle: trailers. The application is told; web must go."""
    web.headers(1)
    web.headers(3)
    web.headers(5, GRPC[:4])
    behind = await app.wire()
    first, second, third = await behind.asked(3)
    behind.headers(second, HEAD_OK)
    behind.data(second, b"half")
    await until(lambda: web.heard(3).data, "the answer begins")
    orders.swap(with_rules(orders.snapshot, _deny("web"), _allow("*")))
    assert (await web.over(1)).blocks[0]["grpc-status"] == "7"
    assert (await web.over(3)).blocks[1]["grpc-status"] == "7"
    assert (await web.over(5)).blocks[0][":status"] == "403"
    for sid in (first, second, third):
        assert (await behind.over(sid)).reset == ErrorCode.CANCEL
    await until(lambda: web.closed, "the connection goes")
    assert [code for _, code in web.goaways] == [ErrorCode.NO_ERROR] * 2


async def test_trap_18_others_stay(mesh: Mesh, orders: Engine, web: Wire, app: App) -> None:
    web.headers(1)
    behind = await app.wire()
    sid = (await behind.asked())[0]
    orders.swap(with_rules(orders.snapshot, _deny("billing"), _allow("*")))
    behind.headers(sid, HEAD_OK, end=True)
    assert (await web.over(1)).blocks == [dict(HEAD_OK)]
    assert not web.goaways


async def test_a_denied_request_never_reaches_the_application(mesh: Mesh, web: Wire, orders: Engine) -> None:
    orders.swap(with_rules(orders.snapshot, _deny("*")))
    again = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
    again.headers(1)
    again.headers(3, GRPC[:4], end=True)
    heard = await again.over(1)
    assert heard.blocks[0]["grpc-status"] == "7" and heard.blocks[0][":status"] == "200"
    assert "denied by intention" in heard.blocks[0]["grpc-message"]
    assert (await again.over(3)).blocks[0][":status"] == "403"
    again.close()


async def test_trap_11_a_memo_of_one_identity_opens_nothing_for_another(
    mesh: Mesh, orders: Engine, web: Wire, app: App
) -> None:
    """The same octets from web and from billing: the verdict is the connection's own."""
    orders.swap(with_rules(orders.snapshot, _deny("billing"), _allow("web")))
    billing = await dial(inbound_port(orders), ssl=mesh.tls("billing").client)
    for sid in (1, 3, 5):
        web.headers(sid)
        billing.headers(sid)
    assert len(await (await app.wire()).asked(3)) == 3
    for sid in (1, 3, 5):
        assert (await billing.over(sid)).blocks[0]["grpc-status"] == "7"
    assert app.requests() == 3
    billing.close()


async def test_trap_11_a_new_snapshot_voids_the_memo(mesh: Mesh, orders: Engine, web: Wire, app: App) -> None:
    web.headers(1)
    behind = await app.wire()
    await behind.asked()
    orders.swap(with_rules(orders.snapshot, _deny("web")))
    web.headers(3)  # before the second GOAWAY can have come: the same octets as before
    assert (await web.over(3)).blocks[0]["grpc-status"] == "7"
    assert app.requests() == 1


async def test_trap_6_the_caller_is_named_by_the_sidecar_alone(mesh: Mesh, web: Wire, app: App) -> None:
    """However it is sent, x-forwarded-client-cert from outside goes no further."""
    name = "x-forwarded-client-cert"
    for sid in range(1, 17, 4):
        web.headers(sid, [*GRPC, (name, f"URI=spiffe://forged/{sid}")])
        web.headers(sid + 2, [*GRPC, (name, "URI=spiffe://forged/same"), (name, "again")])
    web.headers(17)
    behind = await app.wire()
    await behind.asked(9)
    for sid in behind.requests():
        (value,) = [value for field, value in behind.heard(sid).fields if field == name]
        assert value.startswith(f"By={mesh.identity('orders')};Hash=")
        assert value.endswith(f";URI={mesh.identity('web')}")


async def _refused(port: int, context: ssl.SSLContext) -> bool:
    """No SETTINGS comes: the connection ends before a byte of ours is answered."""
    try:
        wire = await dial(port, ssl=context)
    except (OSError, ssl.SSLError):
        return True
    wire.headers(1)
    await until(lambda: wire.closed, "the connection is cut")
    return not wire.frames


def _stranger(mesh: Mesh, domain: Domain) -> ssl.SSLContext:
    leaf = domain.leaf("web")
    return client_context(leaf.chain_pem, leaf.key_pem, [mesh.domain.root_pem])


async def test_trap_8_another_domain_cannot_speak_for_ours(mesh: Mesh, app: App) -> None:
    """dc2's root is trusted, for dc2: it proves nothing about dc1."""
    dc2 = Mesh("dc2.weft")
    both = {**mesh.domain.bundle, **dc2.domain.bundle}
    snapshot = mesh.snapshot("orders", app=Address("127.0.0.1", app.port))
    orders = await mesh.engine(
        dataclasses.replace(snapshot, bundles={name: tuple(roots) for name, roots in both.items()}),
        mesh.tls("orders", bundles=both),
    )
    forged = dc2.domain.forged("spiffe://dc1.weft/ns/default/dc/dc1/svc/web")
    context = client_context(forged.chain_pem, forged.key_pem, [mesh.domain.root_pem])
    assert await _refused(inbound_port(orders), context)
    assert orders.inbound.counted.refused == {"untrusted": 1}
    assert not app.wires


async def test_strangers_are_refused_before_any_byte(mesh: Mesh, orders: Engine, app: App) -> None:
    """A root that nobody knows, a leaf that has ended, no certificate at all."""
    assert await _refused(inbound_port(orders), _stranger(mesh, Domain("dc9.weft", now=mesh.domain.now)))
    past = mesh.domain.leaf("web", now=mesh.domain.now - timedelta(days=2), ttl=timedelta(hours=1))
    assert await _refused(
        inbound_port(orders), client_context(past.chain_pem, past.key_pem, [mesh.domain.root_pem])
    )
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    bare.set_alpn_protocols(["h2"])
    assert await _refused(inbound_port(orders), bare)
    assert not app.wires


async def test_trap_4_a_revoked_leaf_loses_its_connections(
    mesh: Mesh, orders: Engine, web: Wire, app: App
) -> None:
    web.headers(1)
    behind = await app.wire()
    sid = (await behind.asked())[0]
    (conn,) = orders.inbound.connections
    assert conn.proven is not None
    orders.swap(dataclasses.replace(orders.snapshot, revoked=frozenset({conn.proven.serial_key})))
    await until(lambda: web.closed, "the connection is cut", deadline_s=1.0)
    assert (await behind.over(sid)).reset == ErrorCode.CANCEL


async def test_trap_9_peers_of_a_root_that_is_gone_lose_their_connections(
    mesh: Mesh, orders: Engine, web: Wire
) -> None:
    await web.pinged()
    other = Domain("dc1.weft", now=mesh.domain.now)
    orders.rotate(mesh.tls("orders", bundles=other.bundle))
    await until(lambda: web.closed, "the connection is cut", deadline_s=1.0)


async def test_rotation_serves_new_handshakes_with_the_new_leaf(
    mesh: Mesh, orders: Engine, web: Wire
) -> None:
    await web.pinged()
    before = web.transport.get_extra_info("ssl_object").getpeercert(True)
    orders.rotate(mesh.tls("orders"))

    async def renewed() -> bool:
        wire = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
        leaf = wire.transport.get_extra_info("ssl_object").getpeercert(True)
        wire.close()
        return bool(leaf != before)

    await until(renewed, "a new leaf is shown")
    assert not web.closed and not web.goaways


async def test_trap_9_connections_go_before_their_certificate_ends(
    mesh: Mesh, orders: Engine, app: App
) -> None:
    """They are drained in time, and cut at the end."""
    wire = await dial(inbound_port(orders), ssl=mesh.tls("web", ttl=timedelta(minutes=10)).client)
    wire.headers(1)
    await (await app.wire()).asked()
    mesh.clock.ahead_s = 480
    await until(lambda: wire.goaways, "it is drained")
    assert not wire.closed
    mesh.clock.ahead_s = 601
    await until(lambda: wire.closed, "it is cut")


async def test_an_instance_must_be_who_it_should_be(mesh: Mesh, app: App) -> None:
    """The endpoint's certificate is sound, but it is billing's."""
    impostor = await mesh.engine(mesh.snapshot("billing", app=Address("127.0.0.1", app.port)))
    engine = await mesh.engine(mesh.snapshot("web", upstreams=[mesh.upstream("orders", [impostor])]))
    caller = await dial(outbound_port(engine))
    caller.headers(1)
    heard = await caller.over(1)
    assert heard.blocks[0]["grpc-status"] == "14"
    assert "expected spiffe://dc1.weft/ns/default/dc/dc1/svc/orders" in heard.blocks[0]["grpc-message"]
    assert not app.wires
    caller.close()
