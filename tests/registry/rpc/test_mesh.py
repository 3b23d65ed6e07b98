"""The mesh contract over real gRPC and TLS: credentials, certificates, configuration."""

import asyncio
from typing import Any

import grpc
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.grpc_eof import EOF
from tests.support.registry import Client, mesh, registration, until
from weft.credential import METADATA_KEY, Credential
from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.pb.registration.v1 import registration_pb2

WEB: dict[str, object] = {
    "Name": "web",
    "Port": 8080,
    "Connect": {
        "SidecarService": {"Proxy": {"Upstreams": [{"DestinationName": "orders", "LocalBindPort": 9191}]}}
    },
}
ORDERS: dict[str, object] = {"Name": "orders", "Port": 8081, "Connect": {"SidecarService": {"Checks": []}}}
SOON_S = 15.0


def csr(*names: str, common_name: str = "") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def sign(client: Client, credential: Credential, request: bytes) -> pb.SignCertificateResponse:
    async with client.channel() as channel:
        call = mesh(channel).SignCertificate(
            pb.SignCertificateRequest(csr_der=request), metadata=(credential.metadata(),)
        )
        answer: pb.SignCertificateResponse = await call
        return answer


class Sidecar:
    """A subscription as a sidecar has it: applies deltas and acknowledges them."""

    def __init__(self, channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> None:
        self.call: Any = mesh(channel).Subscribe(metadata=metadata)
        self.resources: dict[str, pb.Resource] = {}
        self.deltas = 0

    async def hello(self, **versions: str) -> "Sidecar":
        await self.call.write(pb.SubscribeRequest(hello=pb.Hello(versions=versions)))
        return self

    async def delta(self, *, ack: bool = True) -> pb.Delta:
        async with asyncio.timeout(SOON_S):
            delta = await self.call.read()
        assert isinstance(delta, pb.Delta), f"the stream ended: {await self.call.code()}"
        self.deltas += 1
        self.resources.update({resource.name: resource for resource in delta.upserts})
        for name in delta.removed:
            self.resources.pop(name, None)
        if ack:
            await self.ack(delta.nonce)
        return delta

    async def ack(self, nonce: int, error: str = "") -> None:
        await self.call.write(pb.SubscribeRequest(ack=pb.Ack(nonce=nonce, error=error)))

    async def ended(self) -> grpc.StatusCode:
        """The status that the stream ends with."""
        async with asyncio.timeout(SOON_S):
            try:
                while await self.call.read() is not EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                assert error.code() is await self.call.code()
            code: grpc.StatusCode = await self.call.code()
            return code


async def code_of(awaitable: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await awaitable
    code: grpc.StatusCode = refusal.value.code()
    return code


def uri_of(leaf_der: bytes) -> list[str]:
    leaf = x509.load_der_x509_certificate(leaf_der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(names.get_values_for_type(x509.UniformResourceIdentifier))


# Registration


async def test_registering_over_grpc_is_registering_over_http(client: Client) -> None:
    async with client.channel() as channel:
        request = registration_pb2.RegisterRequest(definition_json=orjson.dumps(WEB))
        answer = await registration(channel).Register(request)
        assert answer.credential.instance_key == "dc1/n1/web"
        assert set(await client.get("/v1/agent/services")) == {"web", "web-sidecar-proxy"}
        await registration(channel).Deregister(registration_pb2.DeregisterRequest(service_id="web"))
        assert await client.get("/v1/agent/services") == {}
        again = registration(channel).Deregister(registration_pb2.DeregisterRequest(service_id="web"))
        assert await code_of(again) is grpc.StatusCode.NOT_FOUND
        broken = registration(channel).Register(registration_pb2.RegisterRequest(definition_json=b"{"))
        assert await code_of(broken) is grpc.StatusCode.INVALID_ARGUMENT


# Certificates


async def test_trap_1_names_in_a_csr_are_ignored(client: Client) -> None:
    credential = await client.credential(WEB)
    other = f"spiffe://{credential.trust_domain}/ns/default/dc/dc1/svc/payments"
    answer = await sign(client, credential, csr(other, common_name="payments"))
    own = f"spiffe://{credential.trust_domain}/ns/default/dc/dc1/svc/web"
    assert uri_of(answer.chain_der[0]) == [answer.spiffe_id] == [own]
    assert b"payments" not in answer.chain_der[0]


async def test_trap_1_a_stolen_credential_is_bound_to_its_own_instance(client: Client) -> None:
    """Whoever has the secret of web is web, under whatever instance key it is sent."""
    web, orders = await client.credential(WEB), await client.credential(ORDERS)
    mixed = Credential(
        orders.instance_key, web.secret, web.registry_ca_pem, web.registry_addresses, web.trust_domain
    )
    assert await code_of(sign(client, mixed, csr())) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "metadata",
    [(), ((METADATA_KEY, "dc1/n1/web"),), ((METADATA_KEY, "x y"),), (("authorization", "Bearer x"),)],
)
async def test_trap_1_nothing_is_given_without_a_credential(client: Client, metadata: Any) -> None:
    await client.credential(WEB)
    async with client.channel() as channel:
        signing = mesh(channel).SignCertificate(pb.SignCertificateRequest(csr_der=csr()), metadata=metadata)
        assert await code_of(signing) is grpc.StatusCode.UNAUTHENTICATED
        assert await Sidecar(channel, *metadata).ended() is grpc.StatusCode.UNAUTHENTICATED


async def test_trap_3_a_service_certificate_does_not_vouch_for_the_registry(client: Client) -> None:
    """The registry's certificate is under a root of its own, which is not the mesh's."""
    roots = await client.get("/v1/connect/ca/roots")
    mesh_root = x509.load_pem_x509_certificate(roots["Roots"][0]["RootCert"].encode())
    pinned = x509.load_pem_x509_certificate(client.registry.registry_ca_pem.encode())
    assert mesh_root.public_key() != pinned.public_key()
    pem = roots["Roots"][0]["RootCert"].encode()
    async with grpc.aio.secure_channel(client.registry.grpc, grpc.ssl_channel_credentials(pem)) as channel:
        call = mesh(channel).SignCertificate(pb.SignCertificateRequest(csr_der=csr()), timeout=5)
        assert await code_of(call) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_a_csr_that_cannot_be_read_is_refused(client: Client) -> None:
    credential = await client.credential(WEB)
    assert await code_of(sign(client, credential, b"no csr")) is grpc.StatusCode.INVALID_ARGUMENT


async def test_trap_25_signing_is_rate_limited(client: Client) -> None:
    credential = await client.credential(WEB)
    request = csr()
    for _ in range(10):
        await sign(client, credential, request)
    assert await code_of(sign(client, credential, request)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    other = await client.credential(ORDERS)
    assert (await sign(client, other, request)).spiffe_id.endswith("/svc/orders")


async def test_a_leaf_is_recorded_before_it_is_handed_out(client: Client) -> None:
    credential = await client.credential(WEB)
    answer = await sign(client, credential, csr())
    leaf = x509.load_der_x509_certificate(answer.chain_der[0])
    recorded = client.registry.log.view().leaves_of(credential.instance_key)
    assert [row.serial for row in recorded] == [leaf.serial_number]
    assert answer.not_after_unix_s == int(leaf.not_valid_after_utc.timestamp())


# Configuration


async def test_a_subscription_brings_the_whole_configuration(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta()
        proxy = sidecar.resources["proxy"].proxy
        assert (proxy.instance_key, proxy.service, proxy.app_port) == ("dc1/n1/web", "web", 8080)
        assert sidecar.resources["upstream/orders"].upstream.bind_port == 9191
        assert {"intentions", "revocations", "endpoints/orders.default.default.dc1"} <= set(sidecar.resources)
        assert f"bundle/{credential.trust_domain}" in sidecar.resources


async def test_changes_come_as_deltas_of_what_they_touch(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta()
        await client.register(ORDERS)
        delta = await sidecar.delta()
        assert [resource.name for resource in delta.upserts] == [
            "endpoints/orders.default.default.dc1",
        ]
        (endpoint,) = delta.upserts[0].endpoints.endpoints
        assert endpoint.healthy
        await client.put("/v1/connect/intentions/exact?source=x&destination=web", {"Action": "deny"})
        delta = await sidecar.delta()
        assert [resource.name for resource in delta.upserts] == ["intentions"]
        assert not delta.upserts[0].intentions.rules[0].allow


async def test_entries_that_are_written_by_http_reach_the_sidecars_that_they_are_about(
    client: Client,
) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta()
        resolver: dict[str, object] = {
            "Kind": "service-resolver",
            "Name": "orders",
            "Subsets": {"v1": {}, "v2": {}},
        }
        splits = [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}]
        route = {"Match": {"HTTP": {"PathPrefix": "/new"}}, "Destination": {"ServiceSubset": "v2"}}
        other: dict[str, object] = {"Kind": "service-splitter", "Name": "other", "Splits": [{"Weight": 100}]}
        entries: list[dict[str, object]] = [
            resolver | {"Redirect": {"Service": "billing"}},
            resolver,
            other,  # wakes nobody here: the next delta is of the one after it
            {"Kind": "service-splitter", "Name": "orders", "Splits": splits},
            {"Kind": "service-router", "Name": "orders", "Routes": [route]},
        ]
        seen = []
        for entry in entries:
            assert await client.put("/v1/config", entry) == b"true"
            if entry is not other:
                await sidecar.delta()
                routes = sidecar.resources["upstream/orders"].upstream.routes
                seen.append([[it.target.split(".")[0] for it in route.splits] for route in routes])
        assert seen == [[["billing"]], [["orders"]], [["v1", "v2"]], [["v2"], ["v1", "v2"]]]
        targets = {name.partition("/")[2] for name in sidecar.resources if name.startswith("target/")}
        assert targets == {"v1.orders.default.default.dc1", "v2.orders.default.default.dc1"}
        assert sidecar.deltas == 5


async def test_a_cached_snapshot_gets_what_it_lacks(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        first = await Sidecar(channel, credential.metadata()).hello()
        await first.delta()
        held = {name: resource.version for name, resource in first.resources.items()}
        second = await Sidecar(channel, credential.metadata()).hello(
            **(held | {"intentions": "old", "gone": "1"})
        )
        delta = await second.delta(ack=False)
        assert ([r.name for r in delta.upserts], list(delta.removed)) == (["intentions"], ["gone"])


async def test_at_most_one_delta_is_unacknowledged(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        first = await sidecar.delta(ack=False)
        for source in ("a", "b", "c"):
            await client.put(
                f"/v1/connect/intentions/exact?source={source}&destination=web", {"Action": "deny"}
            )
        reading = asyncio.ensure_future(sidecar.delta(ack=False))
        done, _ = await asyncio.wait((reading,), timeout=0.1)
        assert not done, "sent before the first was acknowledged"
        await sidecar.ack(first.nonce)
        folded = await reading
        assert len(folded.upserts[0].intentions.rules) == 3


async def test_a_refused_delta_is_followed_by_the_next_change_only(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        first = await sidecar.delta(ack=False)
        await sidecar.ack(first.nonce, error="cannot")
        await client.put("/v1/connect/intentions/exact?source=a&destination=web", {"Action": "deny"})
        second = await sidecar.delta()
        assert second.nonce > first.nonce
        assert {"proxy", "intentions"} <= {resource.name for resource in second.upserts}


async def test_untouched_subscribers_are_not_compiled_again(client: Client) -> None:
    """A write costs those whom it concerns, however many others listen."""
    credentials = [
        await client.credential({"Name": f"s{n}", "Connect": {"SidecarService": {"Checks": []}}})
        for n in range(20)
    ]
    meshes = client.registry.mesh
    async with client.channel() as channel:
        sidecars = [await Sidecar(channel, each.metadata()).hello() for each in credentials]
        for sidecar in sidecars:
            await sidecar.delta()
        before = meshes.compilations
        for n in range(10):
            await client.put(
                "/v1/connect/intentions/exact?source=a&destination=s3", {"Action": ("deny", "allow")[n % 2]}
            )
            await sidecars[3].delta()
            await client.register({"Name": f"unrelated-{n}", "Check": {"TTL": "60s"}})
        assert meshes.compilations - before == 10
        assert [sidecar.deltas for sidecar in sidecars] == [11 if n == 3 else 1 for n in range(20)]


# Withdrawal


@pytest.mark.parametrize("how", ["revoked", "deregistered", "replaced"])
async def test_trap_4_a_withdrawn_credential_ends_the_stream_and_its_leaves(client: Client, how: str) -> None:
    web, orders = await client.credential(WEB), await client.credential(ORDERS)
    serial = x509.load_der_x509_certificate((await sign(client, web, csr())).chain_der[0]).serial_number
    async with client.channel() as channel:
        victim = await Sidecar(channel, web.metadata()).hello()
        peer = await Sidecar(channel, orders.metadata()).hello()
        await victim.delta()
        await peer.delta()
        if how == "revoked":
            request = registration_pb2.RevokeCredentialRequest(service_id="web")
            await registration(channel).RevokeCredential(request)
        elif how == "deregistered":
            await client.put("/v1/agent/service/deregister/web")
        else:
            await client.credential(WEB)
        async with asyncio.timeout(1.0):  # the rule's own bound
            assert await victim.ended() is grpc.StatusCode.UNAUTHENTICATED
            await peer.delta()
        (leaf,) = peer.resources["revocations"].revocations.leaves
        assert int.from_bytes(leaf.serial) == serial
        assert leaf.trust_domain == web.trust_domain
    assert await code_of(sign(client, web, csr())) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("ack", [True, False])
async def test_trap_4_a_stream_ends_without_leaves_and_without_its_ack_too(client: Client, ack: bool) -> None:
    """Nothing moves but the credential itself, and the sidecar may owe an answer."""
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta(ack=ack)
        request = registration_pb2.RevokeCredentialRequest(service_id="web")
        await registration(channel).RevokeCredential(request)
        assert await sidecar.ended() is grpc.StatusCode.UNAUTHENTICATED


# Order and bounds


async def test_a_stream_that_does_not_begin_with_hello_is_refused(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = Sidecar(channel, credential.metadata())
        await sidecar.ack(1)
        assert await sidecar.ended() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_instance_without_a_sidecar_has_no_configuration(client: Client) -> None:
    credential = await client.credential({"Name": "plain"})
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        assert await sidecar.ended() is grpc.StatusCode.NOT_FOUND


async def test_streams_of_one_instance_are_bounded_and_given_back(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        open_ones = [await Sidecar(channel, credential.metadata()).hello() for _ in range(4)]
        for sidecar in open_ones:
            await sidecar.delta()
        extra = await Sidecar(channel, credential.metadata()).hello()
        assert await extra.ended() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await open_ones[0].call.done_writing()
        assert await open_ones[0].ended() is grpc.StatusCode.OK
        again = await Sidecar(channel, credential.metadata()).hello()
        await again.delta()
        for sidecar in (*open_ones[1:], again):
            sidecar.call.cancel()
        await until(lambda: not client.registry.mesh._streams)


async def test_what_a_draining_instance_still_carries_is_told_by_its_check(client: Client) -> None:
    credential = await client.credential(WEB)

    async def output() -> str:
        row = (await client.get("/v1/agent/checks"))["_service_maintenance:web-sidecar-proxy"]
        return str(row["Output"])

    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta()
        await client.put("/v1/agent/service/maintenance/web-sidecar-proxy?enable=true")
        while not sidecar.resources["proxy"].proxy.draining:
            await sidecar.delta()
        for requests in (2, 0):
            told = pb.SubscribeRequest(open=pb.Open(requests=requests, begun=7))
            async with asyncio.timeout(SOON_S):
                while await output() != f"{requests} requests open, 7 begun since":
                    await sidecar.call.write(told)
        await client.put("/v1/agent/service/maintenance/web-sidecar-proxy?enable=false")
        while sidecar.resources["proxy"].proxy.draining:
            await sidecar.delta()
        sidecar.call.cancel()
