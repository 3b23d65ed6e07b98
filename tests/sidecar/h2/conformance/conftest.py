"""One engine per test, in each role."""

from collections.abc import AsyncIterator

import pytest

from tests.support.link import Link
from tests.support.switch import Mesh


async def _link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    mesh = Mesh()
    link = await Link.start(request.param, mesh)
    yield link
    await link.close()
    await mesh.close()


@pytest.fixture(params=["plain", "inbound"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """The engine as a server: what callers send wrongly."""
    async for link in _link(request):
        yield link


@pytest.fixture(params=["plain", "outbound"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """The engine as a client: what applications and peers send wrongly."""
    async for link in _link(request):
        yield link


@pytest.fixture(params=["plain", "inbound", "outbound"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """The engine in the middle."""
    async for running in _link(request):
        yield running
