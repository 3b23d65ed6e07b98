"""The stream of observations comes, comes back, and never gets in the way."""

import random
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from sidecar.errors import CredentialRejected
from sidecar.observe import Observer
from sidecar.outlets import Outlets
from sidecar.session import Session
from sidecar.tapping import tapped
from sidecar.telemetry import OUTCOME, Direction, Telemetry
from tests.support.fake_registry import FakeRegistry
from tests.support.waiting import until
from weft.aio import Tasks
from weft.clock import SystemClock
from weft.histogram import BOUNDS_S


class Running:
    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.telemetry = Telemetry()
        self.outlets = Outlets(self.telemetry, SystemClock())
        self.session = Session(registry.credential)
        self.observer = Observer(
            self.session, self.telemetry, partial(tapped, self.outlets), random.Random(1)
        )

    def call(self) -> None:
        series = self.telemetry.series(Direction.OUTBOUND, "web", "orders")
        series.ended[OUTCOME[200] - 1] += 1
        series.buckets[bisect_left(BOUNDS_S, 0.001)] += 1

    def told(self) -> int:
        """How many calls the registry has heard of."""
        heard = self.registry.heard.observations
        return sum(end.requests for it in heard for call in it.measurements.calls for end in call.ended)

    async def observed(self, times: int) -> None:
        await until(lambda: self.registry.heard.observed >= times, f"{times} streams")


@asynccontextmanager
async def running(registry: FakeRegistry) -> AsyncIterator[Running]:
    found, tasks = Running(registry), Tasks()
    tasks.spawn(found.observer.run(), "observer")
    try:
        yield found
    finally:
        await tasks.close()
        await found.session.close()


async def test_calls_are_told_and_added_up(registry: FakeRegistry) -> None:
    async with running(registry) as sidecar:
        await sidecar.observed(1)
        sidecar.call()
        await until(lambda: sidecar.told() == 1, "the first call")
        sidecar.call()
        sidecar.call()
        await until(lambda: sidecar.told() == 3, "the others")


async def test_it_comes_back_and_does_not_make_up_for_what_was_missed(registry: FakeRegistry) -> None:
    async with running(registry) as sidecar:
        await sidecar.observed(1)
        await registry.stop()
        sidecar.call()
        await registry.start()
        await sidecar.observed(2)
        sidecar.call()
        await until(sidecar.told, "a call")
        assert sidecar.told() == 1


async def test_it_outlives_the_change_to_another_address(registry: FakeRegistry) -> None:
    """The subscription closes the channel when it goes on to the next server."""
    async with running(registry) as sidecar:
        await sidecar.observed(1)
        await sidecar.session.close()
        await sidecar.observed(2)
        sidecar.call()
        await until(lambda: sidecar.told() == 1, "the call")


async def test_trap_4_a_withdrawn_credential_is_final(registry: FakeRegistry) -> None:
    sidecar = Running(registry)
    registry.revoked = True
    with pytest.raises(CredentialRejected):
        await sidecar.observer.run()
    await sidecar.session.close()
