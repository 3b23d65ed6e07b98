"""The rules of the data path that only whole processes can show."""

import asyncio
import contextlib
import signal
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.conftest import Pair, new_pair, new_vault
from tests.support.featured_mesh import FeaturedMesh
from tests.support.grpc_eof import EOF
from tests.support.grpc_matrix import Client, connect, failure, new_id
from tests.support.impostor import identity_of, tripwire
from tests.support.listener import listening
from tests.support.load import calling
from tests.support.matrix_app import Wish
from tests.support.mesh import HOST, Member, Mesh, in_thread
from tests.support.pki import Domain
from tests.support.processes import free_port
from tests.support.raw_h2 import client_context, raw_connection
from tests.support.waiting import until

WITHIN_S = 1.0
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
QUICK: dict[str, object] = {
    "passive_health_check": {"max_failures": 5, "base_ejection_time": "3s", "max_ejection_percent": 70}
}


@pytest.fixture(scope="module", params=["plain", "featured"])
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Whatever is configured, the rules hold."""
    kind = FeaturedMesh if request.param == "featured" else Mesh
    running = kind(tmp_path_factory.mktemp(request.param))
    yield running
    assert running.close() == [], "every process ends with 0 on SIGTERM"


@pytest.fixture(scope="module")
def pair(mesh: Mesh) -> Pair:
    return new_pair(mesh)


@pytest.fixture(scope="module")
def vault(mesh: Mesh) -> Member:
    return new_vault(mesh)


async def start(
    mesh: Mesh, name: str, count: int, config: dict[str, object] | None = None
) -> tuple[Member, list[Member]]:
    """`count` instances of `<name>` and a caller that may call them."""

    def work() -> tuple[Member, list[Member]]:
        servers = [mesh.add(name, number) for number in range(1, count + 1)]
        caller = mesh.add(f"{name}-caller", upstreams=[name], upstream_config=config, app_port=free_port())
        mesh.registry.intend(caller.service, name, "allow")
        mesh.wait(*servers, caller)
        return caller, servers

    result: tuple[Member, list[Member]] = await in_thread(work)
    return result


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hears the greeting and ends the connection without a word."""
    await reader.read(1024)


async def test_trap_05_both_sides_may_be_unix_sockets_with_modes(mesh: Mesh, tmp_path: Path) -> None:
    """Other processes of the machine then need the right user to speak for the application."""
    app_socket, upstream_socket = tmp_path / "app.sock", tmp_path / "upstream.sock"
    app = mesh.processes.start_python(
        "quiet-1", "tests.support.matrix_app", "--listen", f"unix:{app_socket}", "--name", "quiet-1"
    )
    await until(app_socket.exists, "the application listens")
    server, caller = (mesh.member(name, app_port=free_port()) for name in ("quiet", "quiet-caller"))
    upstream = {"DestinationName": "quiet", "LocalBindSocketPath": str(upstream_socket)}
    upstream |= {"LocalBindSocketMode": "0600"}

    def work() -> None:
        mesh.enrol(server, {"LocalServiceSocketPath": str(app_socket)})
        mesh.enrol(caller, {"Upstreams": [upstream]})
        mesh.registry.intend("quiet-caller", "quiet", "allow")
        for member in (server, caller):
            mesh.start_sidecar(member)
        mesh.wait(server, caller)

    await in_thread(work)
    await until(lambda: f"{HOST}:{server.public_port}" in caller.admin("/config").decode(), "it is known")
    assert stat.S_IMODE(upstream_socket.stat().st_mode) == 0o600
    async with connect(f"unix:{upstream_socket}") as client:
        await until(lambda: _goes_through(client, DENIED, UNAVAILABLE), "a call goes through")
        assert await client.name() == "quiet-1"
    mesh.kill(app)


@pytest.mark.parametrize("fault", ["mute", "impostor"])
async def test_trap_10_a_peer_that_never_greets_costs_no_call(mesh: Mesh, fault: str, tmp_path: Path) -> None:
    """`mute` proves who it is and hangs up; `impostor` proves nothing that counts."""
    name = f"greet-{fault}"
    caller, (server,) = await start(mesh, name, 1, QUICK)
    odd = await in_thread(lambda: mesh.add(name, 2, app_port=free_port(), sidecar=False))
    identity = await identity_of(mesh, odd)
    if fault == "impostor":
        leaf = Domain(odd.credential.trust_domain).leaf(name)
        chain, key = leaf.chain_pem, leaf.key_pem
    else:
        chain, key = identity.chain_pem, identity.key_pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    (tmp_path / "odd.pem").write_bytes(chain + key)
    context.load_cert_chain(tmp_path / "odd.pem")
    async with listening(hang_up, odd.public_port, context), calling(caller.to(name)) as load:
        await until(lambda: odd.id in caller.admin("/config").decode(), "the odd peer is in the pool")
        mark = len(load.outcomes)
        await until(lambda: len(load.outcomes) > mark + 200, "200 calls")
        assert load.failed == [], load.summary()
        assert {outcome.instance for outcome in load.outcomes} == {server.id}
    await in_thread(mesh.registry.deregister, odd.id)


async def test_trap_11_the_same_bytes_from_another_identity_are_judged_anew(
    mesh: Mesh, pair: Pair, tmp_path: Path
) -> None:
    """Memos are warm for the one who may; the other sends identical requests, in turns."""
    friend = await in_thread(mesh.registry.leaf, "client")
    stranger = await in_thread(mesh.registry.leaf, "unheard-of")
    for _ in range(5):
        for leaf, status in ((friend, "0"), (stranger, "7")):
            context = client_context(tmp_path, leaf[0].encode(), leaf[1].encode())
            async with raw_connection(pair.server.public_port, context) as client:
                for _ in range(3):
                    stream = client.request("/matrix.v1.Matrix/Name", body=b"")
                    answer = await client.answer(stream)
                    assert answer.get("grpc-status") == status
                    if client.closed:
                        break


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([("host", "other")], b"m"),
        ([("content-length", "3")], b"m"),
        ([("connection", "close")], b"m"),
        ([("transfer-encoding", "chunked")], b"m"),
        ([("x-evil", "a\r\nx-injected: b")], b"m"),
        ([("X-Upper", "case")], b"m"),
        ([(":path", "/matrix.v1.Matrix/Seen")], b"m"),
        ([("te", "gzip")], b"m"),
    ],
    ids=["host", "content-length", "connection", "transfer-encoding", "crlf", "upper", "pseudo", "te"],
)
async def test_trap_13_smuggled_fields_never_reach_the_app(
    mesh: Mesh, pair: Pair, fields: list[tuple[str, str]], body: bytes, tmp_path: Path
) -> None:
    chain, key = await in_thread(mesh.registry.leaf, "client")
    wish = Wish(id=new_id())
    async with raw_connection(
        pair.server.public_port, client_context(tmp_path, chain.encode(), key.encode())
    ) as client:
        stream = client.request("/matrix.v1.Matrix/Unary", wish.as_metadata(), *fields, body=body)
        answer = await client.answer(stream)
        assert answer.get("grpc-status") != "0"
        assert answer.reset is not None or answer.get("grpc-status") or answer.get(":status") == "400"
    async with connect(pair.target) as through:
        record = await through.seen(wish.id)
        # content-length is only known to be wrong when the body has passed: the call must not succeed.
        assert record is None or (body and fields[0][0] == "content-length" and record["state"] != "done")


@pytest.mark.parametrize(
    "noise",
    [
        b"GET /vault HTTP/1.1\r\nHost: vault\r\n\r\n",
        b"\x00" * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"x" * 64,
    ],
    ids=["HTTP/1.1", "zeros", "half HTTP/2"],
)
async def test_trap_14_bytes_that_do_not_parse_are_refused_never_spliced(
    mesh: Mesh, vault: Member, noise: bytes, tmp_path: Path
) -> None:
    """From a client that may call the service, and that an L4 proxy would let through."""
    leaf = await in_thread(mesh.registry.leaf, "client")
    context = client_context(tmp_path, leaf[0].encode(), leaf[1].encode())
    async with tripwire(vault.app_port) as wire:
        reader, writer = await asyncio.open_connection(HOST, vault.public_port, ssl=context)
        writer.write(noise)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while await reader.read(4096):
                    pass
        writer.transport.abort()
        assert noise not in wire.received and b"vault" not in wire.received
        assert wire.connections == 0


async def test_trap_16_drain_loses_nothing(mesh: Mesh) -> None:
    """SIGTERM for one of two instances' sidecars, under load and with a stream open."""
    caller, servers = await start(mesh, "drained", 2)
    async with calling(caller.to("drained")) as load, connect(caller.to("drained")) as client:
        await load.served_by({server.id for server in servers})
        turns = {}
        for server in servers:
            turns[server.id] = await _bidi_to(client, server)
        leaver = servers[0].running
        leaver.signal(signal.SIGTERM)
        await load.served_by({servers[1].id})
        assert leaver.exit_code is None, "it left although a stream is open"
        for call in turns.values():
            await call.write(b"last words")
            assert await call.read() == b"last words"
            await call.done_writing()
            assert await call.read() is EOF
            assert await call.code() is grpc.StatusCode.OK
        assert await in_thread(leaver.wait, 10) == 0
        mesh.processes.forget(leaver)
        await load.served_by({servers[1].id})
        assert load.failed == [], load.summary()


async def test_trap_16_an_app_that_rolls_its_connections_costs_no_call(mesh: Mesh) -> None:
    """GOAWAY from the application every half second; what it did not process is sent again."""
    port = free_port()
    mesh.processes.start_python(
        "rolling-1", "tests.support.matrix_app", "--listen", f"{HOST}:{port}", "--name", "rolling-1",
        "--connection-age-ms", "500",
    )  # fmt: skip
    server = await in_thread(lambda: mesh.add("rolling", app_port=port))
    caller = await in_thread(lambda: mesh.add("rolling-caller", upstreams=["rolling"], app_port=free_port()))
    await in_thread(mesh.registry.intend, "rolling-caller", "rolling", "allow")
    await in_thread(mesh.wait, server, caller)
    async with calling(caller.to("rolling"), callers=16, pause_s=0) as load:
        async with asyncio.timeout(60):  # until it has rolled several, however fast the calls are
            while int(await _ask(server, "Connections")) <= 4:
                await load.served_by({server.id}, count=1000, deadline_s=60)
        assert load.failed == [], load.summary()


async def _bidi_to(client: Client, server: Member) -> Any:
    """An open bidi stream that this instance answers."""
    while True:
        call = client.bidi(metadata=(Wish(whoami=True).as_metadata(),), timeout=60)
        await call.write(b"hello")
        assert await call.read() == b"hello"
        if dict(await call.initial_metadata())["instance"] == server.id:
            return call
        call.cancel()


async def test_trap_17_a_dead_app_behind_a_live_sidecar_leaves_the_pool(mesh: Mesh) -> None:
    caller, servers = await start(mesh, "widowed", 3, QUICK)
    async with calling(caller.to("widowed")) as load:
        await load.served_by({server.id for server in servers})
        victim = servers[0]
        killed = mesh.kill(victim.app)
        await load.served_by({server.id for server in servers[1:]})
        assert caller.metric("weft_ejections_total") >= 1, "it is still asked, and refuses each time"
        # Those it held when it died may have been processed: no one may send them again.
        assert load.lost(killed) == [], load.summary()
        assert {outcome.status for outcome in load.failed} <= {UNAVAILABLE}
        victim.app, _ = mesh.app(victim.id, victim.app_port)
        await load.served_by({server.id for server in servers})


async def test_an_instance_that_answers_unavailable_is_ejected_and_returns(mesh: Mesh) -> None:
    caller, servers = await start(mesh, "moody", 3, QUICK)
    everyone = {server.id for server in servers}
    async with calling(caller.to("moody")) as load:
        await load.served_by(everyone)
        await _ask(servers[0], "Mood", b"bad")
        await load.served_by(everyone - {servers[0].id})
        assert {outcome.status for outcome in load.failed} == {UNAVAILABLE}, load.summary()
        assert caller.metric("weft_ejections_total") >= 1
        await _ask(servers[0], "Mood", b"good")
        await load.served_by(everyone)


async def _ask(server: Member, method: str, request: bytes = b"") -> bytes:
    """A call to the application itself, past the mesh."""
    async with grpc.aio.insecure_channel(f"{HOST}:{server.app_port}") as channel:
        call = channel.unary_unary(f"/matrix.v1.Matrix/{method}", None, None)
        answer: bytes = await call(request, timeout=10)
        return answer


async def test_trap_18_a_deny_ends_open_streams_within_a_second(mesh: Mesh) -> None:
    caller, _ = await start(mesh, "fickle", 1)
    async with connect(caller.to("fickle")) as client:
        wish = Wish(id=new_id(), hang=True)
        stream = client.start("server_stream", [b"m"], metadata=(wish.as_metadata(),))
        await until(lambda: client.seen(wish.id), "the stream is open")
        begun = time.monotonic()
        await in_thread(mesh.registry.intend, caller.service, "fickle", "deny")
        error = await failure(client, "server_stream", stream)
        assert error.code() is DENIED
        assert time.monotonic() - begun < WITHIN_S
        for _ in range(3):
            error = await failure(client, "unary", client.start("unary", [b"m"]))
            assert error.code() is DENIED
        await in_thread(mesh.registry.intend, caller.service, "fickle", "allow")
        await until(lambda: _goes_through(client, DENIED), "calls go through again", 5)


async def _goes_through(client: Client, *refusals: grpc.StatusCode) -> bool:
    try:
        await client.name()
    except grpc.aio.AioRpcError as error:
        assert error.code() in refusals
        return False
    return True


async def test_a_killed_instance_costs_only_what_it_held(mesh: Mesh) -> None:
    caller, servers = await start(mesh, "mortal", 3, QUICK)
    async with calling(caller.to("mortal")) as load:
        await load.served_by({server.id for server in servers})
        killed = mesh.kill(servers[0].running, servers[0].app)
        await load.served_by({server.id for server in servers[1:]})
        assert load.lost(killed) == [], load.summary()
        assert {outcome.status for outcome in load.failed} <= {UNAVAILABLE}
