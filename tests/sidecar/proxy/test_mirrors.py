"""Mirrors: copies whose answers nobody waits for."""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from sidecar.events import MIRRORED
from sidecar.proxy import mirror
from sidecar.proxy.engine import Engine
from sidecar.traffic import Mirror
from tests.support.scripted import Calls, Peer, answers, grpc, resets, serves, silent, status_of
from tests.support.switch import Mesh, all_to, outbound_port, target_id
from tests.support.waiting import until
from tests.support.wire import Wire, dial

SHADOW = target_id("orders", "shadow")


class Mirrored:
    """web's engine, orders, and a shadow of it that gets copies."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.real = Peer(mesh, serves("real"))
        self.shadow = Peer(mesh, serves("shadow"))
        self.wires: list[Wire] = []

    async def calls(self, ppm: int = 1_000_000) -> Calls:
        await self.real.start()
        await self.shadow.start()
        destination = self.mesh.upstream("orders", [self.real.port])
        route = all_to(destination.target, mirrors=(Mirror(SHADOW, ppm),))
        upstream = dataclasses.replace(destination.upstream, routes=(route,))
        shadow = self.mesh.target("orders", [self.shadow.port], "shadow")
        self.engine: Engine = await self.mesh.engine(
            self.mesh.snapshot("web", upstreams=[destination._replace(upstream=upstream)], targets=[shadow])
        )
        self.wires.append(await dial(outbound_port(self.engine)))
        return Calls(self.wires[-1])

    def counted(self) -> dict[str, int]:
        """Copies by outcome."""
        found = self.engine.telemetry.all_counts[MIRRORED]
        return {labels[-1]: count.value for labels, count in found.items() if count.value}

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        for peer in (self.real, self.shadow):
            if peer.port:
                peer.close()


@pytest.fixture
async def mirrored(mesh: Mesh) -> AsyncIterator[Mirrored]:
    running = Mirrored(mesh)
    yield running
    running.close()


async def test_a_copy_has_the_body_and_says_that_it_is_one(mirrored: Mirrored) -> None:
    calls = await mirrored.calls()
    assert (await calls.make(grpc(x_request_id=7), b"body")).data == b"real"
    await until(lambda: mirrored.counted() == {"answered": 1}, "the copy is answered")
    head, body = mirrored.shadow.heads[0], mirrored.shadow.seen[0].data
    assert (head[":authority"], head[":path"], head["x-request-id"], body) == (
        "orders-shadow",
        "/s/m",
        "7",
        b"body",
    )
    assert mirrored.real.heads[0][":authority"] == "orders"
    assert mirrored.engine.outbox.held == 0 and not mirrored.engine.mirror.under_way


async def test_copies_on_an_open_connection_have_their_bodies_too(mirrored: Mirrored) -> None:
    calls = await mirrored.calls()
    sent = [b"first", b"second", b"third"]
    for number, body in enumerate(sent, 1):
        length = ("content-length", str(len(body)))
        assert (await calls.make([*grpc(), length], body)).data == b"real"
        await until(lambda: mirrored.counted() == {"answered": number}, "the copy is answered")  # noqa: B023
    assert [seen.data for seen in mirrored.shadow.seen] == sent
    assert mirrored.engine.outbox.held == 0


async def test_a_share_of_requests_is_copied(mirrored: Mirrored) -> None:
    calls = await mirrored.calls(ppm=300_000)
    await calls.many(300)
    await until(lambda: not mirrored.engine.mirror.under_way, "all copies are answered")
    assert 50 <= mirrored.counted()["answered"] <= 130


async def test_copies_wait_a_little_and_go_out_one_in_each_turn(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "GATHERED_S", 3600.0)
    calls = await mirrored.calls()
    await calls.many(5)
    copies = mirrored.engine.mirror
    assert copies.under_way == 5 and not copies.sink.streams
    assert mirrored.engine.outbox.held > 0
    copies._send_next()
    assert len(copies.sink.streams) == 1
    await until(lambda: mirrored.counted() == {"answered": 5}, "the others follow by themselves")
    assert mirrored.engine.outbox.held == 0


async def test_a_switch_that_stops_sends_no_more_copies(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "GATHERED_S", 3600.0)
    calls = await mirrored.calls()
    await calls.many(3)
    await mirrored.engine.close()
    assert mirrored.engine.mirror.under_way == 0 and mirrored.engine.outbox.held == 0
    assert not mirrored.shadow.heads


async def test_what_becomes_of_copies_is_no_caller_s_business(mirrored: Mirrored) -> None:
    """A shadow that fails, hangs, resets or is not there changes nothing for the request."""
    calls = await mirrored.calls()
    for behaviour in (answers(500), resets(2), silent):
        mirrored.shadow.answer = behaviour
        assert [status_of(heard) for heard in await calls.many(5)] == ["0"] * 5
    await until(lambda: mirrored.counted().get("failed") == 10, "the others have failed")
    assert mirrored.engine.mirror.under_way == 5
    mirrored.shadow.close()
    assert [status_of(heard) for heard in await calls.many(5)] == ["0"] * 5
    await until(lambda: not mirrored.engine.mirror.under_way, "nothing is left")
    assert mirrored.counted() == {"failed": 20}
    assert mirrored.engine.outbox.held == 0


async def test_copies_end_when_nobody_answers_them(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "TIME_S", 0.05)
    mirrored.shadow.answer = silent
    calls = await mirrored.calls()
    await calls.many(5)
    await until(lambda: mirrored.counted() == {"failed": 5}, "their time is over")
    assert mirrored.engine.outbox.held == 0


async def test_copies_are_dropped_and_counted_where_there_is_no_room(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "UNDER_WAY_MAX", 3)
    mirrored.shadow.answer = silent
    calls = await mirrored.calls()
    assert {status_of(heard) for heard in await calls.many(10)} == {"0"}
    assert mirrored.counted() == {"dropped": 7}
    mirrored.engine.outbox.held_max = 16
    await calls.make(body=bytes(100))
    assert mirrored.counted() == {"dropped": 8}


async def test_a_body_that_is_not_whole_when_the_answer_begins_is_not_copied(mirrored: Mirrored) -> None:
    calls = await mirrored.calls()
    calls.wire.headers(1, grpc())
    behind = await mirrored.real.wire()
    serves("early")(behind, (await behind.asked())[0])
    assert status_of(await calls.wire.over(1)) == "0"
    assert mirrored.counted() == {"dropped": 1}
    assert mirrored.engine.outbox.held == 0


async def test_a_large_answer_to_a_copy_is_thrown_away_as_it_comes(mirrored: Mirrored) -> None:
    mirrored.shadow.answer = answers(200, bytes(16_000))

    def large(wire: Wire, sid: int) -> None:
        wire.headers(sid, ((":status", "200"),))
        for _ in range(3):
            wire.data(sid, bytes(16_000))
        wire.data(sid, b"end", end=True)

    mirrored.shadow.answer = large
    calls = await mirrored.calls()
    await calls.many(30)
    await until(lambda: mirrored.counted() == {"answered": 30}, "all of it has come")
    assert mirrored.engine.outbox.held == 0
