"""The log of one server: order, durability, waiting, and what it does when the disk gives up."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.catalog import commands, watches
from registry.catalog.apply import apply
from registry.catalog.snapshot import decode
from registry.catalog.state import State
from registry.errors import (
    DiskFull,
    InvalidCommand,
    LogCorrupt,
    NotFound,
    NotReady,
    OutcomeUnknown,
    UnknownCommand,
)
from registry.raft.messages import Entry, EntryKind
from registry.replica import limits
from registry.replica.disk import DirectoryDisk
from registry.replica.home import Home
from registry.replica.port import Log
from registry.replica.replica import DEFAULT_ADDRESS, Replica
from registry.replica.server_file import ServerFile
from registry.replica.wal import Wal, snapshot_name
from tests.support.catalog import intention, node, service, stamp
from tests.support.sim_disk import SimDisk
from tests.support.waiting import until
from weft.pb.catalog.v1.command_pb2 import Command

DEADLINE_S = 20.0


def _write(name: str = "web") -> Command:
    return commands.register(stamp(), node(), [service(f"{name}-1", name)])


async def _soon(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, DEADLINE_S)


async def _on(sim: SimDisk, snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES) -> Replica:
    return await Replica._alone(Home(Wal(sim), ServerFile("s1"), None), DEFAULT_ADDRESS, snapshot_after_bytes)


def _recovered(sim: SimDisk) -> State:
    """What the disk holds: the one voter's log is committed as it stands."""
    found = Wal(sim).recover()
    meta = found.snapshot
    state = decode(found.rows) if meta and meta.index else State()
    for entry in found.entries:
        if entry.kind is EntryKind.NORMAL:
            state = apply(state, Command.FromString(entry.data), entry.index).state
        else:
            state = replace(state, index=entry.index)
    return state


@pytest.fixture(params=["memory", "disk"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = await (Replica.in_memory() if request.param == "memory" else Replica.open(tmp_path))
    yield made
    await made.close()


async def test_a_write_is_in_the_view_once_it_is_answered(log: Log) -> None:
    result = await log.propose(_write())
    assert (
        result.index == log.view().index == await log.read_index() == 2
    )  # the first entry is the leader's own
    assert [entry.service.id for entry in log.view().service_nodes("web").rows] == ["web-1"]
    assert (await log.propose(commands.set_intention(stamp(), intention("a", "b")))).value


async def test_a_refused_write_raises_and_takes_an_index(log: Log) -> None:
    with pytest.raises(NotFound):
        await log.propose(commands.deregister_node(stamp(), "nope"))
    with pytest.raises(InvalidCommand):
        await log.propose(commands.register(stamp(), node("no name")))
    assert (await log.propose(_write())).index == 4


async def test_an_unknown_or_too_large_command_never_gets_into_the_log(log: Log) -> None:
    with pytest.raises(UnknownCommand):
        await log.propose(Command(version=9))
    huge = commands.update_check(stamp(), "n1", "c", "passing", "x" * (4 * 1024 * 1024))
    with pytest.raises(InvalidCommand, match="bytes"):
        await log.propose(huge)
    assert log.view().index == 1


async def test_writes_are_applied_in_the_order_of_their_indexes(log: Log) -> None:
    results = await asyncio.gather(*(log.propose(_write(f"s{number}")) for number in range(50)))
    assert [result.index for result in results] == list(range(2, 52))


async def test_status_names_the_leader(log: Log) -> None:
    await log.propose(_write())
    status = log.status()
    assert (status.leader, status.peers, status.is_leader) == ("127.0.0.1:8300", ("127.0.0.1:8300",), True)
    assert (status.last_index, status.applied_index) == (2, 2)


async def test_a_change_wakes_only_those_who_read_it(log: Log) -> None:
    await log.propose(_write("web"))
    web = asyncio.ensure_future(log.wait([watches.service("web")], 2, DEADLINE_S))
    others = [
        asyncio.ensure_future(log.wait([watches.service(f"s{number}")], 1, DEADLINE_S))
        for number in range(100)
    ]
    await asyncio.sleep(0)
    await log.propose(commands.deregister_services(stamp(), "n1", ["web-1"]))
    await _soon(web)
    await asyncio.sleep(0)
    assert not any(other.done() for other in others)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_waiting_for_what_has_already_moved_returns_at_once(log: Log) -> None:
    await log.propose(_write())
    await _soon(log.wait([watches.service("web"), watches.ROOTS], 0, 3600.0))


async def test_waiting_ends_when_the_time_is_out(log: Log) -> None:
    await _soon(log.wait([watches.ROOTS], 99, 0.0))
    await _soon(log.wait([watches.ROOTS], 99, 0.01))


async def test_waiters_leave_nothing_behind(log: Replica) -> None:
    waiting = asyncio.ensure_future(log.wait([watches.ROOTS, watches.NODES], 1, DEADLINE_S))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await log.wait([watches.ROOTS], 1, 0.01)
    assert len(log._machine.watchers) == 0


async def test_closing_finishes_writes_and_ends_waiting(log: Log) -> None:
    write = asyncio.ensure_future(log.propose(_write()))
    waiting = asyncio.ensure_future(log.wait([watches.ROOTS], 99, DEADLINE_S))
    await asyncio.sleep(0)
    await log.close()
    assert (await write).index == 2
    with pytest.raises(NotReady):
        await waiting
    with pytest.raises(NotReady):
        await log.propose(_write())
    with pytest.raises(NotReady):
        await log.read_index()
    assert log.status().leader == ""


async def test_a_cancelled_caller_does_not_disturb_the_others(log: Log) -> None:
    first, second = (asyncio.ensure_future(log.propose(_write(name))) for name in ("a", "b"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await _soon(second)).index == 3
    assert (await log.propose(_write("c"))).index == 4


async def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    first = await Replica.open(tmp_path)
    for number in range(20):
        await first.propose(_write(f"s{number}"))
    before = first.view()
    await first.close()
    second = await Replica.open(tmp_path)
    assert second.view().service_names() == before.service_names()
    assert (await second.propose(_write())).index == 23
    await second.close()


async def test_an_answer_comes_only_after_a_synchronous_write(tmp_path: Path) -> None:
    """While the disk has not said that it is durable, neither an answer nor a view of it may be had."""
    log = await Replica.open(tmp_path)
    await log.propose(_write("first"))
    disk, held = log._home.wal.disk, list[Callable[[], None]]()
    assert isinstance(disk, DirectoryDisk) and disk.writer
    real = disk.writer

    class Gate:
        def write(self, handle: int, data: bytes, offset: int, done: Callable[[int], None]) -> None:
            assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DSYNC
            held.append(lambda: real.write(handle, data, offset, done))

    disk.writer = Gate()
    write = asyncio.ensure_future(log.propose(_write()))
    await until(lambda: held, "the write is with the disk")
    assert not write.done()
    assert log.view().index == 2
    held[0]()
    assert (await _soon(write)).index == 3
    assert b"web-1" in next((tmp_path / "log").glob("log-*")).read_bytes()
    await log.close()


async def test_writes_that_wait_share_a_sync() -> None:
    sim = SimDisk()
    log = await _on(sim)
    sim.calls.clear()
    await asyncio.gather(*(log.propose(_write(f"s{number}")) for number in range(200)))
    assert sim.calls.count("sync") <= -(-200 // limits.BATCH_COMMANDS_MAX) + 1
    await log.close()


async def test_every_write_is_durable_when_answered() -> None:
    sim = SimDisk()
    log = await _on(sim, snapshot_after_bytes=2_000)

    async def write(number: int) -> None:
        await log.propose(_write(f"s{number}"))
        again = _recovered(_copy_of_synced(sim))
        assert again.service_nodes(f"s{number}").rows

    for start in range(0, 60, 6):
        await asyncio.gather(*(write(start + number) for number in range(6)))
    await log.close()


def _copy_of_synced(sim: SimDisk) -> SimDisk:
    """The disk after a crash in which everything unsynced is lost."""
    copy = SimDisk()
    for name, content in sim._durable.items():
        copy.create(name).append(content.synced)
    return copy


async def test_snapshots_replace_the_log_and_never_stop_writes() -> None:
    sim = SimDisk()
    log = await _on(sim, snapshot_after_bytes=3_000)
    for number in range(300):
        await log.propose(_write(f"s{number % 9}") if number % 2 else commands.expire(stamp()))
    await log.close()
    assert sum(name.startswith("snapshot-") for name in sim.names()) == 1
    assert len(sim.names()) < 10
    restored = _recovered(sim)
    assert restored.index == 301
    assert restored.service_names() == log.view().service_names()


async def test_a_snapshot_that_cannot_be_written_costs_no_write(caplog: Any) -> None:
    class NoSnapshots(SimDisk):
        def rename(self, old: str, new: str) -> None:
            if new != snapshot_name(0):  # the beginning of the cluster is one too
                raise OSError(errno.EACCES, "Permission denied")
            super().rename(old, new)

    sim = NoSnapshots()
    log = await _on(sim, snapshot_after_bytes=1_000)
    for number in range(100):
        await log.propose(_write(f"s{number}"))
    await log.close()
    assert _recovered(sim).index == 101


async def test_trap_20_a_full_disk_refuses_writes_and_serves_reads() -> None:
    sim = SimDisk()
    log = await _on(sim)
    await log.propose(_write())
    sim.capacity_bytes = sim.used_bytes() + 10
    with pytest.raises(DiskFull, match="make space"):
        await log.propose(_write("db"))
    assert [*log.view().service_names().rows] == ["web"]
    sim.capacity_bytes = None
    await until(lambda: log.status().is_leader, "it leads again")
    assert (await log.propose(_write("db"))).index == 4
    await log.close()
    assert _recovered(sim).index == 4


async def test_trap_20_a_failed_sync_stops_the_log() -> None:
    sim = SimDisk()
    log = await _on(sim)
    waiting = asyncio.ensure_future(log.wait([watches.ROOTS], 99, DEADLINE_S))
    sim.fail_syncs = True
    with pytest.raises(OutcomeUnknown):
        await log.propose(_write())
    assert isinstance(await _soon(log.failed()), OSError)
    sim.fail_syncs = False
    with pytest.raises(NotReady, match="had to stop"):
        await log.propose(_write())
    with pytest.raises(NotReady):
        await _soon(waiting)
    assert log.view().index == 1
    await log.close()


async def test_too_many_waiting_writes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_COMMANDS_MAX", 3)
    log = await Replica.in_memory()
    done = await asyncio.gather(*(log.propose(_write()) for _ in range(5)), return_exceptions=True)
    assert [isinstance(it, NotReady) for it in done] == [False, False, False, True, True]
    await log.close()


async def test_a_log_with_an_unknown_command_is_not_opened() -> None:
    """Written by a newer version: skipping it would make this server's state another one."""
    for data, refusal in ((Command(version=9).SerializeToString(), UnknownCommand), (b"\xff", LogCorrupt)):
        sim = SimDisk()
        await (await _on(sim)).close()
        wal = Wal(sim)
        last = wal.recover().last
        wal.append([Entry(last.term, last.index + 1, EntryKind.NORMAL, data)], None)
        wal.close()
        with pytest.raises(refusal, match="index 2" if refusal is LogCorrupt else "version 9"):
            await _on(sim)
