"""Real `weft server` processes on loopback, for tests that need a whole cluster.

with running_servers(tmp_path, 3) as cluster:
    cluster.leader().ok("PUT", "/v1/agent/service/register", {"Name": "web"})
"""

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.dev import WEFT
from tests.support.processes import free_port
from weft.cli import run

TOKEN = "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77"
READY_TIMEOUT_S = 40.0  # three interpreters start on two busy cores
EXIT_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 30.0
POLL_S = 0.05


def eventually(condition: Callable[[], Any], what: str, within_s: float = READY_TIMEOUT_S) -> Any:
    """The first answer that is true; fails with `what` when there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"not within {within_s} s: {what}")


@dataclass
class Process:
    """A `weft server` or `weft agent`: its directory, and its process while it runs."""

    name: str
    folder: Path
    flags: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    told: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / self.name

    def command(self) -> list[str]:
        """What starts it, but for the ready file and the flags."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns once it listens; whether it belongs to a cluster is another matter."""
        ready = self.launch()
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        self.told = json.loads(ready.read_text())

    def launch(self) -> Path:
        """Returns the ready file once it listens, or has ended."""
        ready = self.folder / f"{self.name}.ready.json"
        ready.unlink(missing_ok=True)
        command = [*self.command(), "--ready-file", str(ready), *self.flags]
        with self._output().open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ)
            )
        eventually(
            lambda: ready.exists() or self.process is None or self.process.poll() is not None, "listening"
        )
        return ready

    def _output(self) -> Path:
        return self.folder / f"{self.name}.log"

    def said(self) -> str:
        return self._output().read_text(errors="replace")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a machine that loses power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """By SIGTERM, which must exit 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(EXIT_TIMEOUT_S) == 0, self.said()
        self.process = None

    @property
    def running(self) -> bool:
        return self.process is not None

    def call(
        self, method: str, path: str, body: object = None, token: str = TOKEN, **sent: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. Never raises for a status. `sent` are further headers."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in sent.items()}
        headers |= {"X-Consul-Token": token} if token else {}
        request = urllib.request.Request(f"http://{self.told['http']}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, dict(refusal.headers), refusal.read()

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a call that must answer 200; None where the body is empty."""
        status, _, answer = self.call(method, path, body)
        assert status == 200, f"{self.name}: {method} {path}: {status} {answer.decode(errors='replace')}"
        return json.loads(answer) if answer else None

    def knows(self, service: str) -> bool:
        """Whether the catalog has the service, read through the leader."""
        return bool(self.ok("GET", f"/v1/catalog/service/{service}"))


@dataclass
class Server(Process):
    """One server."""

    port: int = 0  # for other servers

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def server_id(self) -> str:
        return self.told["server_id"]

    def command(self) -> list[str]:
        command = [*WEFT, "server", "--data-dir", str(self.data), "--node-name", self.name]
        return [*command, "--server-port", str(self.port)]


@dataclass
class Cluster:
    """Servers by the order they were made in."""

    folder: Path
    servers: list[Server] = field(default_factory=list)

    def add(self, *flags: str, name: str = "") -> Server:
        """A new server, with a certificate of its own; not started yet."""
        name = name or f"s{len(self.servers) + 1}"
        directory = str(self.folder)
        assert run(["tls", "cert", "create", "--node", name, "--directory", directory]) == 0
        base = (
            *("--http-port", "0", "--https-port", "0", "--grpc-port", "0", "--agent-port", "0"),
            *("--tls-ca", str(self.folder / "weft-server-ca.pem")),
            *("--tls-cert", str(self.folder / f"dc1-server-{name}.pem")),
            *("--tls-key", str(self.folder / f"dc1-server-{name}-key.pem")),
            *("--ca-key-file", str(self.folder / "ca.key")),
            *("--management-token-file", str(self.folder / "token")),
        )
        server = Server(name, self.folder, (*base, *flags), port=free_port())
        self.servers.append(server)
        return server

    @property
    def running(self) -> list[Server]:
        return [server for server in self.servers if server.running]

    def leader(self, within_s: float = READY_TIMEOUT_S) -> Server:
        """The server that all running ones take for the leader."""
        found: Server = eventually(self._agreed, f"a leader\n{self.said()}", within_s)
        return found

    def _agreed(self) -> Server | None:
        named = {json.loads(server.call("GET", "/v1/status/leader")[2]) for server in self.running}
        return next((it for it in self.running if named == {it.address}), None)

    def followers(self) -> list[Server]:
        leader = self.leader()
        return [server for server in self.running if server is not leader]

    def when_ready(self) -> None:
        """Until every running server is in the catalog, and the CA has a root."""
        names = {server.name for server in self.running}

        def told() -> bool:
            leader = self._agreed()
            if leader is None:
                return False
            nodes = {row["Node"] for row in leader.ok("GET", "/v1/catalog/nodes")}
            return names <= nodes and bool(leader.ok("GET", "/v1/connect/ca/roots")["ActiveRootID"])

        eventually(told, f"every server is known\n{self.said()}")

    def said(self) -> str:
        return "\n".join(
            f"--- {server.name}\n{server.said()[-3000:]}" for server in self.servers if server.told
        )

    def close(self) -> None:
        for server in self.running:
            server.kill()


def prepare(folder: Path) -> Cluster:
    """A folder with what servers share: root, operator's key, management token."""
    assert run(["tls", "ca", "create", "--directory", str(folder)]) == 0
    for name, text in (("ca.key", base64.b64encode(os.urandom(32)).decode()), ("token", TOKEN)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text + "\n")
    return Cluster(folder)


@contextmanager
def running_servers(folder: Path, count: int) -> Iterator[Cluster]:
    """A cluster that has just begun; what runs at the end is killed."""
    cluster = prepare(folder)
    for _ in range(count):
        cluster.add()
    joins = tuple(part for server in cluster.servers for part in ("--retry-join", server.address))
    for server in cluster.servers:
        server.flags += ("--bootstrap-expect", str(count), *joins)
    try:
        for server in cluster.servers:
            server.start()
        cluster.when_ready()
        yield cluster
    finally:
        cluster.close()
