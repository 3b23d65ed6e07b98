"""Real `weft server` processes: started, killed, stopped and looked at.

with Cluster(folder, network(3), 3) as cluster:
    cluster.start_all()
    leader = cluster.leader()
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ca import operator_key
from registry.replica.peer_tls import server_name
from tests.e2e.cluster.network import Network
from tests.support.cluster import DATACENTER, peer_tls
from weft.files import write_private

ROOT = Path(__file__).resolve().parents[3]
ELECTED_S = 60.0  # two busy cores, and three interpreters that start
EXIT_S = 20.0
POLL_S = 0.02
CALL_S = 15.0


@dataclass
class Server:
    """One server: where it lives, and its process while there is one."""

    number: int
    host: str
    ports: dict[str, int]
    folder: Path
    prefix: list[str]
    flags: list[str]
    launcher: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"s{self.number}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def address(self) -> str:
        """As the other servers know it."""
        return f"{self.host}:{self.ports['server']}"

    @property
    def http(self) -> str:
        """Without TLS, on the server's own machine."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def https(self) -> str:
        return f"https://{self.host}:{self.ports['https']}"

    @property
    def grpc(self) -> str:
        return f"{self.host}:{self.ports['grpc']}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        command = [*self.prefix, sys.executable, "-m", "tests.e2e.cluster.server_process"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *self.launcher, "--", "server", *self.flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
            )

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def ended(self) -> int:
        """The exit code of a process that ends by itself."""
        assert self.process
        return self.process.wait(EXIT_S)

    def end(self) -> None:
        """SIGTERM, which must exit 0."""
        if self.running:
            self.signal(signal.SIGTERM)
            assert self.ended() == 0, f"{self.name} did not exit 0 on SIGTERM:\n{self.said()}"

    def said(self) -> str:
        """The end of what it wrote."""
        return self.output.read_text(errors="replace")[-4000:] if self.output.exists() else ""

    def makes_snapshot(self) -> bool:
        """Whether a snapshot is half-written right now."""
        return any((self.data / "log").glob("snapshot-*.tmp"))


class Cluster:
    """`count` servers that begin a cluster together; `add` makes more. Ends them all when left."""

    def __init__(self, folder: Path, network: Network, count: int, *launcher: str) -> None:
        self.network = network
        self.token = str(uuid.uuid4())
        self._folder = folder
        self._launcher = list(launcher)
        self._issue = peer_tls()
        self._count = count
        self.servers: list[Server] = []
        operator_key.write_file(folder / "ca.key")
        write_private(folder / "token", self.token.encode())
        for _ in range(count):
            self.add(expect=count)
        self.ca = folder / "s0" / "ca.pem"
        self.tls = ssl.create_default_context(cafile=str(self.ca))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.kill()
        self.network.heal()
        self.network.close()
        if error:
            print(*(f"--- {server.name} said:\n{server.said()}" for server in self.servers), sep="\n")

    def add(self, *, expect: int = 0) -> Server:
        """A server with an empty disk, not started."""
        number = len(self.servers)
        folder = self._folder / f"s{number}"
        folder.mkdir()
        host, ports = self.network.host(number), self.network.ports(number)
        material = self._issue(server_name(DATACENTER), "localhost", "127.0.0.1", host)
        (folder / "ca.pem").write_bytes(material.roots_pem)
        (folder / "cert.pem").write_bytes(material.chain_pem)
        write_private(folder / "key.pem", material.key_pem)
        flags = ["--data-dir", folder / "data", "--node-name", f"s{number}", "--bind", host]
        flags += ["--dns-port", "-1", "--agent-port", "0"]
        for kind, port in ports.items():
            flags += [f"--{kind}-port", port]
        flags += ["--tls-ca", folder / "ca.pem", "--tls-cert", folder / "cert.pem"]
        flags += ["--tls-key", folder / "key.pem", "--ca-key-file", self._folder / "ca.key"]
        flags += ["--management-token-file", self._folder / "token", "--bootstrap-expect", expect]
        for other in range(self._count):
            if other != number:
                peer = f"{self.network.host(other)}:{self.network.ports(other)['server']}"
                flags += ["--retry-join", peer]
        server = Server(
            number,
            host,
            ports,
            folder,
            self.network.prefix(number),
            [str(flag) for flag in flags],
            list(self._launcher),
        )
        self.servers.append(server)
        return server

    def start_all(self) -> None:
        """Returns when there is a leader and every server answers consistently."""
        for server in self.servers:
            if not server.running:
                server.start()
        for server in self.servers:
            self.wait(server)

    def wait(self, server: Server) -> None:
        """Returns when the server serves consistent reads, and so has the log."""
        self.until(lambda: self._ready(server), f"{server.name} serves consistent reads")

    def _ready(self, server: Server) -> bool:
        assert server.running, f"{server.name} has ended:\n{server.said()}"
        try:
            return self.call(server, "GET", "/v1/catalog/services?consistent")[0] == 200
        except OSError:
            return False

    def until(self, condition: Callable[[], Any], what: str, deadline_s: float = ELECTED_S) -> Any:
        """The first true value of `condition`."""
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
            time.sleep(POLL_S)
        return value

    def call(
        self, server: Server, method: str, path: str, body: object = None, *, timeout_s: float = CALL_S
    ) -> tuple[int, str]:
        """Status and body. Raises OSError when there is no answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Consul-Token": self.token}
        request = urllib.request.Request(server.https + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=self.tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def ok(self, server: Server, method: str, path: str, body: object = None) -> Any:
        """The JSON of a call that must answer 200."""
        status, text = self.call(server, method, path, body)
        assert status == 200, f"{server.name} {method} {path}: {status} {text}"
        return json.loads(text) if text else None

    def leader(self, among: Sequence[Server] | None = None) -> Server:
        """Who leads, as one of these servers knows."""
        asked = [server for server in among or self.servers if server.running]

        def found() -> Server | None:
            for server in asked:
                try:
                    _, text = self.call(server, "GET", "/v1/status/leader", timeout_s=2)
                except OSError:
                    continue
                for candidate in self.servers:
                    if text == f'"{candidate.address}"':
                        return candidate
            return None

        leader: Server = self.until(found, "there is a leader")
        return leader

    def followers(self) -> list[Server]:
        leader = self.leader()
        return [server for server in self.servers if server is not leader]
