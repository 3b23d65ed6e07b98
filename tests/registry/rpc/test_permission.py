"""The matrix of gRPC: every method of every service against every kind of caller.

Made from the descriptors, so that a method without a rule, or without its story here, fails.
"""

import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from registry.process import AclSettings
from registry.rpc.permission import RULES, Proof
from tests.registry.api.test_acl import Tokens, make, tokens
from tests.registry.rpc.test_mesh import csr
from tests.support.grpc_eof import EOF
from tests.support.registry import Client, running_registry
from weft import pb
from weft.credential import METADATA_KEY as CREDENTIAL_KEY
from weft.credential import Credential
from weft.pb.mesh.v1 import mesh_pb2, observe_pb2
from weft.pb.registration.v1 import registration_pb2
from weft.pb.server.v1 import server_pb2

Code = grpc.StatusCode
HERE = [path for path, rule in RULES.items() if rule.proof is not Proof.CERTIFICATE]
"""The others are served by the listener of agents: test_agents.py."""


def methods() -> dict[str, MethodDescriptor]:
    """Of every service of ours, by path."""
    found = {}
    for module in pkgutil.walk_packages(pb.__path__, "weft.pb."):
        if module.name.endswith("_pb2"):
            for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    found[f"/{service.full_name}/{method.name}"] = method
    return found


METHODS = methods()


def test_every_method_has_a_rule() -> None:
    assert len(METHODS) >= 7
    packages = {path: it.containing_service.file.package for path, it in METHODS.items()}
    here = {path for path, it in packages.items() if it.startswith("weft.")}
    assert here == set(RULES), "say in registry/rpc/permission.py what the method asks of its caller"


REQUESTS: dict[str, Callable[[], Any]] = {
    "/weft.mesh.v1.Mesh/SignCertificate": lambda: mesh_pb2.SignCertificateRequest(csr_der=csr()),
    "/weft.mesh.v1.Mesh/Subscribe": lambda: mesh_pb2.SubscribeRequest(hello=mesh_pb2.Hello()),
    "/weft.mesh.v1.Mesh/Observe": observe_pb2.Observation,
    "/weft.registration.v1.Registration/Register": lambda: registration_pb2.RegisterRequest(
        definition_json=orjson.dumps({"Name": "web", "Port": 80})
    ),
    "/weft.registration.v1.Registration/Deregister": lambda: registration_pb2.DeregisterRequest(
        service_id="web"
    ),
    "/weft.registration.v1.Registration/RevokeCredential": lambda: registration_pb2.RevokeCredentialRequest(
        service_id="web"
    ),
    "/weft.server.v1.Servers/Proxies": server_pb2.ProxiesRequest,
    "/weft.server.v1.Servers/Report": server_pb2.ReportRequest,
    "/weft.server.v1.Servers/ReportAgents": server_pb2.ReportAgentsRequest,
    "/weft.server.v1.Servers/Tap": lambda: server_pb2.TapRequest(service="web", query="seconds=5"),
}
"""What a caller sends first that is right but for who sends it."""


@dataclass(frozen=True)
class Who:
    """Callers, by what they send as metadata."""

    tokens: Tokens
    read: str
    write: str
    web: Credential
    withdrawn: Credential


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    async with running_registry(acl=AclSettings()) as found:
        yield found


async def callers(client: Client) -> Who:
    """With a service `web` registered, and one more instance whose credential was withdrawn."""
    known = await tokens(client)
    made = {}
    for access in ("read", "write"):
        rules = f'service "web" {{ policy = "{access}" }}'
        await make(client, known.management, "/v1/acl/policy", {"Name": access, "Rules": rules})
        token = await make(client, known.management, "/v1/acl/token", {"Policies": [{"Name": access}]})
        made[access] = token["SecretID"]
    credentials = []
    for name in ("old", "web"):
        _, _, body = await client.call(
            "PUT",
            "/v1/agent/service/register?credential",
            {"Name": name, "Port": 80, "Connect": {"SidecarService": {}}},
            X_Consul_Token=known.management,
        )
        credentials.append(Credential.from_json(body))
    await client.call("PUT", "/v1/agent/service/deregister/old", X_Consul_Token=known.management)
    return Who(known, made["read"], made["write"], credentials[1], credentials[0])


async def call(client: Client, path: str, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    """What the server says to a call with its first message only; a stream that goes on is OK.

    A client of grpc.aio that writes while the refusal arrives forgets it, and has this status of its own.
    """
    for _ in range(10):
        if (told := await called(client, path, *metadata)) != (Code.INTERNAL, "Internal error from Core"):
            break
    return told


async def called(client: Client, path: str, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    method = METHODS[path]
    answer = message_factory.GetMessageClass(method.output_type)
    async with client.channel() as channel:
        try:
            if method.client_streaming:
                bare: Any = channel  # its stubs want requests as an iterator
                stream = bare.stream_stream(path, lambda it: it.SerializeToString(), answer.FromString)
                opened = stream(metadata=metadata, timeout=20)
                with contextlib.suppress(grpc.aio.AioRpcError):  # refused already: the read tells how
                    await opened.write(REQUESTS[path]())
                try:
                    assert await opened.read() is not EOF
                except (grpc.aio.AioRpcError, AssertionError):  # the call knows what the server said
                    return await opened.code(), await opened.details() or ""
            elif method.server_streaming:
                told = channel.unary_stream(path, lambda it: it.SerializeToString(), answer.FromString)
                await told(REQUESTS[path](), metadata=metadata, timeout=20).read()
            else:
                unary = channel.unary_unary(path, lambda it: it.SerializeToString(), answer.FromString)
                await unary(REQUESTS[path](), metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
    return Code.OK, ""


@pytest.mark.parametrize("path", HERE)
async def test_trap_01_every_method_refuses_who_may_not(guarded: Client, path: str) -> None:
    who, rule = await callers(guarded), RULES[path]
    refused = Code.PERMISSION_DENIED if rule.proof is Proof.TOKEN else Code.UNAUTHENTICATED
    with_token = ("", who.tokens.denied, who.tokens.other, who.tokens.expired, who.read, "no such token")
    for token in (*with_token, *(() if rule.proof is Proof.TOKEN else (who.write, who.tokens.management))):
        code, why = await call(guarded, path, *((("x-consul-token", token),) if token else ()))
        assert code is refused, f"{path} with token {token!r}: {code} {why}"
    guessed = f"{who.web.instance_key} {who.withdrawn.secret}"
    for proof in (who.withdrawn.metadata()[1], guessed, "nonsense", who.web.secret):
        code, why = await call(guarded, path, (CREDENTIAL_KEY, proof))
        assert code is refused, f"{path} with credential {proof!r}: {code} {why}"
    for proof in ("", "x" * 64):
        code, why = await call(guarded, path, ("weft-server", proof))
        assert code is refused, f"{path} as server {proof!r}: {code} {why}"
    if rule.proof is not Proof.CREDENTIAL:  # a credential is no token, and no server
        assert (await call(guarded, path, who.web.metadata()))[0] is refused


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if rule.proof is Proof.TOKEN])
async def test_every_method_lets_through_who_may_write(guarded: Client, path: str) -> None:
    who = await callers(guarded)
    for token in (who.write, who.tokens.management):
        if path.endswith("/Deregister"):
            again = {"Name": "web", "Port": 80}
            await guarded.call("PUT", "/v1/agent/service/register", again, X_Consul_Token=token)
        code, _ = await call(guarded, path, ("x-consul-token", token))
        assert code in (Code.OK, Code.NOT_FOUND), path  # a credential that is withdrawn already


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if rule.proof is Proof.CREDENTIAL])
async def test_every_method_lets_through_the_instance(guarded: Client, path: str) -> None:
    who = await callers(guarded)
    assert await call(guarded, path, who.web.metadata()) == (Code.OK, "")


async def test_a_method_that_is_served_without_a_rule_is_not_there(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, path = await callers(guarded), "/weft.registration.v1.Registration/Register"
    monkeypatch.delitem(RULES, path)
    assert (await call(guarded, path, ("x-consul-token", who.write)))[0] is Code.UNIMPLEMENTED
