"""Whatever peers, callers and the configuration do at once: each request ends, and nothing is left of it."""

import asyncio
import dataclasses
import random

import pytest

from sidecar.snapshot import Balance, Route, Split
from sidecar.traffic import EjectionPolicy, HashInput, HashKind, Mirror, RetryOn, RetryPolicy, Target
from tests.sidecar.proxy.test_retries import World, world
from tests.support.scripted import Answer, Calls, Peer, answers, get, grpc, refuses, resets, serves, silent
from tests.support.switch import Destination, outbound_port
from tests.support.waiting import until
from tests.support.wire import GOAWAY, HEAD_OK, Wire, dial, frame, u32

__all__ = ["world"]
REQUESTS = 400


def begins(wire: Wire, sid: int) -> None:
    """An answer that never ends."""
    wire.headers(sid, HEAD_OK)
    wire.data(sid, b"x")


def leaves(wire: Wire, sid: int) -> None:
    wire.send(frame(GOAWAY, 0, 0, u32(sid) + u32(0)))
    serves()(wire, sid)


def any_of(chance: random.Random) -> Answer:
    """Another behaviour each time, mostly a good one."""
    bad = [
        refuses(14),
        answers(503),
        answers(500, b"body"),
        resets(2),
        resets(7),
        resets(8),
        silent,
        begins,
        leaves,
    ]

    def answer(wire: Wire, sid: int) -> None:
        if chance.random() < 0.6:
            serves()(wire, sid)
        elif chance.random() < 0.02:
            wire.close()
        else:
            chance.choice(bad)(wire, sid)

    return answer


class Disorder:
    """What changes while requests are under way."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance

    async def start(self) -> None:
        world = self.world
        world.peers = [await Peer(world.mesh, any_of(self.chance)).start() for _ in range(3)]
        world._all_peers = list(world.peers)
        world.destination = self.destination()
        snapshot = world.mesh.snapshot("web", upstreams=[world.destination])
        world.engine = await world.mesh.engine(snapshot)

    def destination(self) -> Destination:
        """Any configuration of the same destination."""
        world, chance = self.world, self.chance
        peers = chance.sample(world.peers, chance.randint(1, 3))
        target: Target = world.mesh.target(
            "orders",
            [peer.port for peer in peers],
            balance=chance.choice(list(Balance)),
            hash=(HashInput(HashKind.HEADER, "x-user"),),
            ejection=EjectionPolicy(3, 0.05, 0.2, 70),
            requests_max=chance.choice([0, 20, 1000]),
            pending_max=chance.choice([4, 1024]),
            connections_max=chance.choice([0, 2]),
            panic_percent=chance.choice([0, 50]),
        )
        route = Route(
            "r",
            (Split(6_000, target.id), Split(4_000, target.id)),
            timeout_s=0.5,
            idle_s=chance.choice([0.0, 0.2]),
            retry=RetryPolicy(
                chance.randint(1, 4),
                frozenset(chance.sample(list(RetryOn), 8)),
                per_try_s=chance.choice([0.0, 0.05]),
                backoff_base_s=0.002,
                backoff_max_s=0.02,
                budget_percent=50,
            ),
            mirrors=(Mirror(target.id, 100_000),),
        )
        listen = world.destination.upstream.listen if hasattr(world, "destination") else None
        made = world.mesh.upstream("orders", [])
        upstream = dataclasses.replace(made.upstream, routes=(route,), listen=listen or made.upstream.listen)
        return Destination(upstream, target)

    def swap(self) -> None:
        world = self.world
        old = world.engine.snapshot
        made = self.destination()
        world.engine.swap(
            dataclasses.replace(
                old, upstreams={"orders": made.upstream}, targets={made.target.id: made.target}
            )
        )


async def drive(calls: Calls, chance: random.Random) -> None:
    """One caller: requests of all kinds, some of them given up."""
    under_way: list[int] = []
    given_up: set[int] = set()
    for _ in range(REQUESTS // 4):
        fields = (grpc if chance.random() < 0.7 else get)(x_user=chance.randint(0, 9))
        kind = chance.random()
        if kind < 0.7:
            under_way.append(calls.begin(fields, bytes(chance.choice([0, 10, 3000]))))
        else:  # the body comes in pieces, or never whole
            calls._sid += 2
            calls.wire.headers(calls._sid, fields)
            for _ in range(chance.randint(0, 3)):
                calls.wire.data(calls._sid, bytes(chance.choice([1, 9000])))
                await asyncio.sleep(0)
            if kind < 0.9:
                calls.wire.data(calls._sid, b"end", end=True)
            under_way.append(calls._sid)
        if chance.random() < 0.1:
            chosen = chance.choice(under_way)
            given_up.add(chosen)
            calls.wire.reset(chosen)
        if chance.random() < 0.3:
            await asyncio.sleep(0.002)
    for sid in under_way:
        if sid not in given_up:
            await calls.wire.over(sid)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 8))])
async def test_every_request_ends_and_nothing_is_left(world: World, seed: int) -> None:
    chance = random.Random(seed)
    disorder = Disorder(world, chance)
    await disorder.start()
    wires = [await dial(outbound_port(world.engine)) for _ in range(4)]
    world.wires += wires
    callers = [asyncio.ensure_future(drive(Calls(wire), chance)) for wire in wires]
    while not all(caller.done() for caller in callers):
        disorder.swap()
        await asyncio.sleep(0.05)
    await asyncio.gather(*callers)
    assert not any(wire.closed for wire in wires), "a caller's connection broke"
    await until(lambda: not world.engine.mirror.sink.streams, "all copies end", deadline_s=30.0)
    await until(lambda: world.engine.outbox.held == 0, "nothing is held")
    world.check_nothing_left()
