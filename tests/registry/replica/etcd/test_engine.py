"""The log in real etcd processes: killed, full, compacted, replaced, closed to strangers."""

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry.catalog import commands, watches
from registry.catalog.model import Service
from registry.errors import DiskFull, LogCorrupt, NotReady, OutcomeUnknown, UnknownCommand
from registry.replica import limits as replica_limits
from registry.replica.etcd import limits
from registry.replica.etcd.address import parse
from registry.replica.etcd.client import Etcd, put
from registry.replica.etcd.engine import EtcdLog, open_etcd
from registry.replica.etcd.errors import EtcdRefuses, EtcdUnreachable, HistoryCompacted, WentBack
from registry.replica.etcd.layout import Keys, after_prefix, batch_value
from registry.replica.etcd.order import Batch
from tests.support import peers
from tests.support.catalog import intention, node, service, stamp
from tests.support.etcd import EtcdCluster, running_etcd
from tests.support.waiting import until
from weft.pb.catalog.v1.command_pb2 import Command

pytestmark = [pytest.mark.peer("etcd"), pytest.mark.peer("etcdctl")]
ADDRESS = "127.0.0.1:8300"
OUTAGE_S = 20.0
_numbers = itertools.count(1)

Opener = Callable[..., Awaitable[EtcdLog]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """For tests that leave etcd itself alone."""
    with running_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens logs, and closes them at the end."""
    logs: list[EtcdLog] = []

    async def open_(url: str, **options: Any) -> EtcdLog:
        logs.append(await open_etcd(url, address=ADDRESS, **{"outage_timeout_s": OUTAGE_S, **options}))
        return logs[-1]

    yield open_
    for log in logs:
        await log.close()


def _prefix() -> str:
    return f"weft/test-{next(_numbers)}"


def _write(name: str = "web") -> Command:
    return commands.register(stamp(), node(), [service(f"{name}-1", name)])


def _names(log: EtcdLog) -> set[str]:
    return set(log.view().service_names().rows)


async def _raw(url: str) -> Etcd:
    return Etcd(parse(url), lambda _error: None)


def _ctl(cluster: EtcdCluster, *arguments: str) -> str:
    """What etcdctl answers."""
    ran = subprocess.run(
        [peers.require("etcdctl"), "--endpoints", cluster.members[0].client, *arguments],
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# etcd dies


async def test_kill_9_of_etcd_under_writers_loses_no_answered_write(tmp_path: Path, opened: Opener) -> None:
    with running_etcd(tmp_path) as etcd:
        log = await opened(etcd.url("weft"))
        answered: set[str] = set()
        unknown = 0
        ending = asyncio.Event()

        def more_than(enough: int) -> bool:
            return len(answered) > enough

        async def write(writer: int) -> None:
            nonlocal unknown
            for number in itertools.count():
                if ending.is_set():
                    return
                try:
                    await log.propose(_write(f"w{writer}-{number}"))
                    answered.add(f"w{writer}-{number}")
                except (NotReady, OutcomeUnknown):
                    unknown += 1
                    await asyncio.sleep(0.05)

        writers = [asyncio.ensure_future(write(writer)) for writer in range(8)]
        for _ in range(3):
            enough = len(answered) + 30
            await until(partial(more_than, enough), "writes are answered", 20)
            etcd.kill()
            etcd.restart()
        before = len(answered)
        await until(lambda: len(answered) > before + 10, "writes are answered again", 20)
        ending.set()
        await asyncio.gather(*writers)
        other = await opened(etcd.url("weft"))
        assert answered <= _names(other)
        assert _names(log) == _names(other)
        assert log.view().index == other.view().index


async def test_without_etcd_writes_are_refused_and_reads_of_the_newest_state_go_on(
    tmp_path: Path, opened: Opener
) -> None:
    with running_etcd(tmp_path) as etcd:
        log = await opened(etcd.url("weft"), outage_timeout_s=1.0)
        await log.propose(_write("before"))
        etcd.kill()
        with pytest.raises(OutcomeUnknown, match="may or may not hold"):
            await log.propose(_write("during"))
        with pytest.raises(NotReady, match="etcd"):
            await log.read_index()
        with pytest.raises(EtcdUnreachable, match=r"has not answered for \d+ s \(etcd://127"):
            await log.propose(_write("refused"))
        await until(lambda: not log.status().is_leader, "the lease has run out")
        assert log.status().last_contact_s > 0
        assert _names(log) == {"before"}
        etcd.restart()
        await until(lambda: log.status().is_leader, "it leads again", 20)
        log._outage_timeout_s = OUTAGE_S
        await log.propose(_write("after"))
        assert await log.read_index() == log.view().index
        assert {"before", "after"} <= _names(log) <= {"before", "during", "after"}


@pytest.mark.long
async def test_kill_9_of_one_member_of_three_stops_nothing_for_long(tmp_path: Path, opened: Opener) -> None:
    with running_etcd(tmp_path, 3) as etcd:
        log = await opened(etcd.url("weft"))
        answered = 0
        for round_ in range(6):
            member = etcd.members[round_ % 3]
            etcd.kill(member)
            await asyncio.gather(*(log.propose(_write(f"r{round_}-{number}")) for number in range(20)))
            answered += 20
            assert len(_names(log)) == answered
            etcd.restart(member)
        other = await opened(etcd.url("weft"))
        assert len(_names(other)) == answered


@pytest.mark.long
async def test_the_seat_is_free_again_once_a_dead_leaders_lease_has_run_out(
    shared: EtcdCluster, opened: Opener
) -> None:
    url = shared.url(_prefix())
    dead, other = await opened(url), await opened(url)
    assert dead.status().is_leader and not other.status().is_leader
    await dead._tasks.close()  # as kill -9: nothing is revoked
    await other.propose(_write())
    await until(lambda: other.status().is_leader, "the other one leads", limits.LEASE_TTL_S * 5)
    assert not dead.status().is_leader, "by its own clock it stopped before"


async def test_a_leader_that_ends_in_order_frees_the_seat_at_once(
    shared: EtcdCluster, opened: Opener
) -> None:
    url = shared.url(_prefix())
    first, second = await opened(url), await opened(url)
    await first.close()
    await until(lambda: second.status().is_leader, "the other one leads", limits.LEASE_TTL_S / 2)


# etcd is full


async def test_trap_20_a_full_etcd_refuses_writes_and_serves_reads(tmp_path: Path, opened: Opener) -> None:
    with running_etcd(tmp_path, options=("--quota-backend-bytes", str(4 * 1024 * 1024))) as etcd:
        log = await opened(etcd.url("weft"))
        answered: list[str] = []
        with pytest.raises(DiskFull, match="etcdctl alarm disarm"):
            for number in range(100):
                meta = {f"k{it}": "v" * 500 for it in range(60)}
                rows = [service(f"s{number}-{it}", f"s{number}", meta=meta) for it in range(6)]
                await log.propose(commands.register(stamp(), node(), rows))
                answered.append(f"s{number}")
        await until(lambda: "NOSPACE" in _ctl(etcd, "alarm", "list"), "etcd raises the alarm")
        await log.read_index()
        assert _names(log) == set(answered)
        with pytest.raises(DiskFull):
            await log.propose(_write("refused"))
        etcd.kill()
        etcd.options = ("--quota-backend-bytes", str(64 * 1024 * 1024))
        etcd.restart()
        await log.read_index()
        _ctl(etcd, "alarm", "disarm")
        await log.propose(_write("after"))
        assert _names(log) == {*answered, "after"}


def _after_the_first(log: EtcdLog, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The next transaction is carried out, but answered with this error."""
    real = log._etcd.txn

    async def txn(*arguments: Any) -> Any:
        monkeypatch.setattr(log._etcd, "txn", real)
        await real(*arguments)
        raise error

    monkeypatch.setattr(log._etcd, "txn", txn)


@pytest.mark.parametrize("error", [DiskFull("full"), EtcdUnreachable("gone")], ids=["full", "gone"])
async def test_a_write_that_was_carried_out_is_answered_once_whatever_etcd_said(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """etcd carries out the transaction that uses up its quota, and answers that there is no space."""
    log = await opened(shared.url(_prefix()))
    await log.propose(_write("before"))

    async def deaf(_rows: object) -> None:
        """The watch would tell, too."""

    with monkeypatch.context() as patch:
        patch.setattr(log._follower, "_take_rows", deaf)
        _after_the_first(log, monkeypatch, error)
        assert (await log.propose(_write())).index == 2
    assert log._follower.tail == await log._follower.catch_up() == 2
    assert (await log.propose(_write("after"))).index == 3


# Applying takes longer than reading


async def test_a_read_waits_for_what_is_not_applied_yet(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_limits, "APPLY_SLICE_S", 0.0)
    url = shared.url(_prefix())
    writer, reader = await opened(url), await opened(url)
    await asyncio.gather(*(writer.propose(_write(f"s{number}")) for number in range(100)))
    assert await reader.read_index() == 100
    assert len(_names(reader)) == 100


async def test_a_snapshot_may_be_of_a_moment_within_a_batch(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_limits, "APPLY_SLICE_S", 0.0)
    url = shared.url(_prefix())
    log = await opened(url)
    writes = asyncio.gather(*(log.propose(_write(f"s{number}")) for number in range(60)))
    await log._machine.reached(1)

    async def at_once(_index: int) -> None:
        """As under writers without end, when the next batch is always half applied."""

    with monkeypatch.context() as patch:
        patch.setattr(log._machine, "reached", at_once)
        await log._snapshot()
    await writes
    loaded = await log._snapshots.load()
    assert loaded and 0 < loaded.state.index < 60 and loaded.resume == 1
    again = await opened(url)
    assert len(_names(again)) == 60 and again.view().index == 60


# etcd's history


async def test_trap_27_another_etcd_is_noticed_whatever_it_is_asked(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as etcd:
        told: list[WentBack] = []
        raw = Etcd(parse(etcd.url("weft")), told.append)
        await until(lambda: _answers(raw), "etcd answers")
        await raw.txn([], [put(b"weft/x", b"1")])
        etcd.kill()
        etcd.forget_data()
        etcd.restart()
        with pytest.raises(WentBack):
            await until(lambda: _answers(raw), "another etcd answers")
        assert len(told) == 1
        await raw.close()


async def _answers(etcd: Etcd) -> bool:
    try:
        await etcd.range(b"weft/x")
    except EtcdUnreachable:
        return False
    return True


async def test_trap_27_a_replaced_etcd_stops_the_log(tmp_path: Path, opened: Opener) -> None:
    with running_etcd(tmp_path) as etcd:
        log = await opened(etcd.url("weft"))
        await log.propose(_write())
        waiting = asyncio.ensure_future(log.wait([watches.ROOTS], 99, 3600.0))
        etcd.kill()
        etcd.forget_data()
        etcd.restart()
        failure = await asyncio.wait_for(log.failed(), 30)
        assert isinstance(failure, WentBack) and "went back" in str(failure)
        for refused in (log.propose(_write()), log.read_index(), waiting):
            with pytest.raises(NotReady, match="had to stop"):
                await refused


async def test_trap_27_a_watch_that_meets_compacted_history_lists_anew(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = shared.url(_prefix())
    writer, watcher = await opened(url), await opened(url)
    await writer.propose(_write("old"))
    met: list[bool] = []
    real = watcher._etcd.watch

    async def behind(ranges: Any, revision: int) -> AsyncIterator[Any]:
        """The first time from a revision that is compacted."""
        start = revision if met else 1
        try:
            async for events in real(ranges, start):
                yield events
        except HistoryCompacted:
            met.append(True)
            raise

    monkeypatch.setattr(watcher._etcd, "watch", behind)
    await writer._etcd.compact(writer._etcd.history.revision)
    watcher._tasks.spawn(watcher._guarded(watcher._follower.run), "a second watch")
    await until(lambda: met, "the history is compacted")
    index = writer.view().index
    waiting = asyncio.ensure_future(watcher.wait([watches.service("new")], index, 20.0))
    await writer.propose(_write("new"))
    await waiting
    assert _names(watcher) == {"old", "new"}


async def test_trap_27_snapshots_are_in_chunks_that_fit_and_replace_the_log(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = _prefix()
    monkeypatch.setattr(limits, "CHUNK_BYTES", 20_000)
    log = await opened(shared.url(prefix), snapshot_after_bytes=100_000)
    keys = Keys(prefix)
    raw = await _raw(shared.url(prefix))
    orphan = keys.chunk(7, 0)
    await raw.txn([], [put(orphan, b"of a leader that died")])

    def wide(number: int) -> Service:
        return service(f"s{number}", meta={f"k{it}": f"{number} " * 30 for it in range(20)})

    async def rows() -> dict[bytes, int]:
        found = await raw.range(b"%s/" % prefix.encode(), after_prefix(b"%s/" % prefix.encode()))
        return {row.key: len(row.value) for row in found.kvs}

    async def trimmed() -> bool:
        for number in range(40):
            await log.propose(commands.register(stamp(), node(), [wide(number)]))
        return keys.log(1) not in await rows() and not log._snapshotting

    await until(trimmed, "the log is trimmed", 20)
    found = await rows()
    await raw.close()
    chunks = [size for key, size in found.items() if key.startswith(keys.chunks)]
    assert len(chunks) > 2 and max(chunks) <= 20_000 and orphan not in found
    assert len({key.split(b"/")[-2] for key in found if key.startswith(keys.chunks)}) == 1
    again = await opened(shared.url(prefix))
    await again.read_index()
    assert again.view().service_names() == log.view().service_names()


async def test_trap_27_a_deposed_leader_writes_no_snapshot(shared: EtcdCluster, opened: Opener) -> None:
    prefix = _prefix()
    log = await opened(shared.url(prefix))
    await log.propose(_write())
    with pytest.raises(NotReady, match="lost its leadership"):
        await log._snapshots.write(log.view(), 2, log._seat.epoch + 1, True)
    assert await log._snapshots.load() is None


# What is in the log


async def _append(log: EtcdLog, first: int, *encoded: bytes) -> None:
    """As another server would."""
    batch = Batch(first, 1, encoded)
    await log._etcd.txn(
        [], [put(log._keys.log(first), batch_value(batch)), put(log._keys.tail, b"%d" % batch.last)]
    )


@pytest.mark.parametrize(
    ("encoded", "error"),
    [(Command(version=1000).SerializeToString(), UnknownCommand), (b"\xff", LogCorrupt)],
    ids=["unknown", "undecodable"],
)
async def test_trap_21_an_unknown_command_halts_every_server(
    shared: EtcdCluster, opened: Opener, encoded: bytes, error: type[Exception]
) -> None:
    url = shared.url(_prefix())
    log = await opened(url)
    await log.propose(_write())
    await _append(log, 2, encoded)
    assert isinstance(await asyncio.wait_for(log.failed(), 20), error)
    with pytest.raises(NotReady, match="had to stop"):
        await log.propose(_write("later"))
    assert _names(log) == {"web"} and log.status().leader == ""
    with pytest.raises(error):
        await opened(url)


async def test_a_log_with_a_hole_is_refused(shared: EtcdCluster, opened: Opener) -> None:
    url = shared.url(_prefix())
    log = await opened(url)
    await _append(log, 5, _write().SerializeToString())
    with pytest.raises(LogCorrupt, match="lacks command 1"):
        await opened(url)
    assert isinstance(await asyncio.wait_for(log.failed(), 20), LogCorrupt)


async def test_a_prefix_that_holds_something_else_is_refused(shared: EtcdCluster, opened: Opener) -> None:
    prefix = _prefix()
    raw = await _raw(shared.url(prefix))
    await raw.txn([], [put(Keys(prefix).format, b"mine")])
    await raw.close()
    with pytest.raises(LogCorrupt, match="another prefix"):
        await opened(shared.url(prefix))


async def test_logs_under_different_prefixes_do_not_meet(shared: EtcdCluster, opened: Opener) -> None:
    one, other = await opened(shared.url("weft/a")), await opened(shared.url("weft/ab"))
    await one.propose(_write("one"))
    await other.propose(_write("other"))
    await asyncio.gather(one.read_index(), other.read_index())
    assert (_names(one), _names(other)) == ({"one"}, {"other"})
    assert one.status().is_leader and other.status().is_leader


async def test_writes_that_wait_share_a_transaction(shared: EtcdCluster, opened: Opener) -> None:
    log = await opened(shared.url(_prefix()))
    before = log._etcd.history.revision
    rows = (commands.set_intention(stamp(), intention("a", f"b{number}")) for number in range(400))
    await asyncio.gather(*map(log.propose, rows))
    assert log._etcd.history.revision - before < 12


async def test_no_etcd_is_one_clear_line() -> None:
    with pytest.raises(EtcdUnreachable, match=r"etcd does not answer at 127\.0\.0\.1:1 "):
        await open_etcd("etcd://127.0.0.1:1/weft", address=ADDRESS, outage_timeout_s=0.2)


async def test_an_old_etcd_is_refused(
    shared: EtcdCluster, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERSION_MIN", (99, 0))
    with pytest.raises(EtcdRefuses, match=r"version 3\.\d+; Weft needs 99\.0"):
        await opened(shared.url(_prefix()))
