"""`?near=`: who is nearest comes first, and an answer moves with the coordinates that it was sorted by."""

from collections.abc import AsyncIterator

import pytest

from tests.support.registry import Client, running_registry

PLACES = {"far": 0.3, "near": 0.01, "unknown": None}


async def measured(client: Client, node: str, x: float) -> None:
    coordinate = {"Vec": [x, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 0.001}
    await client.put("/v1/coordinate/update", {"Node": node, "Coord": coordinate})


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Nodes in no order of distance, each with an instance of web and a check."""
    async with running_registry() as found:
        for node, x in PLACES.items():
            check = {"Name": "c", "CheckID": f"c-{node}", "ServiceID": node, "Status": "passing"}
            body = {"Node": node, "Address": "127.0.0.1", "Service": {"Service": "web", "ID": node}}
            await found.put("/v1/catalog/register", body | {"Check": check})
            if x is not None:
                await measured(found, node, x)
        await measured(found, "n1", 0.0)
        await found.register({"Name": "web", "ID": "here", "Check": {"TTL": "1h", "Status": "passing"}})
        yield found


@pytest.mark.parametrize("near", ["_agent", "n1"])
@pytest.mark.parametrize(
    "path",
    ["/v1/health/service/web", "/v1/catalog/service/web", "/v1/catalog/nodes", "/v1/health/checks/web"],
)
async def test_rows_come_in_the_order_of_distance(client: Client, path: str, near: str) -> None:
    found = await client.get(f"{path}?near={near}")
    nodes = [row["Node"]["Node"] if isinstance(row["Node"], dict) else row["Node"] for row in found]
    assert nodes == ["n1", "near", "far", "unknown"]


async def test_another_node_sees_another_order(client: Client) -> None:
    found = await client.get("/v1/catalog/nodes?near=far")
    assert [row["Node"] for row in found] == ["far", "near", "n1", "unknown"]
    found = await client.get("/v1/catalog/nodes?near=nobody")
    assert sorted(row["Node"] for row in found) == ["far", "n1", "near", "unknown"]


async def test_trap_26_an_order_does_not_outlive_the_coordinates_it_was_made_of(client: Client) -> None:
    path = "/v1/health/service/web?near=_agent"
    assert [row["Service"]["ID"] for row in await client.get(path)] == ["here", "near", "far", "unknown"]
    index = await client.index(path)
    plain = await client.index("/v1/health/service/web")
    await measured(client, "near", 0.9)
    assert [row["Service"]["ID"] for row in await client.get(path)] == ["here", "far", "near", "unknown"]
    assert await client.index(path) > index
    assert await client.index("/v1/health/service/web") == plain, "who does not sort is not woken"
