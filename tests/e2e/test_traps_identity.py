"""The rules of identity that only whole processes can show. Numbers are those of SECURITY.md's list."""

import asyncio
import contextlib
import shutil
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca import operator_key
from ca.authority import issue_leaf_for_key
from ca.bundle import chain_to_pem
from ca.provider import private_pem
from registry.identity.signing_key import SigningKey
from tests.e2e.conftest import Pair
from tests.support.grpc_matrix import connect, new_id
from tests.support.impostor import Identity, identity_of, sign, tripwire
from tests.support.matrix_app import Wish
from tests.support.mesh import Member, Mesh, in_thread, wait_for
from tests.support.pki import Domain, csr
from tests.support.processes import free_port
from tests.support.raw_h2 import Refused, client_context, raw_connection
from tests.support.registry import running_registry
from tests.support.waiting import until
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc
from weft.spiffe import SpiffeId

WITHIN_S = 1.0
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def context_of(identity: Identity, folder: Path) -> ssl.SSLContext:
    return client_context(folder, identity.chain_pem, identity.key_pem)


async def test_trap_01_a_csr_for_another_name_gets_the_credentials_own(mesh: Mesh, pair: Pair) -> None:
    wanted = pair.client.credential
    other = f"spiffe://{wanted.trust_domain}/ns/default/dc/dc1/svc/matrix"
    identity = await identity_of(mesh, pair.client, claims=[other])
    assert identity.uris == [f"spiffe://{wanted.trust_domain}/ns/default/dc/dc1/svc/client"]


@pytest.mark.parametrize("fault", ["none", "empty", "garbage", "stolen secret", "wrong secret"])
async def test_trap_01_no_certificate_without_the_instances_own_credential(
    mesh: Mesh, pair: Pair, fault: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sign(mesh, _metadata(pair, fault), csr())
    assert caught.value.code() is UNAUTHENTICATED


@pytest.mark.parametrize("fault", ["none", "empty", "garbage", "stolen secret", "wrong secret"])
async def test_trap_01_no_configuration_without_the_instances_own_credential(
    mesh: Mesh, pair: Pair, fault: str
) -> None:
    assert await in_thread(_subscribe, mesh, _metadata(pair, fault)) is UNAUTHENTICATED


def _subscribe(mesh: Mesh, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """The status that ends the stream. Blocking: grpc.aio would tell of its own failed write instead."""
    hello = mesh_pb2.SubscribeRequest(hello=mesh_pb2.Hello())
    with grpc.secure_channel(mesh.grpc_address, mesh.registry_trust) as channel:
        stub: Any = mesh_pb2_grpc.MeshStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Subscribe(iter([hello]), metadata=metadata, timeout=10))
        code: grpc.StatusCode = caught.value.code()
        return code


def _metadata(pair: Pair, fault: str) -> tuple[tuple[str, str], ...]:
    own = pair.client.credential
    if fault == "none":
        return ()
    if fault == "empty":
        return (("weft-credential", ""),)
    if fault == "garbage":
        return (("weft-credential", "let me in"),)
    if fault == "stolen secret":  # sound, but of another instance
        return (replace(own, instance_key=pair.server.credential.instance_key).metadata(),)
    return (replace(own, secret="A" * 43).metadata(),)


def test_trap_02_a_credential_that_others_may_read_is_refused(mesh: Mesh, pair: Pair) -> None:
    exposed = mesh.folder / "exposed.json"
    exposed.write_bytes(pair.client.credential_path.read_bytes())
    exposed.chmod(0o644)
    child = mesh.processes.start_weft("exposed", "sidecar", "--credential", str(exposed))
    code = child.wait(10)
    mesh.processes.forget(child)
    said = child.said().strip()
    assert code != 0
    assert len(said.splitlines()) == 1 and str(exposed) in said
    assert pair.client.credential.secret not in said


def test_trap_02_what_a_sidecar_keeps_on_disk_is_for_its_owner_alone(mesh: Mesh) -> None:
    member = mesh.add("keeper", app_port=free_port(), sidecar=False)
    state = mesh.folder / "keeper-state"
    mesh.start_sidecar(member, "--state-dir", str(state))
    mesh.wait(member)
    wait_for(lambda: [path for path in state.rglob("*") if path.is_file()], "a cached snapshot")
    for path in (state, *state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"


def test_trap_02_the_leaf_endpoint_gives_a_key_by_contract(mesh: Mesh) -> None:
    chain, key = mesh.registry.leaf("client")
    assert "BEGIN CERTIFICATE" in chain and "PRIVATE KEY" in key


async def test_trap_03_the_registry_proves_itself_by_a_root_of_its_own(mesh: Mesh, pair: Pair) -> None:
    host, port = mesh.grpc_address.rsplit(":", 1)
    registry_root = pair.client.credential.registry_ca_pem
    mesh_roots = await in_thread(mesh.registry.roots_pem)
    for roots, trusted in ((registry_root, True), (mesh_roots, False)):
        context = ssl.create_default_context(cadata=roots)
        context.set_alpn_protocols(["h2"])
        verdict = contextlib.nullcontext() if trusted else pytest.raises(ssl.SSLCertVerificationError)
        with verdict:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()


async def test_trap_04_a_revoked_instance_is_cut_off_within_a_second(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.add("lender")
    thief = mesh.add("thief", app_port=free_port(), sidecar=False)
    await in_thread(mesh.registry.intend, "thief", "lender", "allow")
    await in_thread(mesh.wait, server)
    context = context_of(await identity_of(mesh, thief), tmp_path)
    async with raw_connection(server.public_port, context) as client:
        stream = client.request("/matrix.v1.Matrix/Bidi", body=b"open", end=False)
        await client.has_data(stream)
        await mesh.revoke(thief)
        start = time.monotonic()
        await client.until_closed()
        assert time.monotonic() - start < WITHIN_S
    with pytest.raises(Refused):
        async with raw_connection(server.public_port, context):
            pass
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await identity_of(mesh, thief)
    assert caught.value.code() is UNAUTHENTICATED


@pytest.mark.parametrize("how", ["revoked", "deregistered"])
async def test_trap_04_its_own_sidecar_stops_serving(mesh: Mesh, how: str) -> None:
    server = mesh.add(f"host-{how}")
    leaver = mesh.add(f"leaver-{how}", upstreams=[server.service], app_port=free_port())
    await in_thread(mesh.registry.intend, leaver.service, server.service, "allow")
    await in_thread(mesh.wait, server, leaver)
    async with connect(leaver.to(server.service)) as client:
        wish = Wish(id=new_id(), hang=True)
        call = client.start("server_stream", [b"m"], metadata=(wish.as_metadata(),))
        await until(lambda: client.seen(wish.id), "the stream is open")
        start = time.monotonic()
        if how == "revoked":
            await mesh.revoke(leaver)
        else:
            await in_thread(mesh.registry.deregister, leaver.id)
        with pytest.raises(grpc.aio.AioRpcError):
            await client.replies("server_stream", call)
        assert time.monotonic() - start < WITHIN_S
    assert await in_thread(leaver.running.wait, 10) != 0, leaver.running.said()
    mesh.processes.forget(leaver.running)
    assert leaver.credential.secret not in leaver.running.said()


async def test_trap_06_the_app_learns_its_caller_from_the_sidecar_alone(mesh: Mesh, pair: Pair) -> None:
    forged = "By=spiffe://evil;URI=spiffe://evil/ns/default/dc/dc1/svc/root"
    async with connect(pair.target) as client:
        wish = Wish(id=new_id())
        metadata = (wish.as_metadata(), ("x-forwarded-client-cert", forged))
        await client.replies("unary", client.start("unary", [b"m"], metadata=metadata))
        record = await client.ended_as(wish.id, "done")
    values = [value for key, value in record["metadata"] if key == "x-forwarded-client-cert"]
    assert len(values) == 1 and "evil" not in values[0]
    assert f"URI=spiffe://{pair.client.credential.trust_domain}/ns/default/dc/dc1/svc/client" in values[0]


async def test_trap_07_a_session_is_never_resumed(mesh: Mesh, pair: Pair, tmp_path: Path) -> None:
    chain, key = await in_thread(mesh.registry.leaf, "client")
    context = client_context(tmp_path, chain.encode(), key.encode())
    async with raw_connection(pair.server.public_port, context) as client:
        answer = await client.answer(client.request("/matrix.v1.Matrix/Name", body=b""))
        assert answer.get("grpc-status") == "0"
        session = client.tls.session
        assert session is None or not session.has_ticket


def strange_context(mesh: Mesh, kind: str, folder: Path) -> ssl.SSLContext | None:
    """A client context for each way of not belonging."""
    if kind == "plaintext":
        return None
    if kind == "no certificate":
        return client_context(folder)
    if kind == "expired":
        return own_ca_context(mesh, folder, begun_ago=timedelta(seconds=30), ttl=timedelta(seconds=10))
    trust_domain = mesh.trust_domain if kind == "another CA for our name" else "elsewhere.example"
    leaf = Domain(trust_domain, datetime.now(UTC)).leaf("client")
    return client_context(folder, leaf.chain_pem, leaf.key_pem)


async def ca_key(mesh: Mesh, copy: Path) -> ec.EllipticCurvePrivateKey:
    """As a thief of both the log and the operator's key would have it."""
    shutil.copytree(mesh.folder / "data", copy)
    keyring = operator_key.read_file(copy / "keys" / "operator.key")
    async with running_registry(data_dir=copy, node_name="") as client:
        return SigningKey(keyring).of(client.registry.log.view())


def own_ca_context(mesh: Mesh, folder: Path, begun_ago: timedelta, ttl: timedelta) -> ssl.SSLContext:
    """A leaf of `client`, signed by the mesh's own CA key, with other dates than it would give."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_leaf_for_key(
        x509.load_pem_x509_certificate(mesh.registry.roots_pem().encode()),
        asyncio.run(ca_key(mesh, folder / "stolen")),
        key.public_key(),
        SpiffeId(mesh.trust_domain, "dc1", "client"),
        serial=4711,
        now=datetime.now(UTC) - begun_ago,
        ttl=ttl,
    )
    return client_context(folder, chain_to_pem([issued.leaf_der]), private_pem(key))


@pytest.mark.parametrize(
    "kind", ["plaintext", "no certificate", "another trust domain", "another CA for our name", "expired"]
)
async def test_trap_08_a_stranger_is_refused_before_any_byte_reaches_the_app(
    mesh: Mesh, vault: Member, kind: str, tmp_path: Path
) -> None:
    context = await in_thread(strange_context, mesh, kind, tmp_path)
    async with tripwire(vault.app_port) as wire:
        with pytest.raises(Refused):
            async with raw_connection(vault.public_port, context) as client:
                client.request("/vault/Open", body=b"stranger")
                await client.until_closed()
        assert wire.connections == 0


@pytest.mark.parametrize("leaf", ["of the API", "of the CA's key"])
async def test_trap_08_a_friend_does_reach_the_app(
    mesh: Mesh, vault: Member, leaf: str, tmp_path: Path
) -> None:
    """The tripwire of the test above would have been touched."""
    if leaf == "of the API":
        chain, key = await in_thread(mesh.registry.leaf, "client")
        context = client_context(tmp_path, chain.encode(), key.encode())
    else:
        hour = timedelta(hours=1)
        context = await in_thread(own_ca_context, mesh, tmp_path, timedelta(seconds=30), hour)
    async with tripwire(vault.app_port) as wire, raw_connection(vault.public_port, context) as client:
        client.request("/vault/Open", body=b"a friend")
        await until(lambda: wire.connections, "the application is reached")


async def test_trap_08_a_denied_service_is_refused_before_any_byte_reaches_the_app(
    mesh: Mesh, vault: Member, tmp_path: Path
) -> None:
    chain, key = await in_thread(mesh.registry.leaf, "matrix")  # sound, but no intention allows it
    context = client_context(tmp_path, chain.encode(), key.encode())
    async with tripwire(vault.app_port) as wire:
        with contextlib.suppress(Refused):
            async with raw_connection(vault.public_port, context) as client:
                answer = await client.answer(client.request("/vault/Open", body=b"denied"))
                assert answer.get("grpc-status") in ("7", None)
        assert wire.connections == 0
