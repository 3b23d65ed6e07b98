"""Configurations change under load, one after the other, and no request is lost by it."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_handover import World, everything, world
from tests.support.mesh import in_thread
from tests.support.waiting import until

pytestmark = pytest.mark.long

ROUNDS = 4
# Of each service that is called: what its callers' sidecars do, what its own does, and both at once.
CHANGES: tuple[dict[str, Any], ...] = (
    {"Kind": "service-resolver", "ConnectTimeout": "3s", "LoadBalancer": {"Policy": "round_robin"}},
    {"Kind": "service-router", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}},
                                           "Destination": {"RequestTimeout": "60s", "NumRetries": 2}}]},
    {"Kind": "service-defaults", "MaxInboundConnections": 500, "LocalRequestTimeoutMs": 60_000,
     "HealthChecks": [{"TCP": True, "Interval": "1s"}]},
    {"Kind": "service-rate-limits", "Limits": [{"Name": "high", "RequestsPerSecond": 100_000}]},
    {"Kind": "service-resolver", "LoadBalancer": {"Policy": "least_request"}},
    {"Kind": "service-defaults", "MaxInboundConnections": 400},
)  # fmt: skip


def index(there: World) -> float:
    return there.web.metric("weft_config_index")


async def is_past(there: World, told: float) -> bool:
    now: float = await in_thread(index, there)
    return now > told


async def test_configurations_that_change_under_load_lose_nothing(tmp_path: Path) -> None:
    """gRPC, long streams and HTTP/1.1; every kind of change is applied by the sidecars, and none refused."""
    async with world(tmp_path) as there, everything(there) as (load, http_load, streams):
        for _ in range(ROUNDS):
            told = await in_thread(index, there)
            for change in CHANGES:
                for service in ("orders", "shop"):
                    entry = {**change, "Name": service}
                    await in_thread(there.mesh.registry._ask, "PUT", "config", entry)
                before = len(load.outcomes), http_load.answered
                await until(
                    lambda: len(load.outcomes) > before[0] + 10 and http_load.answered > before[1] + 10,  # noqa: B023
                    "calls go on",
                )
            await until(partial(is_past, there, told), "the caller's sidecar has what the round brought")
        for member in (there.web, there.orders, there.shop):
            deltas = member.admin("/metrics").decode()
            assert 'weft_config_deltas_total{result="refused"} 0.0' in deltas
    assert load.failed == []
    assert http_load.failed == []
    assert [it for it in streams if it] == []
    assert streams and http_load.answered > 200
