"""Agents on machines of their own: network namespaces where they are allowed, else one loopback.

An agent's API listens on its machine's loopback, so calls are made by threads that have gone there.
"""

import ctypes
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.cluster.network import Namespaces
from tests.e2e.cluster.servers import ROOT, Cluster
from tests.support.processes import free_port
from weft.files import write_private

CALL_S = 5.0
HTTP_PORT = 8500
_CLONE_NEWNET = 0x40000000


def _go_to(namespace: str) -> None:
    """Moves this thread into a network namespace (setns(2))."""
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


@dataclass
class Machine:
    """One agent: its machine's number in the network, and its process while there is one."""

    number: int
    folder: Path
    flags: list[str]
    token: str
    port: int
    prefix: list[str]
    workers: ThreadPoolExecutor
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"a{self.number}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def start(self) -> None:
        command = [
            *self.prefix,
            sys.executable,
            "-c",
            "from weft.cli import main; main()",
            "agent",
            *self.flags,
        ]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        return self.output.read_text(errors="replace")[-4000:] if self.output.exists() else ""

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body of a call on the machine itself. Raises OSError when there is no answer."""
        return self.workers.submit(self._call, method, path, body).result()

    def _call(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"X-Consul-Token": self.token})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a GET; None where it is not answered with 200 just now."""
        try:
            status, body = self.call("GET", path)
        except OSError:
            return None
        return json.loads(body) if status == 200 else None


@dataclass
class Machines:
    """Agents beside a cluster; `first` is the number in the network of the first of them."""

    cluster: Cluster
    folder: Path
    first: int
    agents: list[Machine] = field(default_factory=list)

    def add(self, *flags: str) -> Machine:
        number = self.first + len(self.agents)
        folder = self.folder / f"a{number}"
        folder.mkdir()
        write_private(folder / "token", self.cluster.token.encode())
        network = self.cluster.network
        apart = isinstance(network, Namespaces)
        prefix = network.prefix(number)
        port = HTTP_PORT if apart else free_port()
        given = ["--data-dir", folder / "data", "--node-name", f"a{number}", "--http-port", port]
        given += ["--advertise", network.host(number), "--tls-ca", self.cluster.ca]
        given += ["--agent-token-file", folder / "token", "--dns-port", "-1"]
        for server in self.cluster.servers:
            given += ["--server", server.https.removeprefix("https://")]
        enter: Callable[[], None] = (lambda: _go_to(f"/proc/{prefix[2]}/ns/net")) if apart else (lambda: None)
        workers = ThreadPoolExecutor(4, initializer=enter)
        words = [*map(str, given), *flags]
        machine = Machine(number, folder, words, self.cluster.token, port, prefix, workers)
        self.agents.append(machine)
        return machine

    def close(self) -> None:
        for agent in self.agents:
            agent.kill()
            agent.workers.shutdown()
