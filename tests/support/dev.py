"""A real `weft dev` process on free ports, for tests that need the whole registry.

with running_dev() as dev:
    credential = dev.register({"Name": "web", "Port": 8080})
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_TIMEOUT_S = 30.0  # two busy cores; a start takes about half a second on free ones
EXIT_TIMEOUT_S = 15.0
POLL_S = 0.02
WEFT = (sys.executable, "-c", "import sys; from weft.cli import main; sys.exit(main())")


@dataclass(frozen=True)
class Dev:
    """A running `weft dev`: where it listens, and the calls that tests make most."""

    http: str  # host:port
    grpc: str  # host:port, TLS
    dns: str  # host:port, UDP and TCP
    registry_ca_pem: str
    process: subprocess.Popen[bytes]

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body of one HTTP call; `path` begins with `/v1/`. Never raises for a status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.http}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=READY_TIMEOUT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a call that must answer 200; None where the body is empty."""
        status, answer = self.call(method, path, body)
        assert status == 200, f"{method} {path}: {status} {answer.decode(errors='replace')}"
        return json.loads(answer) if answer else None

    def register(self, definition: dict[str, object]) -> dict[str, Any]:
        """Registers a service and answers its credential document."""
        answer: dict[str, Any] = self.ok("PUT", "/v1/agent/service/register?credential", definition)
        return answer

    def intention(self, source: str, destination: str, action: str) -> None:
        query = f"source={source}&destination={destination}"
        self.ok("PUT", f"/v1/connect/intentions/exact?{query}", {"Action": action})

    def passing(self, service: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.ok("GET", f"/v1/health/service/{service}?passing")
        return answer


@contextmanager
def running_dev(*flags: str, data_dir: Path | None = None) -> Iterator[Dev]:
    """Starts `weft dev` on free ports and ends it with SIGTERM, which must exit 0."""
    with tempfile.TemporaryDirectory(prefix="weft-dev-") as scratch:
        ready = Path(scratch) / "ready.json"
        command = [*WEFT, "dev", "--http-port", "0", "--grpc-port", "0", "--ready-file", str(ready), *flags]
        if data_dir is not None:
            command += ["--data-dir", str(data_dir)]
        with (Path(scratch) / "output").open("w+b") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ))
            try:
                yield _when_ready(process, ready, output.name)
                _end(process)
            finally:
                process.kill()
                process.wait()


def _when_ready(process: subprocess.Popen[bytes], ready: Path, output: str) -> Dev:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"weft dev is not ready: {Path(output).read_text(errors='replace')}")
        time.sleep(POLL_S)
    told = json.loads(ready.read_text())
    return Dev(told["http"], told["grpc"], told["dns"], told["registry_ca_pem"], process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0, "weft dev did not exit 0 on SIGTERM"
