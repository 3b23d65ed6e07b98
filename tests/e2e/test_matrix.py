"""gRPC of all four kinds behaves the same directly and through a pair of sidecars."""

import pytest

from tests.e2e.conftest import Pair
from tests.support.grpc_matrix import MIB, SCENARIOS, slow_application, slow_reader

RSS_GROWTH_MAX = 16 * MIB
"""Of one sidecar while 96 MiB wait behind it. Its own bound per stalled stream is far lower; the
allocator, TLS buffers and the socket's read buffer make the rest."""


@pytest.mark.parametrize("name", SCENARIOS)
async def test_direct(name: str, matrix_app: str) -> None:
    await SCENARIOS[name](matrix_app)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_meshed(name: str, pair: Pair) -> None:
    await SCENARIOS[name](pair.target)


async def test_direct_slow_reader(matrix_app: str) -> None:
    await slow_reader(matrix_app)


async def test_direct_slow_application(matrix_app: str) -> None:
    await slow_application(matrix_app)


async def test_trap_15_meshed_slow_reader(pair: Pair) -> None:
    await slow_reader(pair.target, _RssIsBounded(pair))


async def test_trap_15_meshed_slow_application(pair: Pair) -> None:
    await slow_application(pair.target, _RssIsBounded(pair))


class _RssIsBounded:
    """Called while everything stands still."""

    def __init__(self, pair: Pair) -> None:
        self._sidecars = (pair.client.running, pair.server.running)
        self._before = [sidecar.rss_bytes() for sidecar in self._sidecars]

    def __call__(self) -> None:
        for sidecar, before in zip(self._sidecars, self._before, strict=True):
            grown = sidecar.rss_bytes() - before
            assert grown < RSS_GROWTH_MAX, f"{sidecar.name} grew by {grown / MIB:.0f} MiB"
