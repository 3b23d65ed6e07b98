"""Leaves by service name: kept until half their life, then renewed for everyone who waits."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.identity.service_leaves import ServiceLeaves
from tests.support.registry import Client, running_registry
from weft.clock import SystemClock


class Shifted:
    """The system clock, moved by hand."""

    def __init__(self) -> None:
        self.by_s = 0.0
        self._real = SystemClock()

    def wall(self) -> float:
        return self._real.wall() + self.by_s

    def monotonic(self) -> float:
        return self._real.monotonic() + self.by_s


async def test_a_leaf_is_kept_until_half_its_life() -> None:
    async with running_registry(leaf_ttl=timedelta(hours=2)) as client:
        clock = Shifted()
        leaves = ServiceLeaves(client.registry.log, client.registry.issuer, clock)
        first = await leaves.current("web")
        assert await leaves.current("web") is first
        assert await leaves.current("other") is not first
        half = first.leaf.issued.not_before + (first.leaf.issued.not_after - first.leaf.issued.not_before) / 2
        left_s = (half - datetime.now(UTC)).total_seconds()
        assert leaves.renews_in_s(first) == pytest.approx(left_s, abs=2)
        clock.by_s = left_s - 5
        assert await leaves.current("web") is first
        clock.by_s = left_s + 5
        second = await leaves.current("web")
        assert second.leaf.issued.serial != first.leaf.issued.serial
        assert second.index > first.index


async def test_a_blocking_call_answers_when_the_leaf_is_renewed() -> None:
    async with running_registry(leaf_ttl=timedelta(seconds=10)) as client:
        path = "/v1/agent/connect/ca/leaf/web"
        _, headers, first = await client.call("GET", path)
        async with asyncio.timeout(20):
            _, later, second = await client.call("GET", f"{path}?index={headers['X-Consul-Index']}&wait=60s")
        assert int(later["X-Consul-Index"]) > int(headers["X-Consul-Index"])
        assert first != second


async def test_on_time_out_a_blocking_call_answers_the_same_leaf() -> None:
    async with running_registry() as client:
        path = "/v1/agent/connect/ca/leaf/web"
        _, headers, first = await client.call("GET", path)
        _, later, second = await client.call("GET", f"{path}?index={headers['X-Consul-Index']}&wait=10ms")
        assert (later["X-Consul-Index"], second) == (headers["X-Consul-Index"], first)


async def test_trap_3_the_registrys_certificate_is_renewed_at_half_its_life() -> None:
    async with running_registry() as client:
        identity: Any = client.registry.identity
        first = identity.pair()
        assert identity.pair() is first
        clock = Shifted()
        clock.by_s = 37 * 3600
        identity._clock = clock
        second = identity.pair()
        assert second != first
        assert identity.pair() is second


async def test_trap_25_the_leaf_endpoint_is_rate_limited(client_with_short_leaves: Client) -> None:
    statuses = []
    for n in range(12):
        client_with_short_leaves.registry.leaves._held.clear()
        status, _, _ = await client_with_short_leaves.call("GET", f"/v1/agent/connect/ca/leaf/web?{n}")
        statuses.append(status)
    assert statuses[:10] == [200] * 10
    assert 429 in statuses[10:]


@pytest.fixture
async def client_with_short_leaves() -> AsyncIterator[Client]:
    async with running_registry() as client:
        yield client
