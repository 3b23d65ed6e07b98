"""The check runner where time passes: removal of services that stay critical."""

from registry.agent.probes import Prober
from registry.agent.runner import Runner
from tests.support.registry import Client
from weft.clock import SystemClock


class Shifted(SystemClock):
    by_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.by_s


async def test_a_service_that_stays_critical_is_removed_when_its_definition_says_so(client: Client) -> None:
    """DeregisterCriticalServiceAfter: reference 7.1."""
    check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "90s"}
    await client.register({"Name": "doomed", "Check": check, "Connect": {"SidecarService": {}}})
    await client.register({"Name": "healthy", "Check": check | {"Status": "passing"}})
    await client.register({"Name": "patient", "Check": {"TTL": "1h"}})
    clock, prober = Shifted(), Prober()
    runner = Runner(client.registry.log, client.registry.agent, prober, clock, lambda: 0.5)
    try:
        runner.sync()
        clock.by_s = 80
        await runner._reap()
        assert "doomed" in await client.get("/v1/agent/services")
        clock.by_s = 100
        await runner._reap()
        assert set(await client.get("/v1/agent/services")) == {"healthy", "patient"}
    finally:
        await runner.close()
        await prober.close()
