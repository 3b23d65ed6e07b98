"""Long work, in between of which the event loop has its turn."""

import asyncio
import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from registry.catalog import commands, snapshot
from registry.catalog.model import Service
from registry.catalog.operator import digest_of
from registry.catalog.state import State
from registry.raft.config import NOBODY
from registry.raft.messages import SnapshotMeta
from registry.replica import limits
from registry.replica.errors import PeerRefused
from registry.replica.receiver import decoded
from registry.replica.replica import Replica
from registry.replica.slicing import in_slices
from tests.support.catalog import World, node, server, service, stamp

META = SnapshotMeta(1, 1, NOBODY)


def _steps(count: int) -> Generator[None, None, int]:
    for _ in range(count):
        yield
    return count


class Turns:
    """Counts those of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    @contextmanager
    def counted(self) -> Iterator[None]:
        task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield
        finally:
            task.cancel()


def _saved(server_id: str = "") -> list[bytes]:
    world = World.set_up()
    if server_id:
        world.register(server(server_id))
    for number in range(40):
        world.register(*(service(f"s{number}-{it}", "web") for it in range(20)))
    return list(snapshot.encode(world.state))


async def known(log: Replica) -> str:
    """The id of the server, once it has said that it knows every command."""
    server_id = log.status().server_id
    await log.propose(commands.register(stamp(), node(), [server(server_id)], ()))
    return server_id


async def test_steps_are_run_to_their_end_with_turns_between() -> None:
    turns = Turns()
    with turns.counted():
        assert await in_slices(_steps(50), 0.0) == 50
    assert turns.count >= 50
    assert await in_slices(_steps(0), 60.0) == 0


async def test_trap_24_a_leaders_snapshot_is_read_between_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_SLICE_S", 0.0)
    records, turns = _saved(), Turns()
    with turns.counted():
        state = await decoded(records, META)
    assert list(snapshot.encode(state)) == records
    assert turns.count > len(records)
    with pytest.raises(PeerRefused, match="snapshot of 1 does not check"):
        await decoded(records + records[1:2], META)


async def test_trap_24_a_restore_lets_the_loop_run_and_what_follows_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "APPLY_SLICE_S", 0.0)
    turns = Turns()
    log = await Replica.in_memory()
    try:
        records = _saved(await known(log))
        with turns.counted():
            restoring = asyncio.ensure_future(
                log.propose(commands.restore(stamp(), b"a" * 16, 0, records, digest_of(records)))
            )
            await asyncio.sleep(0)
            after = await log.propose(commands.deregister_services(stamp(), "n1", ["s3-3"]))
        assert (await restoring).index < after.index == log.view().index
        assert turns.count > len(records)
        assert len(log.view().services) == 1 + 40 * 20 - 1
    finally:
        await log.close()


async def test_slices_are_cut_by_the_clock() -> None:
    state = State()
    ticks = iter(range(100))
    parts = list(snapshot.slices([b"a", b"b", b"c", b"d", b"e"], lambda: next(ticks), 2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [len(part) for part in snapshot.slices(snapshot.encode(state), lambda: 0.0, 1.0)] == [1]


async def test_trap_24_a_state_that_was_replaced_is_freed_a_little_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And is freed: a version of the catalog is many megabytes."""
    monkeypatch.setattr(limits, "FREED_AFTER_S", 0.0)
    monkeypatch.setattr(limits, "FREED_LEAVES", 1)
    log = await Replica.in_memory()
    try:
        records = _saved(await known(log))
        await log.propose(commands.restore(stamp(), b"a" * 16, 0, records, digest_of(records)))
        old = {id(row) for row in log.view().services.values()}
        assert len(old) == 801

        def left() -> int:
            return sum(type(it) is Service and id(it) in old for it in gc.get_objects())

        gc.unfreeze()  # what is frozen is not listed
        assert left() == 801
        await log.propose(commands.restore(stamp(), b"b" * 16, 0, records, digest_of(records)))
        gc.unfreeze()
        seen = [left()]  # each look goes through the whole heap: only as many as are needed
        async with asyncio.timeout(60):
            while seen[-1] > 0:
                await asyncio.sleep(0)
                seen.append(left())
                if len(set(seen)) > 5:
                    monkeypatch.setattr(limits, "FREED_LEAVES", 1000)
        assert len(set(seen)) > 5
    finally:
        await log.close()
