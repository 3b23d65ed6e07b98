"""To the registry with a credential, and to its pinned root only."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from ca.bundle import der_to_pem
from sidecar.errors import CredentialRejected, RegistryUnreachable
from sidecar.session import Session
from tests.support.fake_registry import FakeRegistry
from tests.support.pki import csr
from tests.support.processes import free_port
from tests.support.waiting import until
from weft.pb.mesh.v1 import mesh_pb2


async def sign(session: Session) -> mesh_pb2.SignCertificateResponse:
    try:
        return await session.sign(csr())
    finally:
        await session.close()


async def test_the_credential_signs_in(registry: FakeRegistry) -> None:
    answer = await sign(Session(registry.credential))
    assert answer.spiffe_id == registry.identity.uri


async def test_trap_01_a_wrong_secret_is_final_and_not_repeated(registry: FakeRegistry) -> None:
    credential = replace(registry.credential, secret="x" * 43)
    with pytest.raises(CredentialRejected, match="register the service again") as refused:
        await sign(Session(credential))
    assert "x" * 43 not in str(refused.value)


async def test_trap_03_only_the_pinned_root_is_the_registry(registry: FakeRegistry) -> None:
    """Not even the mesh's own root will do."""
    pem = der_to_pem(registry.domain.root_der)
    with pytest.raises(RegistryUnreachable):
        await sign(Session(replace(registry.credential, registry_ca_pem=pem)))
    assert not registry.heard.csrs


async def test_a_registry_that_is_not_there_is_one_line() -> None:
    registry = FakeRegistry()
    registry.port = free_port()
    with pytest.raises(
        RegistryUnreachable, match=f"registry 127.0.0.1:{registry.port}: UNAVAILABLE"
    ) as error:
        await sign(Session(registry.credential))
    assert "\n" not in str(error.value)


async def test_the_next_address_is_tried(registry: FakeRegistry) -> None:
    session = Session(registry.credential, (f"127.0.0.1:{free_port()}", f"127.0.0.1:{registry.port}"))
    with pytest.raises(RegistryUnreachable):
        await session.sign(csr())
    await session.next_address()
    assert (await sign(session)).spiffe_id


async def test_who_waits_for_a_signature_is_told_that_another_address_is_tried(
    registry: FakeRegistry,
) -> None:
    """Not cancelled: who renews certificates would end for ever, and nobody would hear of it."""
    registry.silent = True
    session = Session(registry.credential, (f"127.0.0.1:{registry.port}", f"127.0.0.1:{free_port()}"))
    signing = asyncio.ensure_future(session.sign(csr()))
    await until(lambda: registry.heard.asked, "the registry is asked")
    await session.next_address()
    with pytest.raises(RegistryUnreachable, match=f"registry 127.0.0.1:{registry.port}: .* given up"):
        await signing
    await session.close()


async def test_so_is_who_is_subscribed(registry: FakeRegistry) -> None:
    async def take(_: mesh_pb2.Delta) -> mesh_pb2.Ack:
        return mesh_pb2.Ack()

    session = Session(registry.credential)
    subscribed = asyncio.ensure_future(session.subscribe(mesh_pb2.Hello(), take))
    await until(lambda: registry.heard.acks, "the subscription is there")
    await session.close()
    with pytest.raises(RegistryUnreachable, match="given up"):
        await subscribed


async def test_who_is_cancelled_stays_cancelled(registry: FakeRegistry) -> None:
    registry.silent = True
    session = Session(registry.credential)
    signing = asyncio.ensure_future(session.sign(csr()))
    await until(lambda: registry.heard.asked, "the registry is asked")
    signing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await signing
    await session.close()


async def test_so_is_who_is_cancelled_while_grpc_fails(registry: FakeRegistry) -> None:
    """grpc.aio forgets a cancellation that comes while it begins a call; the call's own failure follows."""
    session = Session(registry.credential)
    empty = grpc.aio.Metadata()
    failure = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, "away", "away")

    async def call() -> None:
        with session._translated():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise failure from None

    called = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
