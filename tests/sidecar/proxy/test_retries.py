"""Retries by policy: conditions, per-try limit, back-off, budget, other instance."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from sidecar.proxy.engine import Engine
from sidecar.proxy.pool import Pool
from sidecar.traffic import EjectionPolicy, RetryOn, RetryPolicy
from tests.support.scripted import (
    Answer,
    Calls,
    Peer,
    answers,
    get,
    grpc,
    in_turn,
    refuses,
    resets,
    serves,
    silent,
    status_of,
)
from tests.support.switch import Destination, Mesh, all_to, outbound_port, target_id, to
from tests.support.waiting import until
from tests.support.wire import DATA, GOAWAY, RST_STREAM, Wire, dial, frame, u32

ORDERS = target_id("orders")
QUICK = RetryPolicy(attempts_max=3, backoff_base_s=0.001, backoff_max_s=0.002)
NEVER_EJECT = EjectionPolicy(consecutive_failures=10_000)


def on(*words: RetryOn, **settings: object) -> RetryPolicy:
    return dataclasses.replace(QUICK, on=frozenset(words), **settings)  # type: ignore[arg-type]


class World:
    """web's engine and peers behind it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.peers: list[Peer] = []
        self._all_peers: list[Peer] = []
        self.wires: list[Wire] = []

    async def calls(
        self,
        *behaviours: Answer,
        retry: RetryPolicy | None = None,
        timeout_s: float = 0.0,
        idle_s: float = 0.0,
        **target: object,
    ) -> Calls:
        self.peers = [await Peer(self.mesh, behaviour).start() for behaviour in behaviours]
        self._all_peers += self.peers
        settings = {"ejection": NEVER_EJECT, **target}
        destination = self.mesh.upstream("orders", [peer.port for peer in self.peers], **settings)
        self.destination = Destination(
            dataclasses.replace(
                destination.upstream,
                routes=(all_to(destination.target, retry=retry, timeout_s=timeout_s, idle_s=idle_s),),
            ),
            destination.target,
        )
        self.engine: Engine = await self.mesh.engine(self.mesh.snapshot("web", upstreams=[self.destination]))
        self.wires.append(await dial(outbound_port(self.engine)))
        return Calls(self.wires[-1])

    @property
    def pool(self) -> Pool:
        return self.engine.pools[ORDERS]

    def check_nothing_left(self) -> None:
        """No bytes held, no retry or request counted as under way."""
        side = self.engine.outbound["orders"]
        assert self.engine.outbox.held == 0
        assert all(way.budget.running == 0 for way in side._ways)
        assert self.pool.requests == 0 and self.pool.series.pending == 0
        assert all(series.active == 0 for series in self.engine.telemetry.all_series.values())
        assert all(endpoint.active == 0 for endpoint in self.pool.endpoints.values())

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        for peer in {*self._all_peers, *self.peers}:
            peer.close()


@pytest.fixture
async def world(mesh: Mesh) -> AsyncIterator[World]:
    running = World(mesh)
    yield running
    running.close()


CONDITIONS: dict[str, tuple[Answer, RetryOn, tuple[tuple[str, str], ...], str]] = {
    "unavailable": (refuses(14), RetryOn.UNAVAILABLE, grpc(), "14"),
    "cancelled": (refuses(1), RetryOn.CANCELLED, grpc(), "1"),
    "deadline exceeded": (refuses(4), RetryOn.DEADLINE_EXCEEDED, grpc(), "4"),
    "internal": (refuses(13), RetryOn.INTERNAL, grpc(), "13"),
    "resource exhausted": (refuses(8), RetryOn.RESOURCE_EXHAUSTED, grpc(), "8"),
    "5xx": (answers(500), RetryOn.SERVER_ERROR, get(), "500"),
    "5xx with a body": (answers(500, b"sorry"), RetryOn.SERVER_ERROR, get(), "500"),
    "gateway error": (answers(503), RetryOn.GATEWAY_ERROR, get(), "503"),
    "retriable 4xx": (answers(409), RetryOn.RETRIABLE_4XX, get(), "409"),
}


@pytest.mark.parametrize("case", CONDITIONS)
async def test_a_named_answer_is_tried_again(world: World, case: str) -> None:
    failing, word, fields, status = CONDITIONS[case]
    calls = await world.calls(in_turn(failing, failing, serves()), retry=on(word))
    assert await calls.status(fields) == "0"
    assert world.pool.series.retries == 2
    world.peers[0].answer = failing
    assert await calls.status(fields) == status  # the third attempt's answer is the caller's
    assert [heard.data for heard in world.peers[0].seen] == [b"body"] * 6
    world.check_nothing_left()


@pytest.mark.parametrize("case", CONDITIONS)
async def test_what_is_not_named_is_passed_on(world: World, case: str) -> None:
    failing, word, fields, status = CONDITIONS[case]
    others = frozenset(RetryOn) - {word, RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR}
    calls = await world.calls(failing, retry=dataclasses.replace(QUICK, on=others))
    assert await calls.status(fields) == status
    assert len(world.peers[0].seen) == 1


async def test_listed_statuses_are_tried_again(world: World) -> None:
    policy = dataclasses.replace(QUICK, status_codes=frozenset((404,)))
    calls = await world.calls(in_turn(answers(404), answers(404), answers(200)), retry=policy)
    assert await calls.status(get()) == "200"


async def test_a_reset_is_tried_again_where_the_policy_says_so(world: World) -> None:
    calls = await world.calls(in_turn(resets(2), serves()), retry=on(RetryOn.RESET))
    assert await calls.status() == "0"
    world.peers[0].answer = resets(2)
    assert (await calls.make()).reset == 2
    world.check_nothing_left()


async def test_a_lost_connection_is_tried_again_where_the_policy_says_so(world: World) -> None:
    calls = await world.calls(lambda wire, _sid: wire.close(), serves(), retry=on(RetryOn.RESET))
    assert [await calls.status() for _ in range(6)] == ["0"] * 6
    world.check_nothing_left()


async def test_another_instance_is_preferred(world: World) -> None:
    calls = await world.calls(refuses(14), serves("good"), retry=on(RetryOn.UNAVAILABLE, attempts_max=2))
    assert [(await calls.make()).data for _ in range(20)] == [b"good"] * 20
    assert world.peers[0].seen
    world.check_nothing_left()


async def test_every_instance_is_tried_before_one_is_asked_twice(world: World) -> None:
    calls = await world.calls(
        refuses(14), refuses(14), refuses(14), serves(), retry=on(RetryOn.UNAVAILABLE, attempts_max=4)
    )
    assert [await calls.status() for _ in range(10)] == ["0"] * 10


async def test_trap_17_nothing_is_tried_again_once_an_answer_has_begun(world: World) -> None:
    def begins_and_fails(wire: Wire, sid: int) -> None:
        wire.headers(sid, ((":status", "200"), ("content-type", "application/grpc")))
        wire.headers(sid, (("grpc-status", "14"),), end=True)

    calls = await world.calls(begins_and_fails, retry=on(*RetryOn))
    heard = await calls.make()
    assert status_of(heard) == "14" and len(heard.blocks) == 2
    assert len(world.peers[0].seen) == 1


async def test_trap_17_nothing_is_tried_again_after_an_interim_answer(world: World) -> None:
    def hints_and_fails(wire: Wire, sid: int) -> None:
        wire.headers(sid, ((":status", "103"),))
        wire.headers(sid, ((":status", "503"),), end=True)

    calls = await world.calls(hints_and_fails, retry=on(*RetryOn))
    assert [block[":status"] for block in (await calls.make(get())).blocks] == ["103", "503"]


async def test_trap_17_a_body_over_the_bound_is_sent_once(world: World) -> None:
    calls = await world.calls(
        in_turn(refuses(14), serves()), retry=on(RetryOn.UNAVAILABLE, body_bytes_max=2000)
    )
    assert await calls.status(body=bytes(2001)) == "14"
    world.peers[0].answer = in_turn(refuses(14), serves())
    assert await calls.status(body=bytes(2000)) == "0"
    world.check_nothing_left()


async def test_an_answer_that_comes_before_the_body_is_whole_is_tried_again_with_all_of_it(
    world: World,
) -> None:
    """The rest of the body goes to the second instance behind what the first one got."""

    calls = await world.calls(serves(), retry=on(RetryOn.UNAVAILABLE))
    world.wires[0].headers(1, grpc())
    world.wires[0].data(1, b"first,")
    behind = await world.peers[0].wire()
    sid = (await behind.asked())[0]
    await until(lambda: behind.heard(sid).data == b"first,", "the beginning arrives")
    refuses(14)(behind, sid)
    await until(lambda: len(behind.requests()) == 2, "the second attempt")
    world.wires[0].data(1, b"second", end=True)
    assert status_of(await calls.wire.over(1)) == "0"
    assert world.peers[0].seen[-1].data == b"first,second"
    resets_sent = [payload for kind, _, it, payload in behind.frames if (kind, it) == (RST_STREAM, sid)]
    assert len(resets_sent) == 1  # the first attempt's half is not left open
    world.check_nothing_left()


async def test_a_caller_that_cancels_while_the_next_attempt_waits_ends_it(world: World) -> None:
    slow = on(RetryOn.UNAVAILABLE, backoff_base_s=30.0, backoff_max_s=30.0)
    calls = await world.calls(refuses(14), retry=slow)
    world.engine.pools[ORDERS].draw = lambda: 0.9
    sid = calls.begin()
    await until(lambda: world.pool.series.retries == 1, "the first attempt fails")
    assert world.engine.outbox.held > 0
    calls.wire.reset(sid)
    await calls.wire.pinged()
    world.check_nothing_left()
    assert len(world.peers[0].seen) == 1


async def test_a_snapshot_that_is_swapped_while_an_attempt_waits_does_not_lose_it(world: World) -> None:
    policy = on(RetryOn.UNAVAILABLE, backoff_base_s=0.2, backoff_max_s=0.2)
    calls = await world.calls(refuses(14), retry=policy)
    world.pool.draw = lambda: 0.99
    sid = calls.begin()
    await until(lambda: world.pool.series.retries == 1, "the first attempt fails")
    other = await Peer(world.mesh, serves("other")).start()
    world.peers.append(other)
    moved = world.mesh.upstream("orders", [other.port], ejection=NEVER_EJECT)
    world.engine.swap(to(world.engine.snapshot, world.destination._replace(target=moved.target)))
    heard = await calls.wire.over(sid)
    assert (status_of(heard), heard.data) == ("0", b"other")
    world.check_nothing_left()


async def test_a_refusal_races_with_the_caller_that_goes(world: World) -> None:
    calls = await world.calls(silent, retry=on(*RetryOn))
    sid = calls.begin()
    behind = await world.peers[0].wire()
    asked = (await behind.asked())[0]
    calls.wire.close()
    await until(lambda: behind.heard(asked).reset is not None, "the cancellation arrives")
    refuses(14)(behind, asked)  # crossing: the stream is no more
    await behind.pinged()
    assert not behind.closed and sid == 1
    world.check_nothing_left()


async def test_goaway_and_policy_together_try_once_more(world: World) -> None:
    calls = await world.calls(silent, serves(), retry=on(RetryOn.UNAVAILABLE))
    world.pool.draw = lambda: 0.0
    sid = calls.begin()
    peer = await until(lambda: next((it for it in world.peers if it.wires), None), "a connection")
    if peer is world.peers[0]:
        await peer.wires[0].asked()
        peer.wires[0].send(frame(GOAWAY, 0, 0, u32(0) + u32(0)))
    assert status_of(await calls.wire.over(sid)) == "0"
    world.check_nothing_left()


async def test_an_attempt_that_takes_too_long_is_replaced(world: World) -> None:
    calls = await world.calls(silent, serves(), retry=on(RetryOn.GATEWAY_ERROR, per_try_s=0.05))
    assert [await calls.status() for _ in range(6)] == ["0"] * 6
    hung = world.peers[0].wires[0]
    assert all(heard.reset == 8 for sid, heard in hung.streams.items() if sid)
    world.check_nothing_left()


async def test_attempts_that_all_take_too_long_are_a_deadline_exceeded(world: World) -> None:
    calls = await world.calls(silent, retry=on(RetryOn.DEADLINE_EXCEEDED, per_try_s=0.05))
    assert await calls.status(grpc()) == "4"
    assert await calls.status(get()) == "504"
    assert len(world.peers[0].seen) == 6
    world.check_nothing_left()


async def test_the_budget_holds_under_a_total_outage(world: World) -> None:
    """Load on instances that all fail grows by a fifth at most."""
    policy = RetryPolicy(5, frozenset((RetryOn.UNAVAILABLE,)), budget_percent=20, budget_min=0)
    calls = await world.calls(refuses(14), refuses(14), refuses(14), retry=policy)
    await calls.status()
    first = sum(len(peer.seen) for peer in world.peers)
    running = [calls.begin() for _ in range(100)]
    asked = 100
    while asked < 3000:  # a closed loop: 100 are under way at all times
        done = [sid for sid in running if calls.wire.heard(sid).ended]
        for sid in done:
            running.remove(sid)
            running.append(calls.begin())
        asked += len(done)
        await asyncio.sleep(0.001)
    for sid in running:
        await calls.wire.over(sid)
    made = sum(len(peer.seen) for peer in world.peers) - first
    assert asked < made <= asked * 1.2, made / asked
    assert world.pool.series.retries_over_budget > 0
    world.check_nothing_left()


async def test_a_failing_instance_leaves_and_no_caller_sees_it(world: World) -> None:
    """Three instances, one of which fails half of its requests: it is out within two seconds, and with
    retries nobody notices, before or after."""
    policy = on(RetryOn.UNAVAILABLE, budget_min=10)  # calls come in bursts of 20
    half = 0

    def fails_half(wire: Wire, sid: int) -> None:
        nonlocal half
        half += 1
        (refuses(14) if half % 2 else serves())(wire, sid)

    ejection = EjectionPolicy(interval_s=0.5, failure_percent=30, failure_percent_min_requests=10)
    calls = await world.calls(fails_half, serves(), serves(), retry=policy, ejection=ejection)
    begun = asyncio.get_running_loop().time()
    statuses = []
    while not world.pool.series.ejected:
        statuses += [status_of(heard) for heard in await calls.many(20)]
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - begun < 10
    took = asyncio.get_running_loop().time() - begun
    before = len(world.peers[0].seen)
    statuses += [status_of(heard) for heard in await calls.many(200)]
    assert set(statuses) == {"0"}
    assert len(world.peers[0].seen) == before
    assert took < 4.0  # two seconds, and what a busy machine adds
    world.check_nothing_left()


async def test_a_plain_route_keeps_to_what_was_surely_not_processed(world: World) -> None:
    calls = await world.calls(refuses(14))
    assert await calls.status() == "14"
    assert len(world.peers[0].seen) == 1
    assert not [kind for kind, _, _, _ in calls.wire.frames if kind == DATA]
