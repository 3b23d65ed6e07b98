"""Time-outs of routes, and the caller's own deadline."""

import asyncio

from sidecar.policy.timeouts import read, write
from sidecar.traffic import RetryOn
from tests.sidecar.proxy.test_retries import World, on, world
from tests.support.scripted import get, grpc, serves, silent, status_of
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, TRAILERS_OK, Wire

__all__ = ["world"]
CANCEL = 8


def seconds(head: dict[str, str]) -> float:
    return read(head["grpc-timeout"].encode())


async def test_a_route_s_time_out_ends_the_request_everywhere(world: World) -> None:
    calls = await world.calls(silent, timeout_s=0.05)
    heard = await calls.make(grpc())
    assert heard.blocks[0]["grpc-status"] == "4"
    assert heard.blocks[0]["grpc-message"] == "weft: the deadline has passed"
    assert await calls.status(get()) == "504"
    behind = world.peers[0].wires[0]
    await until(lambda: {behind.heard(sid).reset for sid in behind.requests()} == {CANCEL}, "the resets")
    world.check_nothing_left()


async def test_grpc_timeout_is_honoured(world: World) -> None:
    """However the field is encoded: as a literal beside the head, or in the table."""
    calls = await world.calls(silent)
    for value in ("50m", "50000u", "50m", "60m"):
        assert await calls.status(grpc(grpc_timeout=value)) == "4"
    behind = world.peers[0].wires[0]
    await until(lambda: all(behind.heard(sid).reset == CANCEL for sid in behind.requests()), "the resets")
    world.check_nothing_left()


async def test_a_deadline_that_is_far_costs_no_answer(world: World) -> None:
    calls = await world.calls(serves())
    assert await calls.status(grpc(grpc_timeout="30S")) == "0"
    assert seconds(world.peers[0].heads[0]) <= 30
    world.check_nothing_left()


async def test_the_next_hop_is_told_what_is_left(world: World) -> None:
    """The shorter of the caller's deadline, the route's time-out and the attempt's."""
    policy = on(RetryOn.UNAVAILABLE, per_try_s=5.0)
    calls = await world.calls(serves(), timeout_s=20.0)
    await calls.make(grpc(grpc_timeout="30S"))
    await calls.make(grpc(grpc_timeout="10S"))
    await calls.make(grpc())
    assert [round(seconds(head)) for head in world.peers[0].heads] == [20, 10, 20]
    other = await world.calls(serves(), timeout_s=20.0, retry=policy)
    await other.make(grpc(grpc_timeout="30S"))
    assert round(seconds(world.peers[0].heads[0])) == 5


async def test_what_waits_for_a_connection_has_less_left_afterwards(world: World) -> None:
    calls = await world.calls(serves())
    await calls.make(grpc(grpc_timeout="30S"))  # the first request of all waits for the handshake
    assert 20 < seconds(world.peers[0].heads[0]) < 30
    assert len(world.peers[0].seen[0].fields) == len(grpc(grpc_timeout="30S"))  # said once


async def test_what_waits_in_the_queue_has_a_deadline(world: World) -> None:
    calls = await world.calls(serves(), timeout_s=0.05)
    peer = world.peers[0]
    peer.close()
    world.pool.dialer.dial = lambda *_: asyncio.sleep(30)  # type: ignore[method-assign]
    assert await calls.status(grpc()) == "4"
    world.check_nothing_left()


async def test_an_answer_under_way_is_cut_by_trailers(world: World) -> None:
    def begins(wire: Wire, sid: int) -> None:
        wire.headers(sid, HEAD_OK)
        wire.data(sid, b"some")

    calls = await world.calls(begins, timeout_s=0.1)
    heard = await calls.make(grpc())
    assert (status_of(heard), heard.data, len(heard.blocks)) == ("4", b"some", 2)


async def test_an_idle_stream_ends_and_a_busy_one_does_not(world: World) -> None:
    """Both are as old; bytes of either side count, also where they come in whole windows."""
    calls = await world.calls(silent, idle_s=0.3)
    quiet, busy = calls.begin(grpc()), 3
    calls.wire.headers(busy, grpc())
    behind = await world.peers[0].wire()
    await behind.asked(2)
    payload = bytes(16_384)
    for _ in range(16):
        await asyncio.sleep(0.05)
        calls.wire.data(busy, payload)
        calls.wire.data(busy, payload)
    assert status_of(await calls.wire.over(quiet)) == "4"
    assert not calls.wire.heard(busy).ended and calls.wire.heard(busy).reset is None
    sid = behind.requests()[-1]
    behind.headers(sid, HEAD_OK)
    behind.headers(sid, TRAILERS_OK, end=True)
    calls.wire.data(busy, b"", end=True)
    assert status_of(await calls.wire.over(busy)) == "0"
    world.check_nothing_left()


async def test_many_deadlines_need_one_timer(world: World) -> None:
    calls = await world.calls(silent)
    sids = [calls.begin(grpc(grpc_timeout=f"{200 + number % 50}m"), body=b"") for number in range(900)]
    statuses = [status_of(await calls.wire.over(sid)) for sid in sids]
    assert set(statuses) == {"4"}
    world.check_nothing_left()


def test_times_are_written_in_the_finest_unit_that_fits() -> None:
    assert write(0.05) == b"50000u" and write(99.0) == b"99000000u"
    assert write(100.0) == b"100000m" and write(1e6) == b"1000000S"
    assert [read(write(value)) >= value for value in (0.0, 0.001, 5.5, 3600.0, 1e7)] == [True] * 5


def test_malformed_times_say_nothing() -> None:
    for value in (b"", b"5", b"S", b"-5S", b"5x", b" 5S", b"123456789S", b"5.5S"):
        assert read(value) == 0.0
