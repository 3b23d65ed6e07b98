"""Targets: how an instance is chosen, and what bounds the load on it."""

import asyncio
import dataclasses
from collections import Counter

import pytest

from sidecar.snapshot import Balance
from sidecar.traffic import HashInput, HashKind, HealthCheck, Locality, ProbeKind
from tests.sidecar.proxy.test_retries import World, world
from tests.support.scripted import Answer, Calls, Peer, answers, get, serves, silent, status_of
from tests.support.switch import outbound_port, to
from tests.support.waiting import until
from tests.support.wire import Wire, dial

__all__ = ["world"]
USER = (HashInput(HashKind.HEADER, "x-user"),)


@pytest.mark.parametrize("balance", [Balance.RING_HASH, Balance.MAGLEV])
async def test_a_hash_keeps_a_user_on_an_instance_also_when_another_leaves(
    world: World, balance: Balance
) -> None:
    calls = await world.calls(
        serves("0"), serves("1"), serves("2"), balance=balance, hash=USER, ring_size_min=1024
    )
    before = {user: (await calls.make(get(x_user=user))).data for user in range(60)}
    assert len(set(before.values())) == 3
    assert {user: (await calls.make(get(x_user=user))).data for user in range(60)} == before
    old = world.engine.snapshot
    target = world.destination.target
    fewer = dataclasses.replace(target, instances=target.instances[:2])
    world.engine.swap(dataclasses.replace(old, targets={target.id: fewer}))
    after = {user: (await calls.make(get(x_user=user))).data for user in range(60)}
    kept = [user for user in before if before[user] != b"2"]
    moved = sum(after[user] != before[user] for user in kept)
    assert moved <= len(kept) // (20 if balance is Balance.RING_HASH else 4)


async def test_a_cookie_is_made_for_callers_without_one_and_leads_to_the_same_instance(world: World) -> None:
    cookie = HashInput(HashKind.COOKIE, "side", cookie_generate=True, cookie_ttl_s=60, cookie_path="/")
    calls = await world.calls(
        serves("0"), serves("1"), serves("2"), balance=Balance.RING_HASH, hash=(cookie,)
    )
    for _ in range(12):
        first = await calls.make(get())
        made = first.blocks[0]["set-cookie"]
        assert made.endswith("; Max-Age=60; Path=/; HttpOnly")
        pair = made.partition(";")[0]
        again = await calls.make(get(cookie=f"a=b; {pair}"))
        assert again.data == first.data and "set-cookie" not in again.blocks[0]


async def test_a_source_address_or_a_query_parameter_can_be_what_is_hashed(world: World) -> None:
    both = (HashInput(HashKind.QUERY, "q", terminal=True), HashInput(HashKind.SOURCE))
    calls = await world.calls(serves("0"), serves("1"), serves("2"), balance=Balance.RING_HASH, hash=both)
    assert len({(await calls.make(get("/"))).data for _ in range(12)}) == 1
    assert len({(await calls.make(get(f"/?q={number}"))).data for number in range(30)}) == 3


async def test_random_and_least_of_many_reach_everybody(world: World) -> None:
    for settings in ({"balance": Balance.RANDOM}, {"choice_count": 3}, {"balance": Balance.ROUND_ROBIN}):
        calls = await world.calls(serves("0"), serves("1"), serves("2"), **settings)
        assert len({heard.data for heard in await calls.many(60)}) == 3


async def test_weights_are_respected(world: World) -> None:
    calls = await world.calls(serves("0"), serves("1"), balance=Balance.RANDOM)
    target = world.destination.target
    heavy = dataclasses.replace(
        target, instances=(dataclasses.replace(target.instances[0], weight=9), target.instances[1])
    )
    world.engine.swap(dataclasses.replace(world.engine.snapshot, targets={target.id: heavy}))
    count = Counter(heard.data for heard in await calls.many(400))
    assert 330 <= count[b"0"] <= 390, count


async def test_the_nearest_instances_are_used_while_there_is_one(world: World) -> None:
    calls = await world.calls(serves("zone"), serves("region"), serves("far"), by_locality=True)
    target = world.destination.target
    places = (Locality("eu", "a"), Locality("eu", "b"), Locality("us", "a"))
    here = [dataclasses.replace(it, locality=at) for it, at in zip(target.instances, places, strict=True)]
    snapshot = dataclasses.replace(world.engine.snapshot, locality=Locality("eu", "a"))
    for gone, expected in ((0, b"zone"), (1, b"region"), (2, b"far")):
        there = tuple(dataclasses.replace(it, healthy=number >= gone) for number, it in enumerate(here))
        placed = dataclasses.replace(target, instances=there)
        world.engine.swap(dataclasses.replace(snapshot, targets={target.id: placed}))
        assert {heard.data for heard in await calls.many(20)} == {expected}


async def test_in_panic_all_instances_are_used(world: World) -> None:
    calls = await world.calls(serves("0"), serves("1"), serves("2"), panic_percent=50)
    target = world.destination.target

    def with_healthy(count: int) -> None:
        instances = tuple(
            dataclasses.replace(it, healthy=number < count) for number, it in enumerate(target.instances)
        )
        changed = dataclasses.replace(target, instances=instances)
        world.engine.swap(dataclasses.replace(world.engine.snapshot, targets={target.id: changed}))

    with_healthy(2)
    assert {heard.data for heard in await calls.many(40)} == {b"0", b"1"}
    with_healthy(1)
    assert {heard.data for heard in await calls.many(40)} == {b"0", b"1", b"2"}


async def test_a_new_instance_starts_slowly(world: World) -> None:
    calls = await world.calls(serves("old"), slow_start_s=60.0, balance=Balance.RANDOM)
    await calls.make()
    new = await Peer(world.mesh, serves("new")).start()
    world.peers.append(new)
    both = world.mesh.target(
        "orders", [world.peers[0].port, new.port], slow_start_s=60.0, balance=Balance.RANDOM
    )
    world.engine.swap(to(world.engine.snapshot, world.destination._replace(target=both)))
    count = Counter(heard.data for heard in await calls.many(300))
    assert 5 <= count[b"new"] <= 60, count  # a tenth of a share: 27
    for endpoint in world.pool.endpoints.values():
        endpoint.joined_at -= 60.0
    world.pool.second_passed(world.engine.outbox.clock())
    count = Counter(heard.data for heard in await calls.many(300))
    assert 100 <= count[b"new"] <= 200, count


# --- circuit breakers --------------------------------------------------------------------------------


async def test_requests_under_way_are_bounded(world: World) -> None:
    calls = await world.calls(silent, requests_max=3)
    sids = [calls.begin() for _ in range(5)]
    await until(lambda: sum(calls.wire.heard(sid).ended for sid in sids) == 2, "two are refused")
    refused = [calls.wire.heard(sid).blocks[0] for sid in sids if calls.wire.heard(sid).ended]
    assert {block["grpc-status"] for block in refused} == {"14"}
    assert "too many requests are under way to orders" in refused[0]["grpc-message"]
    assert await calls.status(get()) == "503"
    assert world.pool.series.overflows == {"requests": 3}
    behind = world.peers[0].wires[0]
    for sid in behind.requests():
        serves()(behind, sid)
    for sid in sids:
        await calls.wire.over(sid)
    world.check_nothing_left()
    assert not calls.wire.heard(calls.begin()).ended


async def test_waiting_requests_are_bounded(world: World) -> None:
    calls = await world.calls(serves(), pending_max=2)
    heard = await calls.many(5)  # before there is a connection
    assert sorted(map(status_of, heard)) == ["0", "0", "14", "14", "14"]
    assert world.pool.series.overflows == {"pending": 3}
    world.check_nothing_left()


async def test_a_caller_with_many_waiting_requests_gives_way_to_another(world: World) -> None:
    calls = await world.calls(serves(), pending_max=4)
    await calls.make()
    (endpoint,) = world.pool.endpoints.values()
    (conn,) = endpoint.conns
    conn.room, endpoint.connecting = 0, True
    flood = [calls.begin() for _ in range(6)]
    await until(lambda: world.pool.series.overflows.get("pending") == 2, "they are too many")
    world.wires.append(await dial(outbound_port(world.engine)))
    other = Calls(world.wires[-1])
    patient = other.begin()
    await until(lambda: world.pool.series.overflows["pending"] == 3, "one more than may wait")
    conn.room, endpoint.connecting = 10, False
    world.pool.serve(endpoint)
    world.engine.outbox.flush()
    assert status_of(await other.wire.over(patient)) == "0"
    ended = [status_of(await calls.wire.over(sid)) for sid in flood]
    assert ended == ["0", "0", "0", "14", "14", "14"]
    world.check_nothing_left()


async def test_connections_are_bounded_and_shared(world: World) -> None:
    calls = await world.calls(serves("0"), serves("1"), serves("2"), connections_max=1)
    heard = await calls.many(30)
    assert {status_of(it) for it in heard} == {"0"} and len({it.data for it in heard}) == 1
    assert sum(len(peer.wires) for peer in world.peers) == 1
    assert world.pool.series.overflows["connections"] > 0
    world.check_nothing_left()


async def test_no_connection_at_all_is_a_typed_answer(world: World) -> None:
    calls = await world.calls(serves("0"), connections_max=1)
    world.pool._connections_max = -1
    heard = await calls.make()
    assert heard.blocks[0]["grpc-message"] == "weft: too many connections to orders"
    world.check_nothing_left()


# --- active health checks ----------------------------------------------------------------------------


def health(healthy: list[bool], kind: ProbeKind, number: int) -> Answer:
    """Serves requests with its number, and questions by `healthy[0]`."""

    def answer(wire: Wire, sid: int) -> None:
        path = wire.heard(sid).blocks[0][":path"]
        if path == "/health":
            answers(204 if healthy[0] else 503)(wire, sid)
        elif path == "/grpc.health.v1.Health/Check":
            assert wire.heard(sid).data == b"\0\0\0\0\x03\x0a\x01s"
            wire.headers(sid, ((":status", "200"), ("content-type", "application/grpc")))
            wire.data(sid, b"\0\0\0\0\x02\x08" + (b"\x01" if healthy[0] else b"\x02"))
            wire.headers(sid, (("grpc-status", "0"),), end=True)
        else:
            serves(str(number))(wire, sid)

    return answer


@pytest.mark.parametrize("kind", [ProbeKind.GRPC, ProbeKind.HTTP])
async def test_an_instance_that_says_it_is_sick_gets_no_requests(world: World, kind: ProbeKind) -> None:
    states = [[True], [False]]
    what = "s" if kind is ProbeKind.GRPC else "/health"
    check = HealthCheck(kind, what, 0.05, 5.0, unhealthy_threshold=2, healthy_threshold=2)
    calls = await world.calls(*(health(it, kind, n) for n, it in enumerate(states)), health_check=check)
    await until(lambda: len(world.pool.live) == 1, "the second one leaves")
    assert {heard.data for heard in await calls.many(20)} == {b"0"}
    states[0][0], states[1][0] = False, True
    await until(lambda: [it.sick for it in world.pool.endpoints.values()] == [True, False], "they change")
    assert {heard.data for heard in await calls.many(20)} == {b"1"}
    world.engine.swap(
        to(
            world.engine.snapshot,
            world.destination._replace(
                target=dataclasses.replace(world.destination.target, health_check=None)
            ),
        )
    )
    assert len(world.pool.live) == 2  # nobody is sick where nobody asks


async def test_an_instance_that_does_not_answer_is_sick(world: World) -> None:
    check = HealthCheck(ProbeKind.HTTP, "/health", 0.05, 0.1, unhealthy_threshold=2)
    await world.calls(silent, serves("1"), health_check=check)
    await until(lambda: next(it.sick for it in world.pool.endpoints.values()), "it is found out")
    world.peers[1].close()
    await until(lambda: not world.pool.live, "so is the one that is gone")
    world.engine.swap(to(world.engine.snapshot))
    assert world.engine.outbox.held == 0


async def test_a_connection_can_be_the_question(world: World) -> None:
    check = HealthCheck(ProbeKind.TCP, "", 0.05, 1.0, unhealthy_threshold=2, healthy_threshold=1)
    calls = await world.calls(serves("0"), serves("1"), health_check=check)
    await until(lambda: all(it.conns for it in world.pool.endpoints.values()), "both are reached")
    world.peers[1].close()
    await until(lambda: len(world.pool.live) == 1, "the one that went is left out")
    assert {heard.data for heard in await calls.many(10)} == {b"0"}


async def test_health_checks_end_with_the_engine(world: World) -> None:
    check = HealthCheck(ProbeKind.HTTP, "/health", 0.02, 5.0)
    await world.calls(silent, health_check=check)
    await until(lambda: world.peers[0].seen, "a question")
    await asyncio.wait_for(world.engine.close(), 5)
    assert world.engine.outbox.held == 0
    world.mesh.engines.remove(world.engine)
