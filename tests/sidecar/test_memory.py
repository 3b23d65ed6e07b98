"""What lives when the start is over is no longer walked by the collector."""

import gc

import pytest

from sidecar.memory import settle


@pytest.fixture(autouse=True)
def thaw():
    yield
    gc.unfreeze()


def test_long_lived_objects_leave_the_collector() -> None:
    keeps = [[number] for number in range(1000)]
    settle()
    assert gc.get_freeze_count() >= len(keeps)
