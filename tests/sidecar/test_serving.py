"""What the data path is made with."""

import socket
from typing import Any
from unittest.mock import sentinel

import pytest

from sidecar.channel import Channel
from sidecar.h2.outbox import HELD_BYTES_MAX
from sidecar.proxy import engine
from sidecar.serving import frame_switch
from sidecar.worker import Worker
from weft.clock import SystemClock

PARTS = sentinel.snapshot, sentinel.tls, sentinel.telemetry, sentinel.outlets, sentinel.binder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What engines were asked for."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(engine, "Engine", lambda **parts: asked.append(parts))
    return asked


def test_one_process_holds_all_that_a_sidecar_may(made: list[dict[str, Any]]) -> None:
    frame_switch(*PARTS)
    assert made[0]["held_max"] == HELD_BYTES_MAX
    assert [made[0][part.name] for part in PARTS] == list(PARTS)


async def test_a_worker_holds_its_part_of_it(made: list[dict[str, Any]]) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(ours)
        Worker(channel, 4, SystemClock())._serving._make_switch(*PARTS)
        channel.close()
    assert made[0]["held_max"] == HELD_BYTES_MAX // 4
