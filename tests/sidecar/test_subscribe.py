"""Deltas are applied or refused, and acknowledged; the line comes back by itself."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.errors import CredentialRejected, InvalidResource
from sidecar.session import Session
from sidecar.snapshot import Snapshot
from sidecar.subscribe import Resources, Subscription, version_of
from sidecar.telemetry import Telemetry
from tests.support import resources as make
from tests.support.fake_registry import FakeRegistry
from tests.support.waiting import until
from weft.aio import Tasks

ORDERS = make.target_id("orders")
OF_ORDERS = ("upstream/orders", f"target/{ORDERS}", f"endpoints/{ORDERS}")


class Follower:
    """A subscription that runs, and what it took."""

    def __init__(self, registry: FakeRegistry, resources: Resources | None = None) -> None:
        self.registry = registry
        self.telemetry = Telemetry()
        self.taken: list[Snapshot] = []
        self.refuse: InvalidResource | None = None
        self.session = Session(registry.credential)
        self.subscription = Subscription(
            self.session, self._take, random.Random(1), self.telemetry, resources
        )
        self.tasks = Tasks()

    async def _take(self, snapshot: Snapshot, _: Resources) -> None:
        if self.refuse:
            raise self.refuse
        self.taken.append(snapshot)

    async def acks(self, count: int) -> Any:
        await until(lambda: len(self.registry.heard.acks) >= count, f"{count} acks")
        return self.registry.heard.acks


@pytest.fixture
async def follower(registry: FakeRegistry) -> AsyncIterator[Follower]:
    running = Follower(registry)
    running.tasks.spawn(running.subscription.run(), "subscription")
    yield running
    await running.tasks.close()
    await running.session.close()


async def test_each_delta_is_applied_and_acknowledged(follower: Follower) -> None:
    await follower.acks(1)
    follower.registry.push(make.endpoints(ports=(21000,)))
    acks = await follower.acks(2)
    assert [(ack.nonce, ack.error) for ack in acks] == [(1, ""), (2, "")]
    before, after = follower.taken
    assert len(before.targets[ORDERS].instances) == 2
    assert len(after.targets[ORDERS].instances) == 1
    assert after.index == before.index + 1
    assert follower.telemetry.config_index == after.index
    assert follower.telemetry.registry_connected


async def test_what_is_removed_goes(follower: Follower) -> None:
    await follower.acks(1)
    follower.registry.push(removed=OF_ORDERS)
    await follower.acks(2)
    assert not follower.taken[-1].upstreams


async def test_a_refused_delta_changes_nothing(follower: Follower) -> None:
    """Neither what it set nor what it removed: the registry builds the next one on what was acknowledged."""
    await follower.acks(1)
    follower.registry.push(make.proxy(public_port=70000), removed=OF_ORDERS)
    await follower.acks(2)
    follower.registry.push(make.intentions())
    assert (await follower.acks(3))[2].error == ""
    assert list(follower.taken[-1].upstreams) == ["orders"]
    assert follower.taken[-1].inbound.listen.port == 20000


async def test_a_delta_that_cannot_be_obeyed_is_refused_and_the_next_one_mends_it(follower: Follower) -> None:
    await follower.acks(1)
    version = follower.telemetry.config_version
    follower.registry.push(make.proxy(public_port=70000))
    acks = await follower.acks(2)
    assert "port 70000" in acks[1].error
    assert len(follower.taken) == 1
    assert follower.telemetry.deltas_refused == 1
    assert follower.telemetry.config_version == version
    follower.registry.push(make.proxy(public_port=20001))
    await follower.acks(3)
    assert follower.taken[-1].inbound.listen.port == 20001


async def test_what_the_switch_refuses_is_refused(follower: Follower) -> None:
    await follower.acks(1)
    follower.refuse = InvalidResource("proxy", "is for somebody else")
    follower.registry.push(make.endpoints(ports=(21000,)))
    assert (await follower.acks(2))[1].error == "resource 'proxy' is for somebody else"


async def test_it_comes_back_and_says_what_it_holds(follower: Follower) -> None:
    """Keeps what it has while the registry is gone; after a refusal it names the last good versions."""
    await follower.acks(1)
    bad = make.proxy(public_port=70000)
    bad.version = "bad"
    follower.registry.push(bad)
    await follower.acks(2)
    await follower.registry.stop()
    await until(lambda: not follower.telemetry.registry_connected, "the loss is noticed")
    follower.registry.set(make.proxy())
    await follower.registry.start()
    await follower.acks(3)
    first, again = follower.registry.heard.hellos
    assert not first.versions
    assert again.versions["proxy"] == "1"
    assert follower.telemetry.registry_connected


async def test_a_cache_is_completed_not_sent_again(registry: FakeRegistry) -> None:
    running = Follower(registry, make.all_resources())
    registry.resources[f"endpoints/{ORDERS}"].version = "2"
    running.tasks.spawn(running.subscription.run(), "subscription")
    await running.acks(1)
    assert registry.heard.hellos[0].versions[f"endpoints/{ORDERS}"] == "1"
    assert running.taken
    await running.tasks.close()
    await running.session.close()


async def test_trap_04_a_withdrawn_credential_ends_it(registry: FakeRegistry) -> None:
    """It is final: nobody tries again with it."""
    running = Follower(registry)

    async def withdraw() -> None:
        await running.acks(1)
        await registry.revoke()

    running.tasks.spawn(withdraw(), "withdraw")
    with pytest.raises(CredentialRejected, match="rejected the credential"):
        await running.subscription.run()
    assert not running.telemetry.registry_connected
    await running.tasks.close()
    await running.session.close()


def test_equal_configurations_have_equal_versions() -> None:
    resources = make.all_resources()
    shuffled = dict(reversed(resources.items()))
    assert version_of(resources) == version_of(shuffled)
    resources["proxy"].version = "2"
    assert version_of(resources) != version_of(shuffled | {"proxy": make.proxy()})
