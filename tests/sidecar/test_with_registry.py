"""The shell against a real `weft dev`: both compilers agree on every resource, withdrawal is heard."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.errors import CredentialRejected
from sidecar.session import Session
from sidecar.snapshot import Address, Balance, EjectionPolicy, Snapshot
from sidecar.subscribe import Resources, Subscription
from sidecar.telemetry import Telemetry
from tests.support.dev import Dev, running_dev
from tests.support.waiting import until
from weft.credential import Credential

WEB: dict[str, Any] = {
    "Name": "web",
    "ID": "web-1",
    "Port": 8080,
    "Connect": {
        "SidecarService": {
            "Port": 21900,
            "Proxy": {
                "Upstreams": [
                    {
                        "DestinationName": "orders",
                        "LocalBindPort": 9191,
                        "Config": {"connect_timeout_ms": 700},
                    },
                    {
                        "DestinationName": "stock",
                        "LocalBindSocketPath": "/run/stock.sock",
                        "LocalBindSocketMode": "0660",
                    },
                ]
            },
        }
    },
}


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--default-intention", "deny") as running:
        yield running


async def test_what_is_registered_is_what_is_served(dev: Dev) -> None:
    credential = Credential.from_json(json.dumps(await asyncio.to_thread(dev.register, WEB)))
    taken: list[Snapshot] = []

    async def take(snapshot: Snapshot, _: Resources) -> None:
        taken.append(snapshot)

    session = Session(credential)
    subscription = Subscription(session, take, random.Random(1), Telemetry())
    following = asyncio.ensure_future(subscription.run())
    try:
        await until(lambda: taken or following.done(), "the first snapshot")
        _check_web(taken[0], credential)
        await _check_changes(dev, taken)
        await _check_withdrawal(dev, following)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await session.close()


def _check_web(snapshot: Snapshot, credential: Credential) -> None:
    assert snapshot.instance_key == credential.instance_key
    assert (snapshot.identity.service, snapshot.identity.trust_domain) == ("web", credential.trust_domain)
    assert snapshot.inbound.listen.port == 21900
    assert snapshot.inbound.app == Address("127.0.0.1", 8080)
    assert not snapshot.inbound.default_allow
    orders, stock = snapshot.upstreams["orders"], snapshot.upstreams["stock"]
    assert orders.listen == Address("127.0.0.1", 9191)
    target = snapshot.targets[orders.default_target]
    assert target.connect_timeout_s == 0.7
    assert target.balance is Balance.LEAST_REQUEST
    assert isinstance(target.ejection, EjectionPolicy) and not target.instances
    assert stock.listen == Address(path="/run/stock.sock", mode=0o660)


ORDERS = "orders.default.default.dc1"


async def _check_changes(dev: Dev, taken: list[Snapshot]) -> None:
    await asyncio.to_thread(dev.intention, "shop", "web", "allow")
    await until(lambda: taken[-1].inbound.rules, "the intention arrives")
    (rule,) = taken[-1].inbound.rules
    assert (rule.source, rule.allow, rule.trust_domain) == ("shop", True, taken[-1].identity.trust_domain)
    orders = {"Name": "orders", "Port": 50051, "Connect": {"SidecarService": {"Port": 21901}}}
    await asyncio.to_thread(dev.register, orders)
    await until(lambda: taken[-1].targets[ORDERS].instances, "the instance arrives")
    (instance,) = taken[-1].targets[ORDERS].instances
    assert (instance.service_id, instance.address.port) == ("orders", 21901)


async def _check_withdrawal(dev: Dev, following: "asyncio.Future[None]") -> None:
    """Heard within a second."""
    await asyncio.to_thread(dev.ok, "PUT", "/v1/agent/service/deregister/web-1")
    with pytest.raises(CredentialRejected):
        await asyncio.wait_for(following, 1.0)
