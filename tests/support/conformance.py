"""What every engine of the log must do: one suite, run over each of them.

A check takes an `Engine`, which opens servers of one log and does to them what only it can. Checks under
ANY hold for every log, those under DURABLE for one that outlives its process, those under SEVERAL for one
with several servers. Indexes are compared with one another, never with numbers: an engine may use some up.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import islice
from typing import Any, Protocol

import pytest

from registry.catalog import commands, watches
from registry.catalog.apply import apply, raise_refusal
from registry.catalog.snapshot import encode
from registry.catalog.state import State
from registry.errors import CommandRefused, InvalidCommand, NotReady, OutcomeUnknown, UnknownCommand
from registry.replica.port import Log, Result
from tests.support.catalog import check, intention, node, service, stamp
from tests.support.waiting import until
from weft.pb.catalog.v1.command_pb2 import Command

DEADLINE_S = 30.0
SNAPSHOT_AFTER_BYTES = 12_000


class Engine(Protocol):
    """Servers of one log. Everything is ended by whoever made it."""

    async def open(self) -> Log:
        """Another server of the log, up to date; the same one again after `crash` where there is but one."""

    async def crash(self, log: Log) -> None:
        """Ends a server as kill -9 would."""

    async def leader(self) -> Log:
        """The server that leads."""

    async def cut_off(self, log: Log) -> Callable[[], Awaitable[None]]:
        """Another server comes to lead without `log` hearing of it, until the answer is called."""

    async def is_trimmed(self) -> bool:
        """Whether there is a snapshot, and the log no longer begins with its first command."""


Check = Callable[[Engine], Coroutine[Any, Any, None]]


async def check_log(engine: Any, holds: Check) -> None:
    """Runs one check, with a deadline. The engine need only have what this check asks of it."""
    await asyncio.wait_for(holds(engine), DEADLINE_S)


def _write(name: str = "web", on: str = "n1") -> Command:
    return commands.register(stamp(), node(on), [service(f"{name}-1", name, on)])


def _names(log: Log) -> set[str]:
    return set(log.view().service_names().rows)


def _picture(state: State) -> bytes:
    """All rows. Not the head: an engine may move the index on its own account."""
    return b"".join(islice(encode(state), 1, None))


# Order


async def a_write_is_in_the_view_once_it_is_answered(engine: Engine) -> None:
    log = await engine.open()
    before = log.view().index
    result = await log.propose(_write())
    assert before < result.index <= log.view().index
    assert [entry.service.id for entry in log.view().service_nodes("web").rows] == ["web-1"]
    assert (await log.propose(commands.set_intention(stamp(), intention("a", "b")))).value


async def writes_are_applied_in_the_order_they_were_made(engine: Engine) -> None:
    log = await engine.open()
    results = await asyncio.gather(*(log.propose(_write(f"s{number}")) for number in range(50)))
    indexes = [result.index for result in results]
    assert indexes == sorted(set(indexes))
    rows = [log.view().service_nodes(f"s{number}").rows[0] for number in range(50)]
    assert [row.service.indexes.create for row in rows] == indexes


async def many_writers_get_an_index_each(engine: Engine) -> None:
    log = await engine.open()
    answered: list[tuple[int, str]] = []

    async def write(writer: int) -> None:
        last = 0
        for number in range(10):
            name = f"w{writer}-{number}"
            result = await log.propose(_write(name))
            assert result.index > last, "a writer's own writes go in their order"
            last = result.index
            answered.append((last, name))

    await asyncio.gather(*(write(writer) for writer in range(16)))
    assert len({index for index, _ in answered}) == len(answered) == 160
    for index, name in answered:
        (row,) = log.view().service_nodes(name).rows
        assert row.service.indexes.create == index


# Outcomes


def _mistakes() -> Iterator[Command]:
    """Writes of which many are refused, each for another reason."""
    yield commands.deregister_node(stamp(), "nope")
    yield commands.register(stamp(), node("no name"))
    yield _write()
    yield commands.update_check(stamp(), "n1", "missing", "passing", "")
    yield commands.register(stamp(), node(), [], [check("c1", "web-1")])
    yield commands.update_check(stamp(), "n1", "c1", "no such status", "")
    yield commands.update_check(stamp(), "n1", "c1", "critical", "down", expected_modify_index=10**9)
    yield commands.mint_credential(stamp(), "dc1/n1/none", b"x" * 32)
    yield commands.set_intention(stamp(), intention("", "web"))
    yield commands.delete_intention(stamp(), "nobody", "nothing")
    yield Command(version=1, time_ms=1, request_id=b"short", expire=commands.expire(stamp()).expire)
    yield commands.deregister_services(stamp(), "n1", ["web-1", "web-2"])


async def refusals_are_those_of_the_state_machine(engine: Engine) -> None:
    log = await engine.open()
    first = _write()
    index = (await log.propose(first)).index  # messages name indexes: the leader's own entries lie before
    state, refused = apply(State(index=index - 1), first, index).state, 0
    for command in _mistakes():
        step = apply(state, command, state.index + 1)
        state = step.state
        try:
            raise_refusal(step.answer)
        except CommandRefused as error:
            refused += 1
            with pytest.raises(type(error)) as caught:
                await log.propose(command)
            assert str(caught.value) == str(error)
        else:
            assert (await log.propose(command)).value == step.answer.value
    assert refused >= 8


async def what_is_unknown_or_too_large_never_gets_into_the_log(engine: Engine) -> None:
    log = await engine.open()
    before = (await log.propose(_write())).index
    with pytest.raises(UnknownCommand):
        await log.propose(Command(version=1000))
    huge = commands.update_check(stamp(), "n1", "c", "passing", "x" * (4 * 1024 * 1024))
    with pytest.raises(InvalidCommand, match="bytes"):
        await log.propose(huge)
    assert (await log.propose(_write("db"))).index == before + 1


async def a_large_write_goes_through(engine: Engine) -> None:
    """About two MiB: as large as the bounds of a registration allow."""
    log = await engine.open()
    meta = {f"key-{number}": "v" * 512 for number in range(64)}
    rows = [service(f"big-{number}", "big", meta=meta) for number in range(64)]
    write = commands.register(stamp(), node(), rows)
    assert len(write.SerializeToString()) > 2_000_000
    await asyncio.gather(log.propose(_write("a")), log.propose(write), log.propose(_write("b")))
    assert len(log.view().service_nodes("big").rows) == 64
    assert _names(log) == {"a", "b", "big"}


async def a_retried_request_id_is_answered_not_applied_again(engine: Engine) -> None:
    log = await engine.open()
    write = commands.set_intention(stamp(), intention("a", "b"))
    first = await log.propose(write)
    await log.propose(commands.delete_intention(stamp(), "a", "b"))
    assert await log.propose(write) == first
    assert not log.view().intentions
    twice = commands.set_intention(stamp(), intention("c", "d"))
    assert len(set(await asyncio.gather(*(log.propose(twice) for _ in range(5))))) == 1


async def a_cancelled_caller_does_not_disturb_the_others(engine: Engine) -> None:
    log = await engine.open()
    first, second = (asyncio.ensure_future(log.propose(_write(name))) for name in ("a", "b"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    await log.propose(_write("c"))
    assert {"b", "c"} <= _names(log)


# Reading and waiting


async def a_read_index_covers_what_was_answered(engine: Engine) -> None:
    log = await engine.open()
    for number in range(5):
        result = await log.propose(_write(f"s{number}"))
        assert result.index <= await log.read_index() <= log.view().index
        assert result.index <= await log.read_index(consistent=True) <= log.view().index
    together = await asyncio.gather(*(log.read_index() for _ in range(50)))
    assert min(together) >= result.index


async def a_change_wakes_only_those_who_read_it(engine: Engine) -> None:
    log = await engine.open()
    index = (await log.propose(_write("web"))).index
    web = asyncio.ensure_future(log.wait([watches.service("web")], index, DEADLINE_S))
    others = [
        asyncio.ensure_future(log.wait([watches.service(f"s{number}")], index, DEADLINE_S))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await log.propose(commands.deregister_services(stamp(), "n1", ["web-1"]))
    await web
    await asyncio.sleep(0)
    assert not any(other.done() for other in others)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def waiting_ends_at_once_in_time_or_with_the_log(engine: Engine) -> None:
    log = await engine.open()
    index = (await log.propose(_write())).index
    await log.wait([watches.service("web"), watches.ROOTS], index - 1, 3600.0)
    await log.wait([watches.ROOTS], index, 0.01)
    waiting = asyncio.ensure_future(log.wait([watches.ROOTS], index, 3600.0))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(NotReady):
        await waiting


async def closing_finishes_writes_and_refuses_further_ones(engine: Engine) -> None:
    await engine.open()
    log = await engine.leader()
    write = asyncio.ensure_future(log.propose(_write()))
    await asyncio.sleep(0)
    await log.close()
    assert (await write).index == log.view().index
    for refused in (log.propose(_write("late")), log.read_index()):
        with pytest.raises(NotReady):
            await refused
    assert _names(log) == {"web"}
    assert (log.status().leader, log.status().is_leader) == ("", False)


# Durability


async def what_was_answered_survives_a_crash(engine: Engine) -> None:
    log = await engine.open()
    last = 0
    for round_ in range(3):
        results = await asyncio.gather(*(log.propose(_write(f"r{round_}-{it}")) for it in range(20)))
        last = max(last, *(result.index for result in results))
        before = _picture(log.view())
        await engine.crash(log)
        log = await engine.open()
        await log.read_index()
        assert _names(log) == {f"r{done}-{it}" for done in range(round_ + 1) for it in range(20)}
        assert _picture(log.view()) == before
    assert (await log.propose(_write())).index > last


async def a_retry_after_a_crash_is_answered_not_applied_again(engine: Engine) -> None:
    log = await engine.open()
    write = commands.set_intention(stamp(), intention("a", "b"))
    first: Result = await log.propose(write)
    await log.propose(commands.delete_intention(stamp(), "a", "b"))
    await engine.crash(log)
    log = await engine.open()
    assert await log.propose(write) == first
    assert not log.view().intentions


async def snapshots_take_the_place_of_the_log(engine: Engine) -> None:
    log = await engine.open()

    async def write(writer: int) -> None:
        for number in range(40):
            await log.propose(_write(f"s{(writer + number) % 9}", on=f"n{number % 5}"))

    async def trimmed() -> bool:
        await write(0)
        return await engine.is_trimmed()

    await asyncio.gather(*(write(writer) for writer in range(4)))
    await until(trimmed, "the log is trimmed", DEADLINE_S)
    before = {name: log.view().service_nodes(name).rows for name in _names(log)}
    await engine.crash(log)
    again = await engine.open()
    await again.read_index()
    assert {name: again.view().service_nodes(name).rows for name in _names(again)} == before
    assert (await again.propose(_write("after"))).index > 200


# Several servers


async def _same_everywhere(*logs: Log) -> None:
    """All come to the same state, byte for byte."""

    async def agree() -> bool:
        await asyncio.gather(*(log.read_index() for log in logs))
        return len({log.view().index for log in logs}) == 1

    await until(agree, "all servers are at the same index", DEADLINE_S)
    assert len({_picture(log.view()) for log in logs}) == 1


async def any_server_takes_writes_and_all_agree(engine: Engine) -> None:
    logs = [await engine.open() for _ in range(3)]

    async def write(writer: int) -> list[int]:
        log = logs[writer % 3]
        return [(await log.propose(_write(f"w{writer}-{it}"))).index for it in range(8)]

    indexes = [index for part in await asyncio.gather(*map(write, range(12))) for index in part]
    assert len(set(indexes)) == len(indexes) == 96
    await _same_everywhere(*logs)


async def a_read_index_covers_what_any_server_answered(engine: Engine) -> None:
    logs = [await engine.open() for _ in range(2)]
    draw = random.Random(1)
    for number in range(20):
        writer, reader = draw.sample(logs, 2)
        result = await writer.propose(_write(f"s{number}"))
        assert await reader.read_index(consistent=bool(number % 2)) >= result.index
        assert f"s{number}" in _names(reader)


async def a_wait_ends_with_a_write_at_another_server(engine: Engine) -> None:
    here, there = await engine.open(), await engine.open()
    index = (await here.propose(_write())).index
    await there.read_index()
    waiting = asyncio.ensure_future(there.wait([watches.service("web")], index, 3600.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await here.propose(commands.deregister_services(stamp(), "n1", ["web-1"]))
    await waiting
    assert not there.view().service_nodes("web").rows


async def one_server_leads_and_all_know_it(engine: Engine) -> None:
    logs = [await engine.open() for _ in range(3)]
    await engine.leader()

    def agreed() -> bool:
        seen = [log.status() for log in logs]
        one = [it.is_leader for it in seen].count(True) == 1
        return one and len({(it.leader_id, it.leader, it.peers) for it in seen}) == 1

    await until(agreed, "one leader", DEADLINE_S)
    (leader,) = [log.status() for log in logs if log.status().is_leader]
    assert leader.leader_id == leader.server_id
    await until(lambda: len(set(logs[0].status().peers)) == 3, "all are known", DEADLINE_S)
    assert leader.leader in logs[0].status().peers


async def a_retry_at_another_server_is_answered_not_applied_again(engine: Engine) -> None:
    here, there = await engine.open(), await engine.open()
    write = commands.set_intention(stamp(), intention("a", "b"))
    first = await here.propose(write)
    await here.propose(commands.delete_intention(stamp(), "a", "b"))
    assert await there.propose(write) == first
    assert not there.view().intentions


async def a_deposed_leader_neither_writes_nor_reads(engine: Engine) -> None:
    logs = [await engine.open() for _ in range(3)]
    old = await engine.leader()
    await old.propose(_write("before"))
    heal = await engine.cut_off(old)
    new = await engine.leader()
    assert new is not old
    await new.propose(_write("meanwhile"))
    mine = _write("deposed")
    write, read = (asyncio.ensure_future(it) for it in (old.propose(mine), old.read_index(consistent=True)))
    await asyncio.sleep(0)
    await heal()
    written, found = await asyncio.gather(write, read, return_exceptions=True)
    if isinstance(found, int):
        assert "meanwhile" in _names(old), "a read of before the deposition"
    else:
        assert isinstance(found, NotReady)
    await _same_everywhere(*logs)
    if isinstance(written, NotReady):
        assert "deposed" not in _names(new), "refused, and yet in the log"
    elif not isinstance(written, OutcomeUnknown):
        assert isinstance(written, Result)
        (row,) = new.view().service_nodes("deposed").rows
        assert row.service.indexes.create == written.index
    assert {"before", "meanwhile"} <= _names(new)


async def a_server_that_comes_late_gets_the_snapshot(engine: Engine) -> None:
    log = await engine.open()
    others = [await engine.open() for _ in range(2)]

    async def trimmed() -> bool:
        await asyncio.gather(*(log.propose(_write(f"s{number % 9}", f"n{number}")) for number in range(30)))
        return await engine.is_trimmed()

    await until(trimmed, "the log is trimmed", DEADLINE_S)
    late = await engine.open()
    await _same_everywhere(log, *others, late)


async def a_server_that_fell_behind_gets_the_snapshot(engine: Engine) -> None:
    logs = [await engine.open() for _ in range(3)]
    behind = await engine.leader()
    heal = await engine.cut_off(behind)
    log = await engine.leader()
    begun = behind.view().index

    async def trimmed() -> bool:
        await asyncio.gather(*(log.propose(_write(f"s{number % 9}", f"n{number}")) for number in range(30)))
        return await engine.is_trimmed()

    await until(trimmed, "the log is trimmed", DEADLINE_S)
    assert behind.view().index == begun
    await heal()
    await _same_everywhere(*logs)


ANY: tuple[Check, ...] = (
    a_write_is_in_the_view_once_it_is_answered,
    writes_are_applied_in_the_order_they_were_made,
    many_writers_get_an_index_each,
    refusals_are_those_of_the_state_machine,
    what_is_unknown_or_too_large_never_gets_into_the_log,
    a_large_write_goes_through,
    a_retried_request_id_is_answered_not_applied_again,
    a_cancelled_caller_does_not_disturb_the_others,
    a_read_index_covers_what_was_answered,
    a_change_wakes_only_those_who_read_it,
    waiting_ends_at_once_in_time_or_with_the_log,
    closing_finishes_writes_and_refuses_further_ones,
)
DURABLE: tuple[Check, ...] = (
    what_was_answered_survives_a_crash,
    a_retry_after_a_crash_is_answered_not_applied_again,
    snapshots_take_the_place_of_the_log,
)
SEVERAL: tuple[Check, ...] = (
    any_server_takes_writes_and_all_agree,
    a_read_index_covers_what_any_server_answered,
    a_wait_ends_with_a_write_at_another_server,
    one_server_leads_and_all_know_it,
    a_retry_at_another_server_is_answered_not_applied_again,
    a_deposed_leader_neither_writes_nor_reads,
    a_server_that_comes_late_gets_the_snapshot,
    a_server_that_fell_behind_gets_the_snapshot,
)
