"""The port for agents: who may do what there, certificates that follow one another, leases."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import issue_leaf_for_key, new_root
from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import private_pem
from registry.catalog.enrolment import remove_agent
from registry.liveness.limits import Patience
from registry.membership.files import Membership
from tests.support.enrolment import KEEPALIVE, agents, channel, hello, joined
from tests.support.grpc_eof import EOF
from tests.support.registry import Client, running_registry, until
from weft.pb.agent.v1 import agent_pb2 as pb
from weft.spiffe import AgentId

Code = grpc.StatusCode
TIMEOUT_S = 10.0


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_registry(patience=Patience(lost_after_s=0.2, leader_grace_s=0)) as found:
        yield found


@pytest.fixture
async def member(client: Client, tmp_path: Path) -> Membership:
    return await joined(client, tmp_path)


def of(client: Client, member: Membership) -> grpc.aio.Channel:
    return channel(client, member.key_pem, member.chain_pem)


def csr() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


async def refused(line: grpc.aio.Channel) -> list[Code]:
    """What each method says to a caller."""
    stub = agents(line)
    codes = []
    renewal = stub.Renew(pb.RenewRequest(csr_der=csr()), timeout=TIMEOUT_S)
    lease = stub.Lease(iter([hello()]), timeout=TIMEOUT_S)
    for call, answer in ((renewal, renewal), (lease, lease.read())):
        try:
            await answer
        except grpc.aio.AioRpcError:  # of a stream whose first write failed, the call knows more
            codes.append(await call.code())
        else:
            codes.append(Code.OK)
    return codes


async def test_trap_1_no_certificate_opens_nothing(client: Client) -> None:
    async with channel(client, None, None) as line:
        assert await refused(line) == [Code.UNAVAILABLE] * 2  # TLS ends it


async def test_trap_3_a_service_certificate_is_no_agent(client: Client) -> None:
    await client.register({"Name": "web"})
    leaf = await client.get("/v1/agent/connect/ca/leaf/web")
    async with channel(client, leaf["PrivateKeyPEM"], leaf["CertPEM"]) as line:
        assert await refused(line) == [Code.UNAUTHENTICATED] * 2


async def test_trap_8_another_root_is_not_taken(client: Client) -> None:
    """It names this trust domain and a node; the key is anybody's."""
    key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    domain, now = client.registry.trust_domain, datetime.now(UTC)
    root = new_root(domain, key, 1, now)
    leaf = issue_leaf_for_key(root, key, leaf_key.public_key(), AgentId(domain, "dc1", "vm-1"), 2, now)
    chain = chain_to_pem([leaf.leaf_der]) + der_to_pem(root.public_bytes(Encoding.DER)).encode()
    async with channel(client, private_pem(leaf_key), chain) as line:
        assert await refused(line) == [Code.UNAVAILABLE] * 2


async def test_trap_4_a_removed_agent_is_refused_and_loses_its_lease(
    client: Client, member: Membership
) -> None:
    async with of(client, member) as line:
        stream = agents(line).Lease()
        await stream.write(hello())
        assert (await stream.read()).keepalive_ms == 1000
        await client.registry.log.propose(
            client.registry._writer.stamped(lambda it: remove_agent(it, "vm-1"))
        )
        await stream.write(KEEPALIVE)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stream.read()
        assert refusal.value.code() is Code.UNAUTHENTICATED
        assert await refused(line) == [Code.UNAUTHENTICATED] * 2


async def test_the_next_certificate_is_of_another_key_and_both_are_taken(
    client: Client, member: Membership
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    async with of(client, member) as line:
        answer = await agents(line).Renew(pb.RenewRequest(csr_der=request.public_bytes(Encoding.DER)))
        assert answer.certificate.spiffe_id.endswith("/agent/client/dc/dc1/id/vm-1")
        assert list(answer.cluster.agent_addresses) == [client.registry.agents]
        chain = chain_to_pem(answer.certificate.chain_der)
        async with channel(client, private_pem(key), chain) as renewed:
            assert await refused(renewed) == [Code.OK, Code.OK]
        assert (await refused(line))[0] is Code.OK


async def test_trap_1_names_in_a_request_are_ignored(client: Client, member: Membership) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = AgentId(client.registry.trust_domain, "dc1", "vm-2").uri
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(other)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    async with of(client, member) as line:
        answer = await agents(line).Renew(pb.RenewRequest(csr_der=request.public_bytes(Encoding.DER)))
    assert answer.certificate.spiffe_id.endswith("/id/vm-1")


async def until_status(client: Client, wanted: str) -> None:
    def there() -> bool:
        row = client.registry.log.view().checks.get(("vm-1", "serfHealth"))
        return row is not None and row.status == wanted

    await until(there)


async def test_a_lease_makes_the_node_known_and_its_end_makes_it_critical(
    client: Client, member: Membership
) -> None:
    async with of(client, member) as line:
        stream = agents(line).Lease()
        await stream.write(hello(meta={"rack": "7"}, tagged_addresses={"lan": "10.0.0.7"}))
        await stream.read()
        await until_status(client, "passing")
        (row,) = [it for it in await client.get("/v1/catalog/nodes") if it["Node"] == "vm-1"]
        assert (row["Meta"], row["TaggedAddresses"]) == ({"rack": "7"}, {"lan": "10.0.0.7"})
        stream.cancel()
        await until_status(client, "critical")
        again = agents(line).Lease()
        await again.write(hello())
        await until_status(client, "passing")


async def test_a_silent_agent_loses_its_lease(client: Client, member: Membership) -> None:
    async with of(client, member) as line:
        stream = agents(line).Lease()
        await stream.write(hello())
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError, match="no word") as refusal:
            await stream.read()
        assert refusal.value.code() is Code.UNAVAILABLE
        await until_status(client, "critical")


async def test_the_newest_connection_of_an_agent_counts(client: Client, member: Membership) -> None:
    async with of(client, member) as line, of(client, member) as other:
        first, second = agents(line).Lease(), agents(other).Lease()
        await first.write(hello())
        await first.read()
        await second.write(hello())
        await second.read()
        await first.write(KEEPALIVE)
        with pytest.raises(grpc.aio.AioRpcError, match="another connection") as refusal:
            await first.read()
        assert refusal.value.code() is Code.ABORTED
        await second.write(KEEPALIVE)
        assert await second.read() is not EOF


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (KEEPALIVE, "Hello"),
        (hello(address=""), "Address"),
        (hello(address="0.0.0.0"), "others cannot reach it"),
        (hello(node_id="x"), "Node ID"),
        (hello(meta={"bad key": "x"}), "NodeMeta"),
    ],
    ids=["no hello", "no address", "any address", "no uuid", "bad meta"],
)
async def test_a_bad_hello_is_told_what_is_wrong(
    client: Client, member: Membership, first: pb.LeaseRequest, said: str
) -> None:
    async with of(client, member) as line:
        stream = agents(line).Lease()
        await stream.write(first)
        with pytest.raises(grpc.aio.AioRpcError, match=said) as refusal:
            await stream.read()
        assert refusal.value.code() is Code.INVALID_ARGUMENT


async def test_a_node_that_was_deregistered_comes_back(client: Client, member: Membership) -> None:
    async with of(client, member) as line:
        stream = agents(line).Lease()

        async def speak() -> None:
            await stream.write(hello())
            while await stream.read() is not EOF:
                await asyncio.sleep(0.3)
                await stream.write(KEEPALIVE)

        speaking = asyncio.ensure_future(speak())
        await until_status(client, "passing")
        await client.put("/v1/catalog/deregister", {"Node": "vm-1"})
        await until(lambda: ("vm-1",) not in client.registry.log.view().nodes)
        await until(lambda: ("vm-1",) in client.registry.log.view().nodes)
        speaking.cancel()


async def test_an_agent_that_is_silent_for_very_long_goes(tmp_path: Path) -> None:
    patience = Patience(lost_after_s=0.2, gone_after_s=0.5, leader_grace_s=0)
    async with running_registry(patience=patience) as client:
        member = await joined(client, tmp_path)
        async with of(client, member) as line:
            stream = agents(line).Lease()
            await stream.write(hello())
            await until(lambda: ("vm-1",) in client.registry.log.view().nodes)
            stream.cancel()
            await until(lambda: ("vm-1",) not in client.registry.log.view().nodes)
            again = agents(line).Lease()  # its certificate is still good
            await again.write(hello())
            await until(lambda: ("vm-1",) in client.registry.log.view().nodes)


async def test_trap_7_an_ended_certificate_holds_no_lease(tmp_path: Path) -> None:
    """TLS looks at the handshake only: a stream must not outlive what it rests on."""
    async with running_registry(leaf_ttl=timedelta(seconds=10)) as client:
        member = await joined(client, tmp_path)
        clock = client.registry._clock
        async with of(client, member) as line:
            stream = agents(line).Lease()
            await stream.write(hello())
            await stream.read()
            wall = clock.wall
            clock.wall = lambda: wall() + 11  # type: ignore[method-assign]
            await stream.write(KEEPALIVE)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await stream.read()
            assert refusal.value.code() is Code.UNAUTHENTICATED


def test_a_membership_shows_no_secret() -> None:
    shown = repr(
        replace(
            Membership("n", "dc1", "td", "the key", "", 0, 0, "", "", "", (), ()), acl_secret="the secret"
        )
    )
    assert "the key" not in shown
    assert "the secret" not in shown
