"""What a server refuses to start with, or to go on with: one clear line each, and nothing changed."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca import operator_key
from registry.replica.frames import frame
from registry.replica.peer_tls import server_name
from tests.e2e.cluster.network import Loopback
from tests.e2e.cluster.servers import Cluster, Server
from tests.support.cluster import DATACENTER, peer_tls
from weft.files import write_private

pytestmark = pytest.mark.long

EXACT = "/v1/connect/intentions/exact?source={}&destination=kept"
MATCH = "/v1/connect/intentions/match?by=destination&name=kept&consistent"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers that hold a write. Every test leaves all of them running."""
    with Cluster(tmp_path_factory.mktemp("cluster"), Loopback(), 3) as cluster:
        cluster.start_all()
        write(cluster, cluster.servers[0], "first")
        yield cluster
        for server in cluster.servers:
            server.end()


def write(cluster: Cluster, server: Server, name: str) -> None:
    cluster.ok(server, "PUT", EXACT.format(name), {"Action": "allow"})


def names(cluster: Cluster, server: Server) -> set[str]:
    return {row["SourceName"] for row in cluster.ok(server, "GET", MATCH)["kept"]}


def back(cluster: Cluster, server: Server) -> None:
    server.start()
    cluster.wait(server)


def complaint(server: Server) -> str:
    """The one line of a server that must not start; its log lines are JSON and do not count."""
    before = len(server.output.read_bytes())
    server.start()
    assert server.ended() not in (0, -signal.SIGKILL)
    said = server.output.read_bytes()[before:].decode()
    # gRPC prints the end of its own cancelled calls; a traceback of ours names a file of ours.
    assert not re.search(r'File ".*/(weft|registry|ca)/[^"]*[.]py"', said), said
    lines = [line for line in said.splitlines() if line.startswith("weft: ")]
    assert len(lines) == 1, said
    return lines[0]


def last_segment(server: Server) -> Path:
    return max((server.data / "log").glob("log-*"))


def written_bytes(segment: Path) -> int:
    """Without the zeros that are reserved behind."""
    return len(segment.read_bytes().rstrip(b"\0"))


@pytest.mark.parametrize("kept", [5, -20], ids=["within the head", "within the record"])
def test_a_torn_tail_is_cut_and_the_server_catches_up(cluster: Cluster, kept: int) -> None:
    server = cluster.followers()[0]
    server.kill()
    segment = last_segment(server)
    whole, torn = written_bytes(segment), frame(1_000_000, [b"of a write that a crash cut off" * 10])[:kept]
    with segment.open("r+b") as file:
        file.truncate(whole)  # what was reserved behind is lost as well
        file.seek(whole)
        file.write(torn)
    write(cluster, cluster.leader([it for it in cluster.servers if it is not server]), f"while-torn{kept}")
    back(cluster, server)
    assert {"first", f"while-torn{kept}"} <= names(cluster, server)
    assert torn not in segment.read_bytes()
    assert written_bytes(segment) > whole


def test_a_corrupt_middle_is_refused_with_file_offset_and_mend(cluster: Cluster) -> None:
    server = cluster.followers()[0]
    for number in range(5):
        write(cluster, server, f"before-damage-{number}")
    server.kill()
    segment = last_segment(server)
    sound = segment.read_bytes()
    at = written_bytes(segment) // 2
    segment.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
    damaged = segment.read_bytes()
    line = complaint(server)
    assert str(server.data) in line
    found = re.search(rf"log file {segment.name} is damaged at offset (\d+)", line)
    assert found, line
    assert 0 < int(found[1]) <= at
    assert "nothing was changed. Restore the data directory from a backup" in line
    assert segment.read_bytes() == damaged
    segment.write_bytes(sound)
    back(cluster, server)
    assert "before-damage-4" in names(cluster, server)


def test_a_wrong_operator_key_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    server = cluster.followers()[0]
    server.end()
    wrong = tmp_path / "wrong.key"
    operator_key.write_file(wrong)
    flags = server.flags
    at = flags.index("--ca-key-file") + 1
    server.flags = [*flags[:at], str(wrong), *flags[at + 1 :]]
    try:
        line = complaint(server)
    finally:
        server.flags = flags
    assert "operator key: the CA's key is sealed" in line
    assert wrong.read_text().strip() not in line
    back(cluster, server)


def test_a_server_of_another_cluster_is_refused(cluster: Cluster) -> None:
    """It has begun a cluster of its own; certificates and keys fit."""
    stranger = cluster.add(expect=1)
    joining = stranger.flags
    stranger.flags = joining[: joining.index("--retry-join")]
    stranger.start()
    try:
        cluster.wait(stranger)
        stranger.end()
        stranger.flags = joining
        line = complaint(stranger)
        assert re.search(r"is of cluster \S+, this one's data directory of \S+: check --retry-join", line)
        assert len(cluster.ok(cluster.leader(), "GET", "/v1/status/peers")) == 3
    finally:
        stranger.kill()
        cluster.servers.remove(stranger)


def test_a_peer_with_a_foreign_certificate_is_refused(cluster: Cluster) -> None:
    server = cluster.followers()[0]
    server.end()
    kept = {name: (server.folder / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")}
    foreign = peer_tls()(server_name(DATACENTER), "127.0.0.1", "localhost")
    (server.folder / "ca.pem").write_bytes(foreign.roots_pem)
    (server.folder / "cert.pem").write_bytes(foreign.chain_pem)
    write_private(server.folder / "key.pem", foreign.key_pem)
    before = len(server.output.read_bytes())
    server.start()
    try:
        cluster.until(
            lambda: "CERTIFICATE_VERIFY_FAILED" in server.output.read_bytes()[before:].decode(),
            "it says that the others' certificates are foreign",
        )
        write(
            cluster,
            cluster.leader([it for it in cluster.servers if it is not server]),
            "without-it",
        )
    finally:
        server.kill()
        for name, content in kept.items():
            write_private(server.folder / name, content)
    back(cluster, server)
    assert "without-it" in names(cluster, server)


def test_trap_20_a_full_disk_makes_a_server_step_down_and_refuse_writes(cluster: Cluster) -> None:
    """RLIMIT_FSIZE stands for the disk: a write that would make a file larger fails with EFBIG."""
    leader = cluster.leader()
    others = [server for server in cluster.servers if server is not leader]
    assert leader.process
    full = written_bytes(last_segment(leader)) + 2_000
    limit = ["prlimit", "--pid", str(leader.process.pid)]
    subprocess.run([*limit, f"--fsize={full}:unlimited"], check=True)
    number = 0

    def replaced() -> bool:
        nonlocal number
        number += 1
        write(cluster, others[0], f"full-{number}")
        return cluster.leader(others) is not leader

    cluster.until(replaced, "another server leads")
    assert leader.running
    status, text = cluster.call(leader, "PUT", EXACT.format("refused"), {"Action": "allow"})
    assert status == 500
    assert "full" in text
    subprocess.run([*limit, "--fsize=unlimited:unlimited"], check=True)
    cluster.wait(leader)
    write(cluster, leader, "space-again")
    assert {"space-again", "full-1"} <= names(cluster, leader)
    assert "refused" not in names(cluster, leader)
