"""Agents that join a registry which runs in this process, and hold leases by hand."""

import json
from pathlib import Path
from typing import Any

import grpc

from registry.identity.join_text import JoinText
from registry.membership.files import Membership, MembershipFiles
from registry.membership.joining import Joiner
from registry.replica.peer_tls import server_name
from tests.support.registry import Client
from weft.pb.agent.v1 import agent_pb2 as pb
from weft.pb.agent.v1 import agent_pb2_grpc

NODE_ID = "6d8a3a5e-1d2c-4a6b-9f00-0000000000{:02d}"


async def join_text(client: Client, body: dict[str, object] | None = None, **headers: str) -> JoinText:
    """A new join token's text."""
    status, _, answer = await client.call("PUT", "/v1/join-token", body or {"Node": "vm-1"}, **headers)
    assert status == 200, answer
    return JoinText.parse(json.loads(answer)["Token"])


async def joined(
    client: Client, directory: Path, node: str = "vm-1", text: JoinText | None = None
) -> Membership:
    """A member, by a token of its own."""
    text = text or await join_text(client, {"Node": node})
    server = f"http://{client.registry.http}"
    return await Joiner((server,), text, node, "dc1", MembershipFiles(directory), lambda: 0.5).join()


def channel(client: Client, key_pem: str | bytes | None, chain_pem: str | bytes | None) -> grpc.aio.Channel:
    """To the port for agents, with any certificate or none."""
    given = [text.encode() if isinstance(text, str) else text for text in (key_pem, chain_pem)]
    credentials = grpc.ssl_channel_credentials(client.registry.registry_ca_pem.encode(), *given)
    options = (("grpc.ssl_target_name_override", server_name("dc1")), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(client.registry.agents, credentials, options=options)


def agents(of: grpc.aio.Channel) -> Any:
    """The asynchronous stub; the generated types know the synchronous one only."""
    return agent_pb2_grpc.AgentsStub(of)


def hello(number: int = 1, **fields: Any) -> pb.LeaseRequest:
    told = {"node_id": NODE_ID.format(number), "address": "127.0.0.1", **fields}
    return pb.LeaseRequest(hello=pb.Hello(**told))


KEEPALIVE = pb.LeaseRequest(keepalive=pb.KeepAlive())
