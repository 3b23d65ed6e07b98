"""Config entries, written as Consul users write them, decide where the calls of real sidecars go."""

import json
from collections import Counter

import grpc

from tests.support.mesh import Member, Mesh, in_thread
from tests.support.processes import free_port, wait_for_port
from tests.support.waiting import until
from weft.credential import Credential

NAME = "/matrix.v1.Matrix/Name"
DEFAULTS = {"Kind": "service-defaults", "Name": "shop", "Protocol": "grpc"}
RESOLVER = {
    "Kind": "service-resolver",
    "Name": "shop",
    "DefaultSubset": "v1",
    "Subsets": {
        "v1": {"Filter": "Service.Meta.version == v1"},
        "v2": {"Filter": "Service.Meta.version == v2"},
    },
}
ROUTER = {
    "Kind": "service-router",
    "Name": "shop",
    "Routes": [
        {
            "Match": {"HTTP": {"Header": [{"Name": "x-canary", "Exact": "yes"}]}},
            "Destination": {"ServiceSubset": "v2", "NumRetries": 2, "RetryOn": ["unavailable"]},
        }
    ],
}
HALVES = {
    "Kind": "service-splitter",
    "Name": "shop",
    "Splits": [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "ServiceSubset": "v2"}],
}


def _version(mesh: Mesh, number: int) -> Member:
    """An instance of shop that says which version it is, on itself and on its sidecar."""
    member = mesh.member("shop", number, app_port=free_port())
    member.app, _ = mesh.app(member.id, member.app_port)
    wait_for_port(member.app, member.app_port)
    meta = {"version": f"v{number}"}
    definition = {
        "ID": member.id,
        "Name": "shop",
        "Address": "127.0.0.1",
        "Port": member.app_port,
        "Meta": meta,
        "Connect": {"SidecarService": {"Port": member.public_port, "Meta": meta, "Proxy": {}}},
    }
    Credential.from_json(json.dumps(mesh.registry.register(definition))).write(member.credential_path)
    mesh.start_sidecar(member)
    return member


async def _names(channel: grpc.aio.Channel, count: int, **metadata: str) -> Counter[str]:
    """Who answered, how often."""
    call = channel.unary_unary(NAME, None, None)
    fields = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return Counter([(await call(b"", metadata=fields, timeout=10)).decode() for _ in range(count)])


async def test_entries_route_split_and_are_taken_back(mesh: Mesh) -> None:
    v1, v2 = [await in_thread(_version, mesh, number) for number in (1, 2)]
    for entry in (DEFAULTS, RESOLVER):
        await in_thread(mesh.registry._ask, "PUT", "config", entry)
    caller = await in_thread(lambda: mesh.add("shopper", upstreams=["shop"], app_port=free_port()))
    await in_thread(mesh.registry.intend, "shopper", "shop", "allow")
    await in_thread(mesh.wait, v2)
    await in_thread(mesh.wait, v1, caller)
    async with grpc.aio.insecure_channel(caller.to("shop")) as channel:
        assert await _names(channel, 20) == {v1.id: 20}
        await in_thread(mesh.registry._ask, "PUT", "config", ROUTER)

        async def canary_is_routed() -> bool:
            return set(await _names(channel, 4, x_canary="yes")) == {v2.id}

        await until(canary_is_routed, "the header decides")
        assert await _names(channel, 20, x_canary="no") == {v1.id: 20}
        await in_thread(mesh.registry._ask, "PUT", "config", HALVES)

        async def both_answer() -> bool:
            return len(await _names(channel, 20)) == 2

        await until(both_answer, "the splitter divides")
        assert set(await _names(channel, 20, x_canary="yes")) == {v2.id}
        for kind in ("service-router", "service-splitter"):
            await in_thread(mesh.registry._ask, "DELETE", f"config/{kind}/shop")

        async def only_the_default() -> bool:
            return set(await _names(channel, 20, x_canary="yes")) == {v1.id}

        await until(only_the_default, "the entries are taken back")
