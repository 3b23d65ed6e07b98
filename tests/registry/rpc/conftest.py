from collections.abc import AsyncIterator

import pytest

from tests.support.registry import Client, running_registry


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_registry() as found:
        yield found
