"""Engines and hand-driven peers, each test with its own."""

from collections.abc import AsyncIterator

import pytest

from tests.support.scripted import Peer, serves
from tests.support.service import Service
from tests.support.switch import Mesh, Plain
from tests.support.wire import App, EchoApp


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    running = Mesh()
    yield running
    await running.close()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    running = await App().start()
    yield running
    running.close()


@pytest.fixture
async def echo() -> AsyncIterator[EchoApp]:
    running = EchoApp()
    await running.start()
    yield running
    running.close()


@pytest.fixture
async def service(mesh: Mesh) -> AsyncIterator[Service]:
    running = await Service(mesh, Peer(mesh, serves(), plain=True)).start()
    yield running
    running.close()


@pytest.fixture
async def plain(mesh: Mesh, app: App) -> AsyncIterator[Plain]:
    """A caller's plaintext connection and the application's, with one switch between them."""
    running = await Plain.start(mesh, app)
    yield running
    running.close()
