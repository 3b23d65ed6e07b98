"""`weft dev` and `weft server` with their log in a real etcd."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dev import WEFT, running_dev
from tests.support.etcd import EtcdCluster, running_etcd
from tests.support.servers import Cluster, Server, eventually, prepare

pytestmark = pytest.mark.peer("etcd")
REFUSED_TIMEOUT_S = 30


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


def test_weft_dev_finds_all_again_in_etcd(etcd: EtcdCluster, tmp_path: Path) -> None:
    flags, data = ("--consensus", etcd.url("weft/dev")), tmp_path / "data"
    with running_dev(*flags, data_dir=data) as dev:
        first = dev.register({"Name": "web", "Port": 8080})
        dev.intention("a", "web", "deny")
        roots = dev.ok("GET", "/v1/connect/ca/roots")["ActiveRootID"]
    assert not list((data / "log").iterdir())
    with running_dev(*flags, data_dir=data) as dev:
        assert [row["Service"]["ID"] for row in dev.ok("GET", "/v1/health/service/web")] == ["web"]
        assert [row["SourceName"] for row in dev.ok("GET", "/v1/connect/intentions")] == ["a"]
        assert dev.ok("GET", "/v1/connect/ca/roots")["ActiveRootID"] == roots
        assert dev.register({"Name": "web", "Port": 8081})["Secret"] != first["Secret"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--consensus", "etcd://127.0.0.1:1/weft"), "give --data-dir too"),
        (("--consensus", "raft://x", "--data-dir", "{data}"), "--consensus: write etcd://"),
        (("--consensus", "etcd://u:pw@127.0.0.1:1", "--data-dir", "{data}"), "password-file"),
    ],
)
def test_a_start_that_must_fail_says_why_in_one_line(
    tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    command = [*WEFT, "dev", "--http-port", "0", "--grpc-port", "0"]
    command += [flag.format(data=tmp_path / "data") for flag in flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REFUSED_TIMEOUT_S, check=False)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("weft: ") and says in line


def test_a_data_directory_with_a_log_of_its_own_is_refused(etcd: EtcdCluster, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_dev(data_dir=data):
        pass
    command = [*WEFT, "dev", "--consensus", etcd.url("weft/other"), "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REFUSED_TIMEOUT_S, check=False)
    assert done.returncode == 1 and "holds a log of its own" in done.stderr


@pytest.fixture
def servers(etcd: EtcdCluster, tmp_path: Path) -> Iterator[Cluster]:
    cluster = prepare(tmp_path)
    try:
        for _ in range(3):
            cluster.add("--consensus", etcd.url(f"weft/{tmp_path.name}")).start()
        yield cluster
    finally:
        cluster.close()


@pytest.mark.long
def test_servers_that_meet_in_etcd_survive_the_death_of_their_leader(servers: Cluster) -> None:
    servers.when_ready()
    leader = servers.leader()
    for number, server in enumerate(servers.servers):
        server.ok("PUT", "/v1/agent/service/register", {"Name": f"s{number}", "Port": 80})
        for other in servers.servers:
            assert other.ok("GET", f"/v1/catalog/service/s{number}?consistent")
    assert len(leader.ok("GET", "/v1/status/peers")) == 3
    _no_raft_here(leader)
    leader.kill()
    new = servers.leader()
    assert new is not leader
    for server in servers.running:
        server.ok("PUT", "/v1/agent/service/register", {"Name": f"after-{server.name}", "Port": 80})
        assert {"s0", "s1", "s2"} <= set(server.ok("GET", "/v1/catalog/services"))
    leader.start()
    eventually(lambda: leader.knows(f"after-{new.name}"), "the old leader is back and knows all")
    leader.stop()


def _no_raft_here(server: Server) -> None:
    for method, path in (
        ("GET", "/v1/operator/raft/configuration"),
        ("POST", "/v1/operator/raft/transfer-leader"),
        ("DELETE", "/v1/operator/raft/peer?id=x"),
    ):
        status, _, said = server.call(method, path)
        assert status >= 400 and b"own tools" in said, f"{path}: {status} {said!r}"
