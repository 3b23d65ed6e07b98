"""What every engine of the log must do, over each: Raft in memory, on disk and of three servers, and etcd."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.conformance import ANY, DURABLE, SEVERAL, Check, check_log
from tests.support.engines import DiskEngine, EtcdEngine, MemoryEngine, RaftEngine
from tests.support.etcd import EtcdCluster, running_etcd

_prefixes = itertools.count(1)


def named(check: Check) -> str:
    return check.__name__


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
async def etcd_engine(etcd: EtcdCluster) -> AsyncIterator[EtcdEngine]:
    prefix = f"weft/log-{next(_prefixes)}"
    engine = EtcdEngine(etcd.url(prefix), prefix)
    yield engine
    await engine.close()


@pytest.fixture
async def disk_engine(tmp_path: Path) -> AsyncIterator[DiskEngine]:
    engine = DiskEngine(tmp_path)
    yield engine
    await engine.close()


@pytest.fixture
async def memory_engine() -> AsyncIterator[MemoryEngine]:
    engine = MemoryEngine()
    yield engine
    await engine.close()


@pytest.fixture
async def raft_engine(tmp_path: Path) -> AsyncIterator[RaftEngine]:
    engine = RaftEngine(tmp_path)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


@pytest.mark.parametrize("check", ANY, ids=named)
async def test_in_memory(memory_engine: MemoryEngine, check: Check) -> None:
    await check_log(memory_engine, check)


@pytest.mark.parametrize("check", ANY + DURABLE, ids=named)
async def test_on_disk(disk_engine: DiskEngine, check: Check) -> None:
    await check_log(disk_engine, check)


@pytest.mark.parametrize("check", SEVERAL, ids=named)
async def test_three_servers(raft_engine: RaftEngine, check: Check) -> None:
    await check_log(raft_engine, check)


@pytest.mark.long
@pytest.mark.parametrize("check", ANY, ids=named)
async def test_one_of_three_servers(raft_engine: RaftEngine, check: Check) -> None:
    await check_log(raft_engine, check)


@pytest.mark.peer("etcd")
@pytest.mark.parametrize("check", ANY + DURABLE + SEVERAL, ids=named)
async def test_etcd(etcd_engine: EtcdEngine, check: Check) -> None:
    await check_log(etcd_engine, check)
