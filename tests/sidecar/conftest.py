"""Fixtures of the sidecar's shell."""

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_registry import FakeRegistry


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    running = FakeRegistry()
    await running.start()
    yield running
    await running.stop()
