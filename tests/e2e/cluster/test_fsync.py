"""Nothing is acknowledged before a majority has it on disk: the system calls of three real servers say so."""

import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.cluster.network import Loopback
from tests.e2e.cluster.servers import Cluster
from tests.support import peers

WRITES = 20
EXACT = "/v1/connect/intentions/exact?source={}&destination=kept"
TRACED = "io_uring_setup,openat,pwrite64,write,writev,sendto,sendmsg"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")


@dataclass
class Call:
    """One system call: from `began` to `ended`, in seconds; `ended` is infinite when it never returned."""

    name: str
    arguments: str
    began: float
    ended: float
    result: int


def calls_of(trace: Path) -> list[Call]:
    """In the order in which they began, those of all threads."""
    found: list[Call] = []
    open_by_thread: dict[str, Call] = {}
    for line in trace.read_text(errors="replace").splitlines():
        told = _LINE.match(line)
        if not told:
            continue
        at, rest = float(told["at"]), told["rest"]
        returned = re.search(r"= (-?\d+).* <\d+\.\d+>$", rest)
        if rest.startswith("<... "):
            call = open_by_thread.pop(told["thread"], None)
        elif begun := _CALL.match(rest):
            call = Call(begun["name"], begun["arguments"], at, float("inf"), -1)
            found.append(call)
            open_by_thread[told["thread"]] = call
        else:
            continue
        if call and returned:
            call.result = int(returned[1])
            call.ended = at if rest.startswith("<... ") else at + float(rest.rpartition("<")[2][:-1])
    return found


@pytest.mark.long
@pytest.mark.peer("strace")
def test_an_acknowledgement_leaves_after_a_majority_has_written_synchronously(tmp_path: Path) -> None:
    """Files of the log are open with O_DSYNC: `pwrite64` returns when the data is durable.

    What io_uring does shows in no trace, so the kernel is made to say that it has none.
    """
    strace = peers.require("strace")
    _ensure_tracing_is_allowed(strace)
    with Cluster(tmp_path, Loopback(), 3) as cluster:
        for server in cluster.servers:
            server.prefix = [
                *(strace, "-D", "-f", "-y", "-ttt", "-T", "-s", "65536", "-e", f"trace={TRACED}"),
                *("-e", "inject=io_uring_setup:error=ENOSYS", "-o", str(tmp_path / f"trace-{server.name}")),
            ]
        cluster.start_all()
        leader = cluster.leader()
        asked: list[tuple[str, float, float]] = []
        for number in range(WRITES):
            name, began = f"durable-{number:03}-end", time.time()
            _write(cluster, f"{leader.http}{EXACT.format(name)}")
            asked.append((name, began, time.time()))
        for server in cluster.servers:
            server.end()
    traces = {server.name: calls_of(tmp_path / f"trace-{server.name}") for server in cluster.servers}
    for calls in traces.values():
        opened = [call for call in calls if call.name == "openat" and "/log/log-" in call.arguments]
        written = [call for call in opened if "O_WRONLY" in call.arguments]
        assert written and all("O_DSYNC" in call.arguments for call in written)
    for name, began, received in asked:
        sent = _acknowledged(traces[leader.name], began, received)
        durable = [_durable(calls, name) for calls in traces.values()]
        assert sum(at <= sent for at in durable) >= 2, f"{name}: {durable}, acknowledged at {sent}"


def _write(cluster: Cluster, url: str) -> None:
    """Without TLS, so that the answer can be read in the trace."""
    headers = {"X-Consul-Token": cluster.token}
    request = urllib.request.Request(url, b'{"Action": "allow"}', headers, method="PUT")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def _acknowledged(calls: list[Call], began: float, received: float) -> float:
    """When the answer to the one request between these began to leave."""
    answers = [
        call.began for call in calls if began <= call.began <= received and '"HTTP/1.1 200' in call.arguments
    ]
    assert len(answers) == 1
    return answers[0]


def _durable(calls: list[Call], name: str) -> float:
    """When the first synchronous write of the log that holds the name returned; never, if there was none."""
    return min(
        (
            call.ended
            for call in calls
            if call.name == "pwrite64" and "/log/log-" in call.arguments and name in call.arguments
        ),
        default=float("inf"),
    )


def _ensure_tracing_is_allowed(strace: str) -> None:
    tried = subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets no process be traced: {tried.stderr.strip()}")
