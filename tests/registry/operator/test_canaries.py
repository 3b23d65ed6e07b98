"""Who moves a canary, what is told of it, and that a leader of a moment ago does nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.audit.event import Event, Outcome
from registry.audit.log import Unaudited
from registry.config_entries.canary import ServiceCanary
from tests.registry.api.test_canary import CANARY, V2, bad, prepared, write
from tests.support.registry import Client, running_registry


class Recorder(Unaudited):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def leads(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes this server believe that it leads, or does not."""
    real = client.registry.log.status

    def become(leader: bool) -> None:
        monkeypatch.setattr(client.registry.log, "status", lambda: replace(real(), is_leader=leader))

    return become


def canary(client: Client) -> ServiceCanary:
    row = client.registry.log.view().config_entry(ServiceCanary.KIND, "orders").rows
    assert row is not None and isinstance(row.entry, ServiceCanary)
    return row.entry


async def test_only_the_leader_moves_it_and_forgets_what_it_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_registry() as client:
        become, canaries = leads(client, monkeypatch), client.registry.canaries
        await prepared(client)
        become(False)
        await write(client, CANARY, Interval="1h")
        await canaries.turn()
        assert canary(client).state.step == 0
        become(True)
        await canaries.turn()
        assert canary(client).state.step == 1
        await canaries.turn()
        client.registry.measuring.take(iter([(V2, bad())]))
        assert canaries.seen(client.registry.log.view(), canary(client)).step.failed == 3
        become(False)
        await canaries.turn()
        assert client.registry.measuring.meters == ()
        become(True)
        await canaries.turn()
        assert canaries.seen(client.registry.log.view(), canary(client)).step.failed == 0


async def test_each_move_is_a_line_of_the_audit_log(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_registry() as client:
        audit = Recorder()
        monkeypatch.setattr(client.registry.canaries, "_audit", audit)
        await prepared(client)
        await write(client, CANARY, Interval="1h")
        while canary(client).state.step == 0:
            await client.registry.canaries.turn()
        await client.registry.canaries.turn()
        client.registry.measuring.take(iter([(V2, bad()), (V2, bad())]))
        await client.registry.canaries.turn()
        assert canary(client).state.phase == "rolled-back"
        told = [(it.operation, it.outcome, it.resource, it.detail["weight"]) for it in audit.events]
        resource = "/v1/config/service-canary/orders"
        assert told == [
            ("canary advance", Outcome.DONE, resource, 10.0),
            ("canary roll_back", Outcome.DONE, resource, 0.0),
        ]
        last = audit.events[-1]
        assert "6 of 6 calls failed" in str(last.detail["reason"])
        assert last.index == client.registry.log.view().config_entry(ServiceCanary.KIND, "orders").index
