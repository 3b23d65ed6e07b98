"""etcd processes for tests: one or several members, killed and started again at will."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import peers
from tests.support.processes import Child, Processes, free_port, wait_for_port

ELECTION = ("--heartbeat-interval", "50", "--election-timeout", "500")  # milliseconds; a machine under load


class EtcdMember:
    """One member: its ports and its data outlive the process."""

    def __init__(self, name: str, base: Path, scheme: str) -> None:
        self.name = name
        self.client_port = free_port()
        self.peer_port = free_port()
        self.data = base / name
        self.client = f"{scheme}://127.0.0.1:{self.client_port}"
        self.peer = f"http://127.0.0.1:{self.peer_port}"
        self.child: Child | None = None


class EtcdCluster:
    """Members by number. `options` are flags of every one."""

    def __init__(self, processes: Processes, base: Path, count: int, options: tuple[str, ...] = ()) -> None:
        self._processes = processes
        self.options = options
        scheme = "https" if "--cert-file" in options else "http"
        self.members = [EtcdMember(f"etcd{number}", base, scheme) for number in range(count)]
        for member in self.members:
            self.start(member)
        for member in self.members:
            assert member.child
            wait_for_port(member.child, member.client_port)

    def start(self, member: EtcdMember) -> None:
        program = peers.require("etcd")
        initial = ",".join(f"{it.name}={it.peer}" for it in self.members)
        member.child = self._processes.start(
            member.name,
            [
                program,
                *("--name", member.name, "--data-dir", str(member.data)),
                *("--listen-client-urls", member.client, "--advertise-client-urls", member.client),
                *("--listen-peer-urls", member.peer, "--initial-advertise-peer-urls", member.peer),
                *("--initial-cluster", initial, "--logger", "zap", "--log-level", "warn"),
                *ELECTION,
                *self.options,
            ],
        )

    def kill(self, *members: EtcdMember) -> None:
        """kill -9, all at once."""
        for member in members or tuple(self.members):
            assert member.child
            member.child.kill()
            self._processes.forget(member.child)
            member.child = None

    def restart(self, *members: EtcdMember) -> None:
        for member in members or tuple(self.members):
            self.start(member)
        for member in members or tuple(self.members):
            assert member.child
            wait_for_port(member.child, member.client_port)

    def forget_data(self) -> None:
        """Of killed members: what they start again with is another, empty etcd."""
        for member in self.members:
            shutil.rmtree(member.data)

    def url(self, prefix: str, query: str = "", scheme: str = "etcd", user: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{member.client_port}" for member in self.members)
        return f"{scheme}://{user}{hosts}/{prefix}{query}"


@contextmanager
def running_etcd(base: Path, count: int = 1, options: tuple[str, ...] = ()) -> Iterator[EtcdCluster]:
    """That many members of one etcd; all ended afterwards."""
    base.mkdir(parents=True, exist_ok=True)
    processes = Processes(base)
    try:
        yield EtcdCluster(processes, base, count, options)
    finally:
        for child in list(processes._children):
            child.kill()
